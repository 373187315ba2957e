import { describe, expect, test } from "vitest";
import { Random } from "../base/random.ts";
import { float32, type Tensor, tensor } from "../graph/tensor.ts";
import { exposeText } from "../observe/exposition.ts";
import { parseExposition } from "../observe/parse.test-helper.ts";
import { allFinite, answersAgree } from "./agreement.ts";
import { RequestError } from "./errors.ts";
import { model, setUp, until } from "./fleet.test-helper.ts";
import { type Outcome, Outcomes, type PairOutcome, type RequestOutcome } from "./outcomes.ts";
import { hashOfKey } from "./router.ts";
import type { PhaseSink } from "./tracing.ts";

// What is told of requests, batches, copies and probes; and that a candidate never costs a request.

/** Two versions side by side, and everything that is told of them. */
async function canary(share: number, settings: Parameters<typeof setUp>[0] = {}) {
  const all = setUp({ probeEveryMs: 1e6, ...settings });
  await all.serve(model(1), model(2));
  const heard: Outcome[] = [];
  all.fleet.outcomes.subscribe((outcome) => heard.push(outcome));
  const split = (candidateShare: number) => {
    const candidate = candidateShare > 0 ? { candidate: 2 } : {};
    all.fleet.setSplit("m", { stable: 1, share: candidateShare, ...candidate }, { by: "rollout" });
  };
  split(share);
  const processOf = (path: string) => all.runner.alive.find((one) => one.path === path);
  const counts = () =>
    all.fleet.stats().reduce(
      (sum, { requests, failures }) => ({
        answered: sum.answered + requests,
        failed: sum.failed + Object.values(failures).reduce((a, b) => a + b, 0),
      }),
      { answered: 0, failed: 0 },
    );
  return { ...all, heard, split, processOf, counts };
}

const requestsOf = (heard: readonly Outcome[]): RequestOutcome[] =>
  heard.filter((one) => one.kind === "request");

function groupsOf<K>(heard: readonly Outcome[], keyOf: (one: RequestOutcome) => K) {
  const groups = new Map<K, RequestOutcome[]>();
  for (const one of requestsOf(heard)) {
    groups.set(keyOf(one), [...(groups.get(keyOf(one)) ?? []), one]);
  }
  return groups;
}

function named(requestId: string): PhaseSink {
  return {
    requestId,
    tenant: "shop",
    target: () => undefined,
    phase: () => undefined,
    batched: () => undefined,
    outgoing: () => ({ traceparent: "", tracestate: undefined }),
  };
}

