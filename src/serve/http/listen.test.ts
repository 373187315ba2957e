import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { afterEach, expect, test } from "vitest";
import { idsOf } from "../../../test/contracts/runner.ts";
import { ModelServer } from "../server.ts";

// Where a server may be reached, and what is said where it may not.

const servers: ModelServer[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.stop();
});

test("a port in use says so and what to do", async () => {
  const other = createServer().listen(0, "127.0.0.1");
  await once(other, "listening");
  const { port } = other.address() as AddressInfo;
  const server = new ModelServer({ version: "0" });
  servers.push(server);
  expect(await idsOf(server.listen({ port }))).toEqual(["serve/port-in-use"]);
  const grpc = new ModelServer({ version: "0" });
  servers.push(grpc);
  const refused: unknown = await grpc.listen({ port: 0, grpcPort: port }).catch((error) => error);
  expect(refused).toMatchObject({
    diagnostics: [{ id: "serve/port-in-use", fix: expect.stringContaining("--grpc-port") }],
  });
  other.close();
});

test("an address that other machines reach is refused unless asked for", async () => {
  const server = new ModelServer({ version: "0" });
  servers.push(server);
  expect(await idsOf(server.listen({ host: "0.0.0.0", port: 0 }))).toEqual(["serve/remote-host"]);
  expect(await server.listen({ host: "0.0.0.0", port: 0, allowRemote: true })).toMatch(/^http/);
});
