import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { Running } from "./cli.ts";
import { affineModel } from "./models.ts";

// ONNX Runtime has a telemetry of its own, whose first trace are files where temporary files go.

test("the runtime tells nobody of what it does, in the server's process, in models' and in commands", async () => {
  const root = await mkdtemp(join(tmpdir(), "skipway-telemetry-"));
  onTestFinished(() => rm(root, { recursive: true }));
  const model = join(root, "affine.onnx");
  await writeFile(model, affineModel());
  const own = join(root, "temporary");
  await mkdir(own);
  const env = { TMPDIR: own, HOME: own, XDG_CACHE_HOME: own, ORT_DISABLE_TELEMETRY: "0" };

  expect((await new Running(["doctor", "--data", join(root, "none")], env).done).out).toMatch(
    /ONNX Runtime/,
  );
  const server = new Running(["serve", model, "--port", "0", "--json", "--no-grpc"], env);
  onTestFinished(() => server.kill("SIGKILL"));
  await server.prints(/^\}$/m);
  expect(await readdir(own)).toEqual([]);
  server.kill("SIGINT");
  expect((await server.done).code).toBe(0);
  expect(await readdir(own)).toEqual([]);
}, 60_000);