describe("what is told", () => {
  test("of a request: to whom it went, by which chance, and in which batch", async () => {
    const { ask, heard, fleet } = await canary(1);
    await ask({ key: "a user", observe: named("r1") });
    await ask({ version: "1" });
    fleet.setSplit("m", { stable: 1, share: 0 }, { by: "rollout" });
    await ask();
    expect(requestsOf(heard)).toMatchObject([
      {
        ...{ version: 2, role: "candidate", share: 1, requestId: "r1", tenant: "shop" },
        ...{ outcome: "good", finite: true, rows: 1, batchRows: 1, shape: "x[1]" },
        key: expect.any(Number),
        latencyMs: expect.any(Number),
      },
      { version: 1, role: "pinned", share: 0, key: undefined },
      { version: 1, role: "stable", share: 0 },
    ]);
    const batches = heard.filter((one) => one.kind === "batch");
    expect(batches.map(({ role, rows, outcome }) => [role, rows, outcome])).toEqual([
      ["candidate", 1, "good"],
      ["stable", 1, "good"],
      ["stable", 1, "good"],
    ]);
  });

  test("requests of one batch have its number, and no two batches of a version have the same", async () => {
    const { ask, heard, fleet, runner } = await canary(0);
    Object.assign(runner.processes[0]?.script ?? {}, { runMs: 5 });
    await Promise.all(Array.from({ length: 6 }, () => ask()));
    await fleet.load("m");
    await ask();
    const byBatch = groupsOf(heard, ({ batch }) => batch);
    for (const [batch, members] of byBatch) {
      expect(batch).toBeGreaterThan(1e12);
      for (const { batchRows, batchRequests } of members) {
        expect([batchRows, batchRequests]).toEqual([members.length, members.length]);
      }
    }
    expect(byBatch.size).toBeGreaterThan(2);
    expect([...byBatch.values()].flat()).toHaveLength(7);
  });

  test("a process that dies fails the whole batch as one", async () => {
    const { ask, heard, processOf } = await canary(1);
    Object.assign(processOf("m2")?.script ?? {}, { run: "hangs" });
    const asked = Array.from({ length: 6 }, () => ask());
    await until(() => (processOf("m2")?.runs.length ?? 0) > 1);
    processOf("m2")?.die("out-of-memory");
    await Promise.all(asked);
    const died = requestsOf(heard).filter(({ outcome }) => outcome === "process-died");
    expect(died.length).toBeGreaterThan(0);
    expect(new Set(died.map(({ batch }) => batch)).size).toBe(1);
    for (const { batchRequests } of died) expect(batchRequests).toBe(died.length);
    for (const { outOfMemory, latencyMs } of died) {
      expect([outOfMemory, latencyMs]).toEqual([true, undefined]);
    }
    expect(heard).toContainEqual(
      expect.objectContaining({ kind: "life", version: 2, cause: "out-of-memory" }),
    );
    expect(heard).toContainEqual(
      expect.objectContaining({ kind: "batch", role: "candidate", outcome: "out-of-memory" }),
    );
  });

  test("answers that are no numbers, known questions with other answers", async () => {
    const { ask, heard, processOf } = await canary(1, { probeEveryMs: 20 });
    Object.assign(processOf("m2")?.script ?? {}, { gain: Number.NaN });
    expect((await ask()).y).toBeNaN();
    expect(requestsOf(heard)).toMatchObject([{ finite: false, outcome: "good" }]);
    await until(() => heard.some((one) => one.kind === "golden" && one.version === 2));
    const golden = heard.filter((one) => one.kind === "golden");
    expect(golden.find(({ version }) => version === 2)).toMatchObject({ right: false });
    await until(() => golden.length > 0 && heard.some((one) => one.kind === "life"));
    expect(heard.find((one) => one.kind === "life")).toMatchObject({ cause: "wrong-answer" });
  });

  test("of a copy beside the answer that counts", async () => {
    const { ask, heard, fleet, processOf } = await canary(0);
    fleet.setSplit("m", { stable: 1, share: 0, shadow: 2 }, { by: "rollout" });
    const pairs = (): PairOutcome[] => heard.filter((one) => one.kind === "pair");
    const pair = async (x: number) => {
      const before = pairs().length;
      while (pairs().length === before) {
        await ask({ x });
        await new Promise((resolve) => setTimeout(resolve, 3));
      }
      return pairs().at(-1);
    };
    expect(await pair(3)).toMatchObject({ version: 2, agrees: true, outcome: "good" });
    Object.assign(processOf("m2")?.script ?? {}, { gain: 2.1, failsAt: (v: number) => v === 7 });
    expect(await pair(3)).toMatchObject({ agrees: false, outcome: "good", finite: true });
    expect(await pair(7)).toMatchObject({ agrees: false, outcome: "runtime" });
    const tolerant = { stable: 1, share: 0, shadow: 2, tolerance: 0.2 };
    fleet.setSplit("m", tolerant, { by: "rollout" });
    expect(await pair(3)).toMatchObject({ agrees: true });
  });

  test("a listener that throws is no matter of a request, and one that left hears nothing", async () => {
    const { ask, fleet, heard } = await canary(0);
    const left = fleet.outcomes.subscribe(() => {
      throw new Error("of no use");
    });
    expect((await ask()).y).toBe(6);
    expect(fleet.outcomes.faults()).toMatchObject({ last: "of no use" });
    left();
    const { count } = fleet.outcomes.faults();
    await ask();
    expect(fleet.outcomes.faults().count).toBe(count);
    expect(requestsOf(heard)).toHaveLength(2);
  });
});

test("who asks for the outcomes of some models hears of no other, and of those from when it asks", async () => {
  const { ask, fleet } = await canary(0);
  const heard: Outcome[] = [];
  let wanted = "other";
  fleet.outcomes.subscribe(
    (outcome) => heard.push(outcome),
    (model) => model === wanted,
  );
  await ask();
  expect(heard).toEqual([]);
  wanted = "m";
  await ask();
  expect(heard.map(({ kind }) => kind).sort()).toEqual(["batch", "request"]);
});

