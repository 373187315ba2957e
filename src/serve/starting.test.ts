import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { GrpcClient } from "../../test/conformance/grpc.ts";
import { affineModel } from "../../test/models.ts";
import { CODE } from "./grpc/status.ts";
import { ModelServer } from "./server.ts";
import { fileSource, type ModelSource } from "./sources.ts";

// Clients ask a server that is still starting: what it answers them decides whether they ask again.

/** A promise and what keeps it. */
function gate(): { readonly opened: Promise<void>; open(): void } {
  let open: () => void = () => undefined;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open: () => open() };
}

/** A source that is slow to say what it has, and slow to give it. */
async function slowSource() {
  const folder = await mkdtemp(join(tmpdir(), "skipway-starting-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  const file = join(folder, "affine.onnx");
  await writeFile(file, affineModel());
  const files = fileSource(new Map([["net", file]]));
  const [read, given] = [gate(), gate()];
  const source: ModelSource = {
    ...files,
    names: async () => {
      await read.opened;
      return files.names();
    },
    version: async (name, version) => {
      await given.opened;
      return files.version(name, version);
    },
  };
  return { source, read, given };
}

async function statusesOf(at: string, name: string): Promise<readonly (number | string)[]> {
  const model = `${at}/v2/models/${name}`;
  const inputs = [{ name: "x", shape: [1, 3], datatype: "FP32", data: [1, 2, 3] }];
  const asked = [
    fetch(`${model}/infer`, { method: "POST", body: JSON.stringify({ inputs }) }),
    fetch(`${model}/versions/1/infer`, { method: "POST", body: JSON.stringify({ inputs }) }),
    fetch(model),
    fetch(`${model}/ready`),
    fetch(`${at}/api/v1/models/${name}/split`),
  ];
  return (await Promise.all(asked)).map(({ status, headers }) =>
    status === 503 ? `503 ${headers.get("retry-after")}` : status,
  );
}

const all = (status: number | string): unknown[] => Array(5).fill(status);

test("what a server that starts does not know yet is asked again; 404 once it knows", async () => {
  const { source, read, given } = await slowSource();
  const server = new ModelServer({ version: "1.2.3", source, settings: { probeEveryMs: 1e6 } });
  onTestFinished(() => server.stop());
  const following = server.follow(0);
  const at = await server.listen({ port: 0, grpcPort: 0 });
  const client = new GrpcClient(`127.0.0.1:${server.grpcPort}`);
  onTestFinished(() => client.close());
  const codeOf = async (name: string): Promise<number> =>
    (await client.call({ method: "ModelMetadata", message: { name } })).code;

  expect(await statusesOf(at, "net")).toEqual(all("503 1"));
  expect(await statusesOf(at, "none")).toEqual(all("503 1"));
  expect([await codeOf("net"), await codeOf("none")]).toEqual([CODE.UNAVAILABLE, CODE.UNAVAILABLE]);

  read.open();
  await expect.poll(() => statusesOf(at, "none")).toEqual(all(404));
  // The split is there to be read while its versions are loaded.
  expect((await statusesOf(at, "net")).slice(0, 4)).toEqual(all("503 1").slice(0, 4));
  expect([await codeOf("net"), await codeOf("none")]).toEqual([CODE.UNAVAILABLE, CODE.NOT_FOUND]);

  given.open();
  await following;
  expect(await statusesOf(at, "net")).toEqual(all(200));
  expect([await codeOf("net"), await codeOf("none")]).toEqual([0, CODE.NOT_FOUND]);
});

test("a model that does not load is not there once that is known", async () => {
  const { source, read } = await slowSource();
  const broken = { ...source, version: () => Promise.reject(new Error("no such file")) };
  const server = new ModelServer({ version: "1.2.3", source: broken });
  onTestFinished(() => server.stop());
  read.open();
  await server.follow(0);
  const at = await server.listen({ port: 0 });
  expect((await fetch(`${at}/v2/models/net`)).status).toBe(404);
});
