import { expect, test } from "vitest";
import type { LifeOutcome, PairOutcome, RequestOutcome } from "../serve/outcomes.ts";
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