test("of what the split sends to stable the batch, the time and the key are remembered, and of nothing else", async () => {
  const { ask, fleet } = await canary(0);
  const last = (version: number) => [
    ...(fleet.entry("m")?.hosts.get(version)?.counters.lastRequests.read() ?? []),
  ];
  await ask();
  await ask({ key: "ann" });
  await ask({ key: "ann", version: "2" });
  const [first, second, ...others] = last(1);
  expect([first?.key, others, last(2)]).toEqual([undefined, [], []]);
  expect(second).toEqual({
    batch: expect.any(Number),
    latencyMs: expect.any(Number),
    key: hashOfKey("ann"),
  });
  expect(second?.batch).not.toBe(first?.batch);
});

test("what nobody wants to hear of a model is not put together", () => {
  const outcomes = new Outcomes();
  expect(outcomes.heard("m")).toBe(false);
  outcomes.subscribe(
    () => undefined,
    (model) => model === "m",
  );
  expect(outcomes.heard("m")).toBe(true);
  expect(outcomes.heard("n")).toBe(false);
});

describe("agreement", () => {
  const scores = (...rows: number[][]) =>
    new Map([["y", float32([rows.length, rows[0]?.length ?? 0], rows.flat())]]);

  test("scores agree by the largest, unless a tolerance is set; other numbers by being near", () => {
    expect(answersAgree(scores([1, 2], [4, 3]), scores([1, 9], [5, 3]))).toBe(true);
    expect(answersAgree(scores([1, 2], [4, 3]), scores([1, 9], [2, 3]))).toBe(false);
    expect(answersAgree(scores([1, 2]), scores([1, 9]), 0.1)).toBe(false);
    expect(answersAgree(scores([1]), scores([1.5]))).toBe(false);
    expect(answersAgree(scores([1]), scores([1.0005]))).toBe(true);
    expect(answersAgree(scores([1, 2]), scores([Number.NaN, 2]))).toBe(false);
    expect(answersAgree(scores([1, 2]), new Map())).toBe(false);
  });

  test("finite: one odd element is found in any float type", () => {
    const of = (value: Tensor) => allFinite(new Map([["y", value]]));
    expect(of(float32([3], [1, 2, 3]))).toBe(true);
    expect(of(float32([3], [1, Number.NaN, 3]))).toBe(false);
    // Half of infinity, and of one.
    const half = (bits: number) =>
      tensor("float16", [1], new Uint8Array(Uint16Array.of(bits).buffer));
    expect(of(half(0x7c00))).toBe(false);
    expect(of(half(0x3c00))).toBe(true);
    // A column of a large table is met whatever the size of its rows.
    const table = new Float32Array(40_000 * 8);
    for (let row = 0; row < 40_000; row++) table[row * 8 + 5] = Number.POSITIVE_INFINITY;
    expect(of(float32([40_000, 8], table))).toBe(false);
  });
});

