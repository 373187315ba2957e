import { describe, expect, test } from "vitest";
import { WORSE } from "./judge/evidence.ts";
import { Judge } from "./judge/judge.ts";
import { REHEARSED_LIMIT_MS, type Rehearsal, rehearseRelease } from "./judge/rehearsal.ts";
import { forecastDetection, type PlanInput, planRollout } from "./planner.ts";
import { endings, incompleteBeta } from "./planner-passage.ts";

const POLICY = { alpha: 0.001, effect: 2, gates: {}, disagreementAllowed: 0.02 };
const INPUT: PlanInput = {
  ratePerSecond: 200,
  slowRate: 0.01,
  power: 0.9,
  steps: [0.01, 0.05, 0.25, 0.5].map((share) => ({ share })),
  policy: POLICY,
};

describe("a plan", () => {
  const plan = planRollout(INPUT);

  test("says what each step takes and sees, and how long all of it is", () => {
    expect(plan.refusal).toBeUndefined();
    expect(plan.warnings).toEqual([]);
    expect(plan.steps.map(({ share }) => share)).toEqual([0.01, 0.05, 0.25, 0.5]);
    for (const { share, requests, seconds } of plan.steps) {
      expect(seconds).toBeCloseTo(requests / (200 * share), 6);
    }
    const seen = plan.steps.map(({ detects }) => detects ?? Number.POSITIVE_INFINITY);
    expect(seen).toEqual(seen.toSorted((a, b) => b - a));
    expect(seen[0]).toBeCloseTo(10, 0);
    expect(plan.seconds).toBeCloseTo(
      plan.steps.reduce((sum, step) => sum + step.seconds, 0),
      6,
    );
  });

  test("lengthens a step to its least time", () => {
    const steps = INPUT.steps.map((step, i) => (i === 1 ? { ...step, minSeconds: 600 } : step));
    const longer = planRollout({ ...INPUT, steps });
    expect(longer.steps[1]?.seconds).toBeCloseTo(600, 6);
    expect(longer.steps[1]?.detects).toBeLessThan(plan.steps[1]?.detects ?? 0);
  });

  test("counts a batch as one, and clients that keep their version once each", () => {
    expect(planRollout({ ...INPUT, rowsPerBatch: 8 }).requests).toBeGreaterThan(6 * plan.requests);
    const input = { ...INPUT, slowRate: 0.03 };
    expect(planRollout({ ...input, distinct: 0.5 }).requests).toBeGreaterThan(
      1.5 * planRollout(input).requests,
    );
  });

  test.each<[string, Partial<PlanInput>, RegExp]>([
    ["no traffic", { ratePerSecond: 0 }, /no traffic/],
    ["traffic that is too little", { ratePerSecond: 0.01 }, /hours.*larger share/],
    ["a threshold that half of the requests exceed", { slowRate: 0.5 }, /cannot be.*threshold/],
    ["shares that do not grow", { steps: [{ share: 0.5 }, { share: 0.1 }] }, /grow/],
    ["nothing to compare with", { steps: [{ share: 1 }] }, /nothing to compare/],
    ["no step", { steps: [] }, /no step/],
  ])("is refused: %s", (_, change, why) => {
    expect(planRollout({ ...INPUT, ...change }).refusal).toMatch(why);
  });

  test("warns of a threshold that nothing exceeds, and of one that much does", () => {
    const rare = planRollout({ ...INPUT, slowRate: 1e-4 });
    expect(rare.warnings.join()).toMatch(/known late/);
    const much = planRollout({ ...INPUT, slowRate: 0.05 });
    expect(much.warnings.join()).toMatch(/comparison with stable/);
  });

  test("warns of a gate that nothing fails", () => {
    const gates = { failed: { floor: 0.2, allowed: 5 } };
    const plan = planRollout({ ...INPUT, policy: { ...INPUT.policy, gates } });
    expect(plan.warnings.join()).toMatch(/the gate failed lets every candidate pass/);
  });
});

