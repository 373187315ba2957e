import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { idsOf } from "../../test/contracts/runner.ts";
import {
  affineModel,
  expandModel,
  identityModel,
  pairModel,
  slowModel,
  slowToLoadModel,
} from "../../test/models.ts";
import { float32, float32Values, int64, type Tensor, tensor } from "../graph/tensor.ts";
import { childProcessRunner } from "./child-process.ts";
import { memoryOf } from "./memory-probe.ts";
import { childEnvironment } from "./model-process.ts";

const x = new Map([["x", float32([1, 3], [1, 2, 3])]]);
const one = new Map([["x", float32([1], [1])]]);
/** Hours. */
const ENDLESS = 1_000_000;

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
    const runs = [1, 2, 3].map(() => session.run(one));
    setTimeout(() => process.kill(session.pid, "SIGKILL"), 100);
    for (const run of runs) expect(await idsOf(run)).toEqual(["runtime/process-died"]);
    expect(await session.exited).toEqual({
      ...{ code: null, signal: "SIGKILL", cause: "killed", lastWords: "" },
    });
    expect(await idsOf(session.run(one))).toEqual(["runtime/process-died"]);
    await session.close();
  });

  test("a fault inside the runtime is a crash", async () => {
    await using session = await childProcessRunner().load({ bytes: affineModel() });
    process.kill(session.pid, "SIGSEGV");
    expect((await session.exited).cause).toBe("crash");
  });

  test("the process is gone after close, also where a run that was given up still computes", async () => {
    const session = await childProcessRunner().load({ bytes: affineModel() });
    expect(alive(session.pid)).toBe(true);
    await session.close();
    expect(await session.exited).toMatchObject({ code: 0, cause: "exit" });
    await until(() => !alive(session.pid));
    const busy = await childProcessRunner().load({ bytes: slowModel(ENDLESS) });
    const run = busy.run(one, { signal: AbortSignal.timeout(50) });
    await expect(run).rejects.toThrow(/timeout/);
    await busy.close();
    await until(() => !alive(busy.pid));
  });

  test("ignores the terminal's signals, which are its parent's business", async () => {
    await using session = await childProcessRunner().load({ bytes: affineModel() });
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
      process.kill(session.pid, signal);
    }
    expect((await session.run(x)).size).toBe(2);
  });

  test("a signal during the load ends the process", async () => {
    const controller = new AbortController();
    const { signal } = controller;
    const loading = childProcessRunner().load({ bytes: affineModel() }, { signal });
    controller.abort(new Error("changed my mind"));
    await expect(loading).rejects.toThrow("changed my mind");
    await expect(childProcessRunner().load({ bytes: affineModel() }, { signal })).rejects.toThrow(
      "changed my mind",
    );
  });

  test("a run that waits behind two others and is given up is never computed", async () => {
    await using session = await childProcessRunner().load({ bytes: slowModel(8) });
    const computed: string[] = [];
    const run = (name: string, signal?: AbortSignal) =>
      session.run(one, { onComputed: () => computed.push(name), ...(signal && { signal }) });
    const controller = new AbortController();
    const runs = [run("a"), run("b"), run("c", controller.signal), run("d")];
    controller.abort(new Error("no longer wanted"));
    await expect(runs[2]).rejects.toThrow("no longer wanted");
    await Promise.all([runs[0], runs[1], runs[3]]);
    expect(computed).toEqual(["a", "b", "d"]);
  });

  test("tensors larger than any buffer on the way pass each other in both directions", async () => {
    await using session = await childProcessRunner().load({ bytes: identityModel("uint8", ["N"]) });
    const sent = [3, 5, 7, 11].map((step) =>
      tensor("uint8", [6_000_000 + step], Buffer.alloc(6_000_000 + step, step)),
    );
    const found = await Promise.all(sent.map((value) => session.run(new Map([["x", value]]))));
    for (const [i, answer] of found.entries()) {
      const bytes = answer.get("y")?.data.bytes ?? Buffer.of();
      expect(Buffer.compare(bytes, sent[i]?.data.bytes ?? Buffer.of())).toBe(0);
    }
  });

  test("numbers below the smallest normal one count as 0 only where that is set", async () => {
    const tiny = 2 ** -140;
    const given = new Map([
      ["a", float32([1], [tiny])],
      ["b", float32([1], [tiny])],
    ]);
    for (const [denormals, sum] of [
      [true, 2 * tiny],
      [false, 0],
    ] as const) {
      await using session = await childProcessRunner().load({ bytes: pairModel() }, { denormals });
      const y = (await session.run(given)).get("y") as Tensor;
      expect(float32Values(y)[0]).toBe(sum);
    }
  });

  test("a spare process is taken by the next load, made ready again, and gone at the end", async () => {
    const runner = childProcessRunner({ spare: true });
    await runner.prepare();
    const sessions = await Promise.all([1, 2].map(() => runner.load({ bytes: affineModel() })));
    for (const session of sessions) expect((await session.run(x)).size).toBe(2);
    expect(new Set(sessions.map(({ pid }) => pid)).size).toBe(2);
    await runner.prepare();
    await runner.prepare();
    await using third = await runner.load({ bytes: affineModel() });
    expect((await third.run(x)).size).toBe(2);
    await runner.close();
    await runner.close();
    for (const session of sessions) await session.close();
  });

  test("a run that finds no memory fails alone", async () => {
    await using session = await childProcessRunner().load({ bytes: expandModel() });
    const to = (count: number) =>
      new Map([
        ["x", float32([1], [7])],
        ["to", int64([1], [count])],
      ]);
    // Four terabytes.
    expect(await idsOf(session.run(to(2 ** 40)))).toEqual(["runtime/out-of-memory"]);
    expect((await session.run(to(3))).get("y")).toEqual(float32([3], [7, 7, 7]));
  });

  test("is what the system kills first where memory ends", async () => {
    await using session = await childProcessRunner().load({ bytes: affineModel() });
    expect(readFileSync(`/proc/${session.pid}/oom_score_adj`, "utf8")).toBe("500\n");
  });

  test("says what its process holds, and forgets the peak when it is told to", async () => {
    await using session = await childProcessRunner().load({ bytes: identityModel("uint8", ["N"]) });
    const bytes = 60_000_000;
    await session.run(new Map([["x", tensor("uint8", [bytes], new Uint8Array(bytes))]]), {});
    const before = await session.memory();
    expect(before.anonymousBytes).toBeLessThan(before.residentBytes);
    expect(before.proportionalBytes).toBeLessThan(before.residentBytes);
    expect(session.resetPeak()).toBe(true);
    const { residentBytes, peakResidentBytes } = await session.memory();
    expect(peakResidentBytes).toBeLessThan(residentBytes * 1.1);
  });
});

