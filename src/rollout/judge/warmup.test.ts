import { describe, expect, test } from "vitest";
import { Judge } from "./judge.ts";
import { REHEARSED_LIMIT_MS, type Rehearsal, rehearse, rehearseRelease } from "./rehearsal.ts";
import type { Arm, JudgePolicy, RequestObservation } from "./types.ts";
import { Warmup } from "./warmup.ts";

const POLICY: JudgePolicy = {
  alpha: 0.001,
  thresholdMs: REHEARSED_LIMIT_MS,
  effect: 2,
  gates: {},
  disagreementAllowed: 0.02,
};

describe("the first runs of a process", () => {
  test("are told from later ones, by form, for each version and for both", () => {
    const warmup = new Warmup(2);
    const take = (arm: Arm, form = "a") => warmup.take(form, arm);
    expect([take("stable"), take("stable"), take("stable")].map(({ own }) => own)).toEqual([
      ...[false, false, true],
    ]);
    expect([take("candidate"), take("candidate")].map(({ both }) => both)).toEqual([false, false]);
    expect(take("candidate").both).toBe(true);
    expect(take("stable").both).toBe(true);
    expect(take("candidate", "b")).toEqual({ own: false, both: false });
    const restarted = new Warmup(2, JSON.parse(JSON.stringify(warmup.saved())));
    expect(restarted.take("a", "stable").both).toBe(true);
    restarted.restart("candidate");
    expect(restarted.take("a", "stable")).toEqual({ own: true, both: false });
    expect(restarted.take("a", "candidate").own).toBe(false);
  });

  test("without a warm-up every run counts, and so does what is too much to be told apart", () => {
    expect(new Warmup(0).take("a", "candidate").both).toBe(true);
    const warmup = new Warmup(2);
    for (let i = 0; i < 512; i++) warmup.take(`form ${i}`, "stable");
    expect(warmup.take("one more", "stable").both).toBe(true);
  });
});

describe("a candidate whose first runs are slow", () => {
  const steps = [0.05, 0.25].map((share) => ({ share, requests: 400 }));
  const base: Rehearsal = { seed: 0, steps, ratePerSecond: 200, slowRate: 0.01, ratio: 1 };

  function rolledBack(warmup: number, kind: Partial<Rehearsal>): number {
    let count = 0;
    for (let seed = 1; seed <= 10; seed++) {
      const { end } = rehearseRelease({ ...base, ...kind, seed }, { ...POLICY, warmup });
      count += Number(end === "rolled back");
    }
    return count;
  }

  test.each([
    ["each by itself", {}],
    ["in batches", { batchRows: 8 }],
    ["in batches of clients that keep their version", { batchRows: 8, stickyClients: 500 }],
  ] as const)("is not rolled back for them: requests %s", (_, kind) => {
    expect(rolledBack(8, { ...kind, coldRuns: 8 })).toBe(0);
  });

  test("would be, were they counted; and is, where it stays slow", () => {
    expect(rolledBack(0, { coldRuns: 8 })).toBeGreaterThanOrEqual(8);
    expect(rolledBack(8, { coldRuns: 100 })).toBe(10);
  });

  test("fails no less for being new", () => {
    const failing = (warmup: number): number => {
      const judge = new Judge({ ...POLICY, warmup });
      let candidates = 0;
      rehearse({ ...base, seed: 1, batchRows: 4 }, (one) => {
        if (one.kind !== "request") return true;
        candidates += Number(one.arm === "candidate");
        judge.observe(one.arm === "candidate" ? { ...one, outcome: "failed" } : one);
        return judge.regressed === undefined;
      });
      expect(judge.regressed).toBe("failed");
      return candidates;
    };
    expect(failing(1000)).toBe(failing(0));
  });

  test("is new once more where another process takes over", () => {
    const request = (i: number, arm: Arm, latencyMs: number): RequestObservation => ({
      ...{ kind: "request", atMs: 1e12 + i, arm, share: 0.05, latencyMs },
      ...{ outcome: "good", stratum: "all" },
    });
    const slowAfter = (restarts: boolean) => {
      const judge = new Judge(POLICY);
      for (let i = 0; i < 40; i++) judge.observe(request(i, i % 2 ? "stable" : "candidate", 1));
      if (restarts) judge.observe({ kind: "process", atMs: 1e12 + 40, arm: "candidate" });
      for (let i = 41; i < 48; i++) judge.observe(request(i, "candidate", 1000));
      return judge;
    };
    expect(slowAfter(false).regressed).toBe("slow");
    const judge = slowAfter(true);
    expect(judge.regressed).toBeUndefined();
    const slow = judge.verdict(1e12 + 60).gates.find(({ gate }) => gate === "slow");
    expect(slow?.leftOut).toBe(8 + 7);
  });
});

test("while the candidate is new, slow requests of stable are no evidence for it", () => {
  const judge = new Judge({ ...POLICY, warmup: 100 });
  // The hundredth of the candidate is the last one.
  for (let i = 0; i <= 99 * 40; i++) {
    const arm: Arm = i % 40 === 0 ? "candidate" : "stable";
    const latencyMs = i % 20 === 1 ? 1000 : 1;
    judge.observe({
      ...{ kind: "request", atMs: 1e12 + i * 5, arm, share: 0.025, latencyMs },
      ...{ outcome: "good", stratum: "all" },
    });
  }
  const slow = judge.verdict(1e12 + 30_000).gates.find(({ gate }) => gate === "slow");
  expect(slow?.leftOut).toBe(100);
  expect(slow?.logE).toBeCloseTo(0, 12);
});