describe("a candidate costs no request", () => {
  test.each<[string, (two: { die(): void; script: object }) => void, string]>([
    ["fails", ({ script }) => Object.assign(script, { run: "fails" }), "runtime"],
    ["dies", (two) => two.die(), "process-died"],
  ])("one that %s: stable is asked, and the candidate is told", async (_what, change, reason) => {
    const { ask, heard, processOf, counts, metrics } = await canary(1);
    const two = processOf("m2");
    Object.assign(two?.script ?? {}, { runMs: 10 });
    const asked = ask({ observe: named("r") });
    await until(() => (two?.runs.length ?? 0) > 1);
    if (two !== undefined) change(two);
    expect(await asked).toEqual({ y: 6, version: 1 });
    expect(requestsOf(heard)).toMatchObject([
      { version: 2, role: "candidate", share: 1, outcome: reason, requestId: "r" },
      { version: 1, role: "pinned", share: 0, outcome: "good", requestId: "r" },
    ]);
    expect(counts()).toEqual({ answered: 1, failed: 0 });
    const families = parseExposition(exposeText(metrics.collect(), "openmetrics"), true);
    const [retried, ...others] = families.get("skipway_retried")?.samples ?? [];
    expect(retried).toMatchObject({
      labels: { version: "2", role: "candidate", reason },
      value: 1,
    });
    expect(others).toEqual([]);
  });

  test("what is wrong with the request itself, or too late, is not asked twice", async () => {
    const { fleet, heard, counts, processOf, ask } = await canary(1);
    const inputs = new Map([["x", float32([1, 2], [1, 2])]]);
    await expect(fleet.find("m")?.infer({ inputs })).rejects.toMatchObject({ status: 400 });
    Object.assign(processOf("m2")?.script ?? {}, { run: "hangs" });
    const ended = new AbortController();
    const asked = ask({ signal: ended.signal });
    ended.abort(new RequestError(504, "deadline", "too late"));
    await expect(asked).rejects.toMatchObject({ status: 504 });
    expect(requestsOf(heard)).toMatchObject([{ outcome: "invalid" }, { outcome: "deadline" }]);
    expect(counts()).toEqual({ answered: 0, failed: 2 });
  });

  test("one that takes other inputs than stable is at fault, and not its clients", async () => {
    const { ask, heard, fleet, runner, source, counts } = await canary(0);
    runner.scripts.set("m3", { input: "pixels" });
    source.add(model(3));
    await fleet.bring("m", 3);
    fleet.setSplit("m", { stable: 1, candidate: 3, share: 1 }, { by: "rollout" });
    expect(await ask()).toEqual({ y: 6, version: 1 });
    expect(requestsOf(heard)).toMatchObject([
      { version: 3, role: "candidate", outcome: "runtime" },
      { version: 1, role: "pinned", outcome: "good" },
    ]);
    expect(counts()).toEqual({ answered: 1, failed: 0 });
    fleet.setSplit("m", { stable: 1, share: 0, shadow: 3 }, { by: "rollout" });
    const pair = () => heard.find((one) => one.kind === "pair");
    while (pair() === undefined) {
      await ask();
      await new Promise((resolve) => setTimeout(resolve, 3));
    }
    expect(pair()).toMatchObject({ version: 3, agrees: false, outcome: "runtime" });
  });

  test("at a rollback what waits goes to stable at once, what runs may end, what hangs goes too", async () => {
    const { ask, heard, processOf, split, counts } = await canary(1, { maxBatchRows: 1 });
    const two = processOf("m2");
    Object.assign(two?.script ?? {}, { run: "hangs" });
    const asked = Array.from({ length: 6 }, () => ask());
    await until(() => (two?.runs.length ?? 0) > 1);
    split(0);
    const answers = await Promise.all(asked);
    expect(answers).toEqual(Array.from({ length: 6 }, () => ({ y: 6, version: 1 })));
    const candidates = requestsOf(heard).filter(({ role }) => role === "candidate");
    expect(new Set(candidates.map(({ outcome }) => outcome))).toEqual(new Set(["withdrawn"]));
    expect(counts()).toEqual({ answered: 6, failed: 0 });
    expect(two?.alive).toBe(true);
  });

  test("a run that is under way at a rollback ends where it is", async () => {
    const { ask, processOf, split, fleet } = await canary(1);
    Object.assign(processOf("m2")?.script ?? {}, { runMs: 30 });
    const asked = ask();
    await until(() => (processOf("m2")?.runs.length ?? 0) > 1);
    split(0);
    expect(await asked).toEqual({ y: 6, version: 2 });
    // A promotion withdraws nothing.
    split(1);
    const promoted = ask();
    fleet.setSplit("m", { stable: 2, share: 0 }, { by: "rollout" });
    expect((await promoted).version).toBe(2);
  });

  test("any splits, failures, deaths and rollbacks under load: each request has one answer, counted once", async () => {
    for (const seed of [1, 2, 3]) {
      const { ask, heard, processOf, split, counts } = await canary(0.5, { maxBatchRows: 4 });
      const random = new Random(seed);
      const pick = <T>(...of: T[]): T | undefined => of[random.integer(of.length)];
      const ids = Array.from({ length: 300 }, (_, i) => `r${i}`);
      const answers: Promise<unknown>[] = [];
      for (const id of ids) {
        const asked = ask({ observe: named(id), ...(random.uniform() < 0.3 && { key: id }) });
        answers.push(asked.then(({ y }) => y).catch((error: unknown) => error));
        if (random.uniform() < 0.15) split(pick(0, 0.05, 0.5, 1) ?? 0);
        if (random.uniform() < 0.1) {
          const run = pick("well", "well", "fails", "hangs");
          Object.assign(processOf("m2")?.script ?? {}, { run, runMs: random.integer(4) });
        }
        if (random.uniform() < 0.04) processOf("m2")?.die();
        if (random.uniform() < 0.5) await new Promise((resolve) => setTimeout(resolve, 1));
      }
      // What hangs there goes to stable.
      split(0);
      expect(new Set(await Promise.all(answers))).toEqual(new Set([6]));
      expect(counts()).toEqual({ answered: ids.length, failed: 0 });
      // Of each request one version answered, and only a candidate failed it before that.
      for (const of of groupsOf(heard, ({ requestId }) => requestId).values()) {
        expect(of.filter(({ outcome }) => outcome === "good")).toHaveLength(1);
        expect(of.at(-1)?.outcome).toBe("good");
        if (of.length === 2) expect(of.map(({ role }) => role)).toEqual(["candidate", "pinned"]);
        expect(of.length).toBeLessThanOrEqual(2);
      }
    }
  });
});

