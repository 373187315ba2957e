import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client, credentials, Metadata, Server, status } from "@grpc/grpc-js";
import { expect, test, vi } from "vitest";
import { Random } from "../../src/base/random.ts";
import { AccessStore } from "../../src/registry/access.ts";
import { newSecret } from "../../src/registry/secret.ts";
import { ROLES } from "../../src/registry/tokens.ts";
import { grpcRole } from "../../src/serve/auth/roles.ts";
import { Certificates } from "../../src/serve/http/tls.ts";
import { ModelServer } from "../../src/serve/server.ts";
import { authority } from "../certificates.ts";
import { fuzzGrpc } from "./fuzz-grpc.ts";
import { startTarget } from "./harness.ts";

// The same tokens over gRPC, over TLS: no other way in.

const OIP = "/inference.GRPCInferenceService/";
const REFUSED: Readonly<Record<string, readonly number[]>> = {
  none: [status.UNAUTHENTICATED],
  wrong: [status.UNAUTHENTICATED],
};
const MAY: Readonly<Record<string, readonly string[]>> = {
  none: ["ServerLive"],
  wrong: ["ServerLive"],
  viewer: ["ServerLive", "ServerMetadata"],
  infer: ["ServerLive", "ServerMetadata", "ModelInfer"],
  deployer: ["ServerLive", "ServerMetadata", "ModelInfer", "RepositoryModelLoad"],
  admin: ["ServerLive", "ServerMetadata", "ModelInfer", "RepositoryModelLoad", "NobodyKnows"],
};

test("every method that is registered is in the table of roles", async () => {
  const registered: string[] = [];
  const register = vi.spyOn(Server.prototype, "register").mockImplementation((path) => {
    registered.push(path);
    return true;
  });
  const server = new ModelServer({ version: "1" });
  try {
    await server.listen({ port: 0, grpcPort: 0 });
  } finally {
    register.mockRestore();
    await server.stop();
  }
  expect(registered.length).toBeGreaterThan(20);
  expect(registered.filter((path) => grpcRole(path) === undefined)).toEqual([]);
});

test("every kind of method with every token", async () => {
  const folder = await mkdtemp(join(tmpdir(), "skipway-grpc-"));
  const ca = authority();
  const pair = ca.issue("server");
  const files = { cert: join(folder, "cert"), key: join(folder, "key") };
  await writeFile(files.cert, pair.cert);
  await writeFile(files.key, pair.key);
  await using access = await AccessStore.open(folder);
  const secrets = new Map([["wrong", newSecret()]]);
  for (const role of ROLES) secrets.set(role, (await access.tokens.create(role, role)).secret);
  const server = new ModelServer({ version: "1", access, certificates: new Certificates(files) });
  await server.listen({ port: 0, grpcPort: 0, requireToken: true });
  const trusted = credentials.createSsl(Buffer.from(ca.cert));
  const client = new Client(`localhost:${server.grpcPort}`, trusted);
  const same = (bytes: Buffer): Buffer => bytes;
  const codeOf = (method: string, who: string): Promise<number> => {
    const metadata = new Metadata();
    const secret = secrets.get(who);
    if (secret !== undefined) metadata.set("authorization", `Bearer ${secret}`);
    return new Promise((resolve) => {
      const path = OIP + method;
      client.makeUnaryRequest(path, same, same, Buffer.alloc(0), metadata, (error) =>
        resolve(error?.code ?? status.OK),
      );
    });
  };
  try {
    for (const [who, may] of Object.entries(MAY)) {
      for (const method of MAY["admin"] ?? []) {
        const code = await codeOf(method, who);
        const out = REFUSED[who] ?? [status.PERMISSION_DENIED];
        // What is let in may still be no right request.
        expect(out.includes(code), `${method} ${who}: ${code}`).toBe(
          !may.includes(method) && method !== "NobodyKnows",
        );
      }
    }
    const done = (await access.audit.list(10)).map(({ actor, result }) => `${actor} ${result}`);
    // The message names no model: that somebody tried is written down all the same, and what came of it.
    const results = ["deployer INVALID_ARGUMENT", "admin INVALID_ARGUMENT", "unknown 403"];
    expect(done).toEqual(expect.arrayContaining(results));
  } finally {
    client.close();
    await server.stop();
    await rm(folder, { recursive: true });
  }
}, 30_000);

test("nearly right calls", async () => {
  await using target = await startTarget({ grpcPort: 0 });
  const report = await fuzzGrpc(target.server.grpcPort ?? 0, 600, new Random(3));
  expect(report.failures).toEqual([]);
  expect(Object.keys(report.statuses)).toEqual(expect.arrayContaining(["0", "3", "5"]));
}, 60_000);
