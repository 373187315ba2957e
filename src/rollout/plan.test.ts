import { expect, test } from "vitest";
import { SkipwayError } from "../base/errors.ts";
import { Random } from "../base/random.ts";
import { GATE_NAMES } from "./judge/gates.ts";
import { Judge } from "./judge/judge.ts";
import { planOf, type RolloutPlan, rampOf } from "./plan.ts";
import { planRollout } from "./planner.ts";
import { DEFAULT_POLICY, type RolloutPolicy, readPolicy } from "./policy.ts";

/** Numbers at the limits of each field, within and beyond, and usual ones. */
const NUMBERS = {
  alpha: [1e-300, 1e-12, 0.001, 0.1, 0.11],
  effect: [1.0000000001, 1.01, 2, 100, 101],
  power: [0.5, 0.9, 0.999],
  disagreement: [1e-300, 0.02, 0.5],
  warmup: [0, 8, 10_000],
};
const OF_GATE = {
  weight: [1e-300, 1e-6, 1, 1000],
  allowed: [1.0000000001, 1.01, 2, 100],
  floor: [0, 1e-300, 0.01, 1],
};
const OF_STEP = { seconds: [0, 10, 2e6], requests: [1, 1000, 1e8], detects: [1.000001, 3, 1000] };
const SHARES = [[0.5], [0.01, 0.5], [1e-300, 0.99], [0.3, 0.6, 0.9]];

/** Whatever somebody may write. */
function drawn(random: Random): unknown {
  const one = <T>(list: readonly T[]): T | undefined =>
    list[Math.floor(random.uniform() * list.length)];
  const some = (of: Readonly<Record<string, readonly number[]>>) =>
    Object.fromEntries(
      Object.entries(of).flatMap(([name, values]) =>
        random.uniform() < 0.3 ? [[name, one(values)] as const] : [],
      ),
    );
  const gate = (): unknown =>
    random.uniform() < 0.2
      ? false
      : { ...some(OF_GATE), ...(random.uniform() < 0.3 && { required: random.uniform() < 0.5 }) };
  const gates = GATE_NAMES.flatMap((name) => (random.uniform() < 0.3 ? [[name, gate()]] : []));
  const steps = (one(SHARES) ?? []).map((share) => ({ share, ...some(OF_STEP) }));
  return { ...some(NUMBERS), gates: Object.fromEntries(gates), steps };
}

function admitted(document: unknown): RolloutPolicy | undefined {
  try {
    return readPolicy(document, "policy");
  } catch (error) {
    if (error instanceof SkipwayError && error.diagnostics.length > 0) return undefined;
    throw error;
  }
}

test("whatever policy is admitted can be planned and judged", () => {
  const random = new Random(7, 1);
  let count = 0;
  for (let i = 0; i < 80; i++) {
    const policy = admitted(drawn(random));
    if (policy === undefined) continue;
    count++;
    const { alpha, effect, gates, warmup, power, disagreement: disagreementAllowed } = policy;
    const judge = { alpha, effect, gates, warmup, disagreementAllowed };
    expect(new Judge({ ...judge, thresholdMs: 1 }).verdict(0).verdict).toBe("UNDERPOWERED");
    const rates = {
      ratePerSecond: 20,
      slowRate: [0, 0.004, 0, 0.004, 0.2][i % 5],
      failedRate: (i % 2) / 50,
    };
    const steps = policy.steps.map(({ seconds, ...step }) => ({ ...step, minSeconds: seconds }));
    const plan = planRollout({ ...rates, power, steps, policy: judge });
    for (const { requests, seconds, equal, detects } of plan.steps) {
      for (const number of [requests, seconds, equal]) expect(number).toBeGreaterThan(0);
      expect(equal).toBeLessThanOrEqual(requests);
      if (detects !== null) expect(detects).toBeGreaterThanOrEqual(1);
    }
    if (plan.refusal === undefined) expect(plan.seconds).toBeLessThan(1e6);
    else expect(plan.refusal).not.toMatch(/NaN|undefined/);
    expect(plan.warnings.join()).not.toMatch(/NaN|undefined|Infinity/);
  }
  expect(count).toBeGreaterThan(20);
});

const JUDGE = { alpha: 0.001, effect: 2, thresholdMs: 100, disagreementAllowed: 0.02 };
const TRAFFIC = { ratePerSecond: 100, windowSeconds: 60, failedRate: 0, rowsPerBatch: 1 };

function plannedOf(change: Partial<RolloutPolicy>): Promise<RolloutPlan> {
  const policy = { ...DEFAULT_POLICY, shadow: null, ...change };
  const threshold = { ms: 100, source: "policy", n: 6000, slowRate: 0 } as const;
  return planOf(policy, { ...JUDGE, gates: policy.gates }, threshold, TRAFFIC);
}

test("a plan warns of a rollout that ends before it proves anything, whatever its steps say", async () => {
  const steps = [{ share: 0.5, seconds: 0, requests: 1 }];
  const plan = await plannedOf({ steps, maxSeconds: 1 });
  expect(plan.refusal).toBeNull();
  expect(plan.warnings).toContainEqual(
    expect.stringMatching(/takes about 10.* after maxSeconds, 1 s/),
  );
  expect(plan.secondsToPromote).toBeCloseTo((plan.steps[0]?.requests ?? 0) / 50, 6);
  const patient = await plannedOf({ steps, maxSeconds: 12, shadow: { pairs: 100, seconds: 30 } });
  // A hundred copies take a second at the least.
  expect(patient.secondsToPromote).toBeCloseTo((plan.secondsToPromote ?? 0) + 1, 6);
  expect(patient.warnings).not.toContainEqual(expect.stringMatching(/maxSeconds/));
});

test("what cannot pass is refused, and where each step has its requests told", async () => {
  const gates = { disagreement: { required: true } };
  const refused = await plannedOf({ gates });
  expect(refused.refusal).toMatch(/disagreement is required and no copies are compared/);
  const steps = [{ share: 0.5, seconds: 0, requests: 1 }];
  const byHand = await plannedOf({ gates, steps });
  expect(byHand.refusal).toBeNull();
  expect(byHand.warnings).toContainEqual(expect.stringMatching(/no copies are compared/));
  const few = { shadow: { pairs: 100, seconds: 30 }, copies: false };
  expect((await plannedOf({ gates, ...few })).refusal).toMatch(/only 100 copies/);
  expect((await plannedOf({ gates, ...few, copies: true })).refusal).toBeNull();
});

test("who asks for many requests is given the time for them, though an equal version is through before", async () => {
  const policy = {
    ...{ ...DEFAULT_POLICY, shadow: null },
    steps: [0.05, 0.5].map((share) => ({ share, seconds: 10, requests: 100_000 })),
  };
  const plan = await plannedOf(policy);
  expect(plan.steps[0]).toMatchObject({ requests: 100_000, seconds: 20_000 });
  expect(plan.secondsToPromote).toBeLessThan(300);
  expect(rampOf(policy, plan).evidenceMsMax).toBeGreaterThan(4 * 20_000_000);
});
