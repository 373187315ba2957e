import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { idsOf, runnerContract } from "../../test/contracts/runner.ts";
import { affineModel, slowModel } from "../../test/models.ts";
import { limits } from "../base/limits.ts";
import { float32, type Tensor, tensor } from "../graph/tensor.ts";
import { childProcessRunner } from "./child-process.ts";
import { encodeFrame, FrameReader } from "./frames.ts";
import { inProcessRunner } from "./in-process.ts";
import { memoryLimitBytes, memoryOf, processMemory } from "./memory-probe.ts";
import { runtimeInfo } from "./ort.ts";

runnerContract("in-process", inProcessRunner);
runnerContract("child-process", childProcessRunner);

const x = new Map([["x", float32([1, 3], [1, 2, 3])]]);

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function until(test: () => boolean): Promise<void> {
  while (!test()) await new Promise((resolve) => setTimeout(resolve, 20));
}

describe("a model in a process of its own", () => {
  test("kill -9 in the middle of a run: what is in flight fails with the cause, nothing else", async () => {
    const session = await childProcessRunner().load({ bytes: slowModel(4000) });
    const runs = [1, 2].map(() => session.run(new Map([["x", float32([1], [1])]])));
    setTimeout(() => process.kill(session.pid, "SIGKILL"), 100);
    for (const run of runs) expect(await idsOf(run)).toEqual(["runtime/process-died"]);
    expect(await session.exited).toEqual({ code: null, signal: "SIGKILL" });
    expect(await idsOf(session.run(new Map([["x", float32([1], [1])]])))).toEqual([
      "runtime/process-died",
    ]);
    await session.close();
  });

  test("the process is gone after close, also while it computes", async () => {
    const session = await childProcessRunner().load({ bytes: affineModel() });
    const { pid } = session;
    expect(alive(pid)).toBe(true);
    await session.close();
    await until(() => !alive(pid));
  });

  test("ignores the terminal's Ctrl-C, which is its parent's business", async () => {
    await using session = await childProcessRunner().load({ bytes: affineModel() });
    process.kill(session.pid, "SIGINT");
    process.kill(session.pid, "SIGTERM");
    expect((await session.run(x)).size).toBe(2);
  });

  test("a parent that is killed leaves no orphan, whether it idles or computes", async () => {
    const folder = await mkdtemp(join(tmpdir(), "skipway-orphan-"));
    try {
      const model = join(folder, "slow.onnx");
      // Hours: the process must not wait for the end of the run.
      await writeFile(model, slowModel(1_000_000));
      for (const work of ["idle", "busy"]) {
        const parent = spawn(process.execPath, ["test/scripts/parent.mjs", model, work], {
          stdio: ["ignore", "pipe", "inherit"],
        });
        const pid = await new Promise<number>((resolve) => {
          parent.stdout.once("data", (data: Buffer) => resolve(Number(data.toString())));
        });
        expect(alive(pid)).toBe(true);
        parent.kill("SIGKILL");
        await until(() => !alive(pid));
      }
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  test("a signal during the load ends the process", async () => {
    const controller = new AbortController();
    const loading = childProcessRunner().load(
      { bytes: affineModel() },
      { signal: controller.signal },
    );
    controller.abort(new Error("changed my mind"));
    await expect(loading).rejects.toThrow("changed my mind");
  });
});

describe("frames", () => {
  const value = fc
    .tuple(fc.constantFrom("uint8", "float32", "int64"), fc.array(fc.nat(3), { maxLength: 3 }))
    .map(([dtype, shape]): Tensor => {
      const width = dtype === "uint8" ? 1 : dtype === "float32" ? 4 : 8;
      const count = shape.reduce((a, b) => a * b, 1);
      const bytes = Uint8Array.from({ length: width * count }, (_, i) => i % 251);
      return tensor(dtype as "uint8", shape, bytes);
    });

  test("come out as they went in, however the stream is cut", () => {
    fc.assert(
      fc.property(
        fc.array(fc.dictionary(fc.string(), value, { maxKeys: 3 }), { minLength: 1, maxLength: 4 }),
        fc.integer({ min: 1, max: 40 }),
        (messages, piece) => {
          const sent = messages.map((tensors, i) => ({
            header: { i },
            tensors: new Map(Object.entries(tensors)),
          }));
          const stream = Buffer.concat(
            sent.flatMap(({ header, tensors }) => encodeFrame(header, tensors)),
          );
          const reader = new FrameReader();
          const got = [];
          for (let at = 0; at < stream.length; at += piece) {
            got.push(...reader.push(stream.subarray(at, at + piece)));
          }
          const plain = (
            list: readonly { header: unknown; tensors: ReadonlyMap<string, Tensor> }[],
          ) =>
            list.map(({ header, tensors }) => ({
              header,
              tensors: [...tensors].map(([name, t]) => [
                name,
                t.dtype,
                t.shape,
                Buffer.from(t.data.bytes).toString("hex"),
              ]),
            }));
          expect(plain(got)).toEqual(plain(sent));
        },
      ),
    );
  });

  test("sizes beyond the limit are refused before they are allocated", () => {
    const prefix = Buffer.alloc(8);
    prefix.writeUInt32LE(16, 0);
    prefix.writeUInt32LE(limits.frameBytesMax, 4);
    expect(() => new FrameReader().push(prefix)).toThrow(/not accepted/);
    expect(() => new FrameReader().push(Buffer.alloc(8))).toThrow(/not accepted/);
    expect(() => new FrameReader().push(Buffer.from([2, 0, 0, 0, 0, 0, 0, 0, 65, 66]))).toThrow(
      /broken header/,
    );
  });
});

test("the runtime says what it is", async () => {
  const { version, providers } = await runtimeInfo();
  expect(version).toMatch(/^1\.30/);
  expect(providers).toContain("cpu");
});

test("memory of processes and of the machine", () => {
  expect(processMemory().residentBytes).toBeGreaterThan(10_000_000);
  expect(memoryOf(2 ** 30)).toBeUndefined();
  expect(memoryLimitBytes()).toBeGreaterThan(100_000_000);
});