describe("a plan where none of stable's requests were slow", () => {
  const quiet = { ...INPUT, ratePerSecond: 17, slowRate: 0 };
  const plan = planRollout(quiet);
  const ramp = plan.steps.map(({ share, requests }) => ({ share, requests }));
  const policy = { ...POLICY, thresholdMs: REHEARSED_LIMIT_MS };
  const rehearsed = (seed: number, change: Partial<Rehearsal>) =>
    rehearseRelease(
      { seed, steps: ramp, ratePerSecond: 17, slowRate: 0, ratio: 1, ...change },
      policy,
    );
  const seeds = Array.from({ length: 100 }, (_, i) => i + 1);

  test("is no other than with one that was", () => {
    const one = planRollout({ ...quiet, slowRate: 0.001 });
    expect([plan.refusal, one.refusal]).toEqual([undefined, undefined]);
    expect(plan.warnings).toEqual([expect.stringMatching(/none .* slow .* 1 %, and below 2 %/)]);
    expect(one.warnings).toEqual([expect.stringMatching(/0\.1 % .* 1 %, and below 2 %/)]);
    expect(planRollout({ ...quiet, slowRate: undefined })).toEqual({
      ...plan,
      warnings: [expect.stringMatching(/not known yet/)],
    });
    plan.steps.forEach(({ requests, detects }, i) => {
      const other = one.steps[i];
      if (i + 1 < plan.steps.length) expect(requests / (other?.requests ?? 0)).toBeCloseTo(0.87, 0);
      expect(detects).toBeLessThan(11);
    });
  });

  test("an equal candidate is let through within twice the forecast", () => {
    const steps = ramp.map((one, i) =>
      i + 1 < ramp.length ? one : { ...one, requests: 2 * plan.requests },
    );
    for (const seed of seeds) {
      const { end, candidateRequests } = rehearsed(seed, { steps });
      expect(end).toBe("promoted");
      expect(candidateRequests).toBeLessThan(2 * plan.requests);
      expect(candidateRequests).toBeGreaterThan(0.95 * plan.requests);
    }
  });

  test("one that is always slow, and one that is so as often as a step looks for, are found in that step", () => {
    const [first] = plan.steps;
    const most = first?.requests ?? 0;
    for (const seed of seeds) {
      const always = rehearsed(seed, { coldRuns: Number.POSITIVE_INFINITY });
      expect(always).toMatchObject({ end: "rolled back", cause: "slow" });
      expect(always.candidateRequests).toBeLessThanOrEqual(most);
    }
    const times = { slowRate: 1e-9, ratio: (first?.detects ?? 0) * 1e7 };
    const found = seeds.filter((seed) => {
      const { end, candidateRequests } = rehearsed(seed, times);
      return end === "rolled back" && candidateRequests <= most;
    });
    expect(found.length).toBeGreaterThan(80);
    expect(found.length).toBeLessThan(100);
  });
});

describe("a plan says what the policy's numbers do not do", () => {
  const step = { share: 0.05 };
  const last = { share: 0.5 };

  test.each<[string, Partial<PlanInput>, readonly RegExp[]]>([
    [
      "a ratio that nothing shows",
      { steps: [{ ...step, detects: 1.2 }, last] },
      [/5 % is to see 1\.2 times .* no number .* over when the judge is sure/],
    ],
    [
      "too few requests",
      { steps: [{ ...step, requests: 1 }, last] },
      [/5 % is over after one request, before even .* always slow/],
    ],
    [
      "a ratio beside requests",
      { steps: [{ ...step, requests: 500, detects: 3 }, last] },
      [/5 % has its requests: its detects is not looked at/],
    ],
    [
      "a ratio in the last step",
      { steps: [{ ...last, detects: 3 }] },
      [/50 % is the last one.*its detects is not looked at/],
    ],
    [
      "a gate of time that is off",
      { policy: { ...POLICY, gates: { slow: { off: true } } } },
      [/slow is off: no step sees/],
    ],
  ])("%s", (_, change, warnings) => {
    const plan = planRollout({ ...INPUT, ...change });
    expect(plan.refusal).toBeUndefined();
    expect(plan.warnings).toEqual(warnings.map((text) => expect.stringMatching(text)));
  });

  test("requests of a step are the most: an equal candidate is through before", () => {
    const steps = [step, last].map((one) => ({ ...one, requests: 100_000 }));
    const plan = planRollout({ ...INPUT, steps });
    expect(plan.steps[0]?.requests).toBe(100_000);
    // What the judge needs is for the most part the same at any share.
    expect(plan.requests).toBeLessThan(3000);
    const without = planRollout({ ...INPUT, steps: [step, last] });
    expect(plan.requests / without.requests).toBeCloseTo(1, 1);
  });

  test("copies that are required and do not come", () => {
    const policy = { ...POLICY, gates: { disagreement: { required: true } } };
    const refused = (pairs?: number) => planRollout({ ...INPUT, policy, pairs }).refusal;
    expect(refused(0)).toMatch(/no copies are compared: it needs \d+/);
    const needed = Number(/needs (\d+)/.exec(refused(0) ?? "")?.[1]);
    expect(refused(needed - 1)).toMatch(`only ${needed - 1} copies`);
    expect([refused(needed), refused()]).toEqual([undefined, undefined]);
    // The judge's own word.
    const judge = new Judge({ ...policy, thresholdMs: 100 });
    const passes = () =>
      judge.verdict(1, true).gates.find(({ gate }) => gate === "disagreement")?.verdict;
    for (let i = 1; i <= needed; i++) {
      expect(passes()).not.toBe("pass");
      judge.observe({ kind: "pair", atMs: 1, agrees: true, stableMs: 1, outcome: "good" });
    }
    expect(passes()).toBe("pass");
  });
});

