import { expect, test } from "vitest";
import { model, setUp } from "../serve/fleet.test-helper.ts";
import type { LifeOutcome, Outcome, PairOutcome, RequestOutcome } from "../serve/outcomes.ts";
import { Judge } from "./judge/judge.ts";
import type { RequestObservation } from "./judge/types.ts";
import { deathOf, observationOf } from "./observed.ts";

const ARMS = { model: "m", from: 1, to: 2 };

function request(over: Partial<RequestOutcome> = {}): RequestOutcome {
  return {
    ...{ kind: "request", model: "m", version: 2, atMs: 10_000, role: "candidate" },
    ...{ monotonicMs: 77, share: 0.25, rows: 1, latencyMs: 250, endedMs: 300 },
    ...{ outcome: "good", outOfMemory: false, finite: true, shape: "x:[3]" },
    ...over,
  };
}

test("a request counts from when it was routed, whether it was answered or not", () => {
  expect(observationOf(ARMS, request())).toMatchObject({ atMs: 10_000, routedMs: 9700 });
  // One that was given up has no latency, and came as long before its end.
  const failed = request({ outcome: "process-died", latencyMs: undefined, endedMs: 4000 });
  const observed = observationOf(ARMS, failed);
  expect(observed).toMatchObject({ routedMs: 6000, outcome: "failed" });
  expect(observed).not.toHaveProperty("latencyMs");
});

test("what is no sample of the split is no observation", () => {
  expect(observationOf(ARMS, request({ role: "pinned" }))).toBeUndefined();
  expect(observationOf(ARMS, request({ version: 1 }))).toBeUndefined();
  expect(observationOf(ARMS, request({ version: 3, role: "stable" }))).toBeUndefined();
  expect(observationOf(ARMS, request({ model: "n" }))).toBeUndefined();
  expect(observationOf(ARMS, request({ version: 1, role: "stable" }))).toMatchObject({
    arm: "stable",
  });
});

test.each([
  [{ outcome: "good" }, "good"],
  [{ outcome: "good", finite: false }, "not-finite"],
  [{ outcome: "runtime" }, "failed"],
  [{ outcome: "runtime", outOfMemory: true }, "out-of-memory"],
  [{ outcome: "invalid" }, "excluded"],
  [{ outcome: "canceled" }, "excluded"],
  [{ outcome: "withdrawn" }, "excluded"],
] as const)("a request that ended with %o is %s", (over, outcome) => {
  expect(observationOf(ARMS, request(over))).toMatchObject({ outcome });
});

test("requests of one shape and one tenant are compared with each other", () => {
  expect(observationOf(ARMS, request())).toMatchObject({ stratum: "x:[3]" });
  expect(observationOf(ARMS, request({ tenant: "ann" }))).toMatchObject({ stratum: "x:[3] ann" });
});

test("a copy for the shadow counts for the candidate, unless it was taken back", () => {
  const pair: PairOutcome = {
    ...{ kind: "pair", model: "m", version: 2, atMs: 5, agrees: true, stableMs: 3 },
    ...{ candidateMs: 4, outcome: "good", outOfMemory: false, finite: true },
  };
  expect(observationOf(ARMS, pair)).toMatchObject({ kind: "pair", candidateMs: 4 });
  expect(observationOf(ARMS, { ...pair, outcome: "withdrawn" })).toBeUndefined();
  expect(observationOf(ARMS, { ...pair, version: 1 })).toBeUndefined();
});

test("a process that was exchanged on purpose has not died", () => {
  const life: LifeOutcome = { kind: "life", model: "m", version: 2, atMs: 5, state: "ready" };
  const died = { kind: "died", side: "candidate", cause: "crash" };
  expect(deathOf(ARMS, { ...life, cause: "crash" })).toEqual(died);
  expect(deathOf(ARMS, { ...life, cause: "recycled" })).toBeUndefined();
  expect(deathOf(ARMS, life)).toBeUndefined();
  expect(deathOf(ARMS, { ...life, version: 7, cause: "crash" })).toBeUndefined();
});

test("the judge is told how many requests a batch had, and counts it with the last of them", async () => {
  const { serve, fleet, ask, runner } = setUp({ probeEveryMs: 1e6 });
  await serve(model(1), model(2));
  const judge = new Judge({
    ...{ alpha: 0.001, thresholdMs: 1000, effect: 2, gates: {}, disagreementAllowed: 0.02 },
  });
  const told: RequestObservation[] = [];
  const incomplete: number[] = [];
  fleet.outcomes.subscribe((outcome: Outcome) => {
    const observation = observationOf(ARMS, outcome);
    if (observation?.kind !== "request") return;
    told.push(observation);
    // At one moment, so that no batch is closed by time.
    judge.observe({ ...observation, atMs: 1e12 });
    incomplete.push(judge.snapshot().units.length);
  });
  fleet.setSplit("m", { stable: 1, candidate: 2, share: 0.5 }, { by: "rollout" });
  for (const process of runner.processes) process.script.runMs = 5;
  await Promise.all(Array.from({ length: 24 }, (_, i) => ask({ key: `user-${i}` })));
  const batches = new Map<string, RequestObservation[]>();
  for (const one of told) {
    const name = `${one.arm} ${one.batch}`;
    batches.set(name, [...(batches.get(name) ?? []), one]);
  }
  const sizes = [...batches.values()].map(({ length }) => length);
  expect(Math.max(...sizes)).toBeGreaterThan(1);
  for (const requests of batches.values()) {
    for (const { batchSize, batchRows } of requests) {
      expect([batchSize, batchRows]).toEqual([requests.length, requests.length]);
    }
  }
  expect(told).toHaveLength(24);
  expect(new Set(told.map(({ arm }) => arm)).size).toBe(2);
  expect(incomplete.at(-1)).toBe(0);
});
