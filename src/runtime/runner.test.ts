import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { idsOf, runnerContract } from "../../test/contracts/runner.ts";
import { affineModel, slowModel } from "../../test/models.ts";
import { float32 } from "../graph/tensor.ts";
import { childProcessRunner } from "./child-process.ts";
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
    expect(await session.exited).toEqual({
      code: null,
      signal: "SIGKILL",
      cause: "killed",
      lastWords: "",
    });
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