describe("a rollout owns its split", () => {
  test("hands are refused, readiness is not asked, and what it brings stays beside stable", async () => {
    const all = setUp({ probeEveryMs: 1e6 });
    const { fleet, source, serve } = all;
    await serve(model(1));
    source.add(model(2));
    await expect(fleet.bring("m", 3)).rejects.toMatchObject({ status: 404 });
    await expect(fleet.bring("n", 2)).rejects.toMatchObject({ status: 404 });
    fleet.setSplit("m", { stable: 1, share: 0 }, { by: "rollout" });
    expect((await fleet.bring("m", 2)).version).toBe(2);
    expect(fleet.entry("m")?.split).toEqual({ stable: 1, share: 0 });
    const held = expect.objectContaining({ status: 409 });
    expect(() => fleet.setSplit("m", { stable: 2, share: 0 })).toThrow(held);
    await expect(fleet.drain("m", 2)).rejects.toMatchObject({ status: 409 });
    // The source would have the newest.
    await fleet.sync();
    expect(fleet.entry("m")?.split.stable).toBe(1);
    fleet.setSplit("m", { stable: 1, share: 0.5, candidate: 2 }, { by: "rollout" });
    fleet.setSplit("m", { stable: 1, share: 0 }, { by: "rollout" });
    await fleet.release("m");
    await fleet.sync();
    expect(fleet.entry("m")).toMatchObject({ owner: "hand", split: { stable: 1, share: 0 } });
    fleet.setSplit("m", { stable: 2, share: 0 }, { by: "rollout" });
    await fleet.release("m");
    expect(fleet.entry("m")).toMatchObject({ owner: "source", split: { stable: 2 } });
  });

  test("a candidate that is gone is routed around, and a rollback needs nobody ready", async () => {
    const { fleet, runner, ask, processOf } = await canary(1);
    runner.scripts.set("m2", { load: "hangs" });
    processOf("m2")?.die();
    expect((await ask()).version).toBe(1);
    fleet.setSplit("m", { stable: 1, candidate: 2, share: 0.5 }, { by: "rollout" });
    runner.scripts.set("m1", { load: "hangs" });
    processOf("m1")?.die();
    await until(() => fleet.entry("m")?.hosts.get(1)?.ready === false);
    fleet.setSplit("m", { stable: 1, share: 0 }, { by: "rollout" });
    expect(fleet.entry("m")?.split).toEqual({ stable: 1, share: 0 });
  });

  test("a version that was brought ends when it is let go, unless it is used", async () => {
    const { fleet, source, serve } = setUp({ probeEveryMs: 1e6 });
    await serve(model(1), model(2));
    fleet.setSplit("m", { stable: 1, share: 0 }, { by: "rollout" });
    await fleet.bring("m", 2);
    // The source wants it.
    await fleet.letGo("m", 2);
    expect(fleet.versionsOf("m")).toEqual([1, 2]);
    await fleet.bring("m", 2);
    Object.assign(source, { wanted: async () => ({ stable: 1, versions: [1] }) });
    await fleet.sync();
    expect(fleet.versionsOf("m")).toEqual([1, 2]);
    await fleet.letGo("m", 2);
    expect(fleet.versionsOf("m")).toEqual([1]);
  });
});
