import { describe, expect, test } from "vitest";
import { WORSE } from "./judge/evidence.ts";
import { REHEARSED_LIMIT_MS, rehearseRelease } from "./judge/rehearsal.ts";
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