describe("forecasts", () => {
  test("the walk that is added up is the walk that is walked", () => {
    const walk = { share: 0.25, against: WORSE, ratio: 1, chance: 0.6, limit: 5 };
    const ended = endings(walk);
    expect(ended.reduce((sum, { chance }) => sum + chance, 0)).toBeCloseTo(1, 3);
    const mean = ended.reduce((sum, { chance, events }) => sum + chance * events, 0);
    // Wald: what an event adds, times their number, is the limit and what goes beyond.
    const gain = 0.6 * Math.log(0.6 / 0.25) + 0.4 * Math.log(0.4 / 0.75);
    expect(mean).toBeGreaterThan(5 / gain);
    expect(mean).toBeLessThan((5 + 3) / gain);
  });

  test("the incomplete beta function: a binomial sum", () => {
    const choose = (n: number, k: number): number =>
      k === 0 ? 1 : (choose(n, k - 1) * (n - k + 1)) / k;
    for (const [x, a, n] of [
      [0.3, 4, 20],
      [0.9, 15, 16],
      [0.01, 1, 40],
    ] as const) {
      let sum = 0;
      for (let k = a; k <= n; k++) sum += choose(n, k) * x ** k * (1 - x) ** (n - k);
      expect(incompleteBeta(x, a, n - a + 1)).toBeCloseTo(sum, 10);
    }
  });

  test.each([
    [0.05, 5],
    [0.05, 10],
    [0.5, 10],
  ])("detection at a share of %d, %d times as many slow: as simulated", (share, ratio) => {
    const took: number[] = [];
    const policy = { ...POLICY, thresholdMs: REHEARSED_LIMIT_MS };
    for (let seed = 1; seed <= 200; seed++) {
      const steps = [{ share, requests: 5000 }];
      const rehearsal = { seed, steps, ratePerSecond: 200, slowRate: 0.01, ratio };
      took.push(rehearseRelease(rehearsal, policy).candidateRequests);
    }
    took.sort((a, b) => a - b);
    const forecast = forecastDetection(POLICY, share, 0.01, ratio);
    expect((took[100] ?? 0) / forecast.median).toBeGreaterThan(0.8);
    expect((took[100] ?? 0) / forecast.median).toBeLessThan(1.2);
    expect((took[190] ?? 0) / forecast.p95).toBeGreaterThan(0.75);
    expect((took[190] ?? 0) / forecast.p95).toBeLessThan(1.3);
  });

  test("what was promised: requests until a slow candidate is taken back", () => {
    const promised = [
      [0.05, 5, 300, 650],
      [0.05, 10, Number.POSITIVE_INFINITY, 200],
      [0.5, 5, 750, 1400],
      [0.5, 10, Number.POSITIVE_INFINITY, 450],
    ] as const;
    for (const [share, ratio, median, p95] of promised) {
      const forecast = forecastDetection(POLICY, share, 0.01, ratio);
      expect(forecast.median).toBeLessThanOrEqual(median);
      expect(forecast.p95).toBeLessThanOrEqual(p95);
    }
  });
});