describe("a parent that is killed leaves no orphan", () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "skipway-orphan-"));
  });
  afterAll(() => rm(folder, { recursive: true }));

  /** Starts a parent whose child does such work; the numbers of both. */
  async function started(work: string, bytes: Uint8Array) {
    const model = join(folder, `${work}.onnx`);
    await writeFile(model, bytes);
    const parent = spawn(process.execPath, ["test/scripts/parent.mjs", model, work], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const pid = await new Promise<number>((resolve) => {
      parent.stdout.once("data", (data: Buffer) => resolve(Number(data.toString())));
    });
    expect(alive(pid)).toBe(true);
    return { parent, pid };
  }

  test.concurrent.each([
    ["idle", affineModel()],
    ["busy", slowModel(ENDLESS)],
    ["loading", slowToLoadModel()],
    ["full", expandModel(25_000_000)],
    ["spare", affineModel()],
  ])("%s", async (work, bytes) => {
    const { parent, pid } = await started(work, bytes);
    if (work === "full") await until(() => (memoryOf(pid)?.residentBytes ?? 0) > 150_000_000);
    // One that was stopped dies, too.
    if (work === "busy") parent.kill("SIGSTOP");
    parent.kill("SIGKILL");
    await until(() => !alive(pid));
  });
});

describe("what a process has around it", () => {
  test("libraries, allocators and language, and no secrets", () => {
    const own = { PATH: "/bin", LC_ALL: "C", OMP_NUM_THREADS: "2", AWS_SECRET_ACCESS_KEY: "s" };
    expect(childEnvironment({ ...own, SKIPWAY_TOKEN: "t", LD_LIBRARY_PATH: "/l" })).toEqual({
      MALLOC_TRIM_THRESHOLD_: "131072",
      GLIBC_TUNABLES: "glibc.malloc.hugetlb=1",
      PATH: "/bin",
      LC_ALL: "C",
      OMP_NUM_THREADS: "2",
      LD_LIBRARY_PATH: "/l",
    });
    expect(childEnvironment({ MALLOC_TRIM_THRESHOLD_: "1" })).toEqual({
      MALLOC_TRIM_THRESHOLD_: "1",
      GLIBC_TUNABLES: "glibc.malloc.hugetlb=1",
    });
  });
});
