// The plan of a rollout from what the server knows: how long each step has to last to see what the policy wants seen,
// and the ramp that follows from it. Printed before anything is started.

import type { JudgePolicy } from "./judge/types.ts";
import { planAside } from "./planner-thread.ts";
import type { RolloutPolicy } from "./policy.ts";
import type { Ramp } from "./state.ts";
import type { Threshold } from "./threshold.ts";
import type { SampledUnits } from "./traffic-sample.ts";

/** One step as it is planned. */
export interface PlannedStep {
  readonly share: number;
  /** Of the candidate, after which it is over where the judge is not sure before; null where he alone ends it. */
  readonly requests: number | null;
  /** For so many, at today's rate; null where there is none. */
  readonly seconds: number | null;
  /** The least ratio of slow requests that it sees, over stable's rate or the gate's floor; null: none. */
  readonly detects: number | null;
}

/** What to expect. */
export interface RolloutPlan {
  /** Of the model. */
  readonly ratePerSecond: number;
  /** Over so many seconds up to now. */
  readonly windowSeconds: number;
  readonly steps: readonly PlannedStep[];
  /** Until it has passed, where it is as good as stable: often before all steps are through; null: cannot be said. */
  readonly secondsToPromote: number | null;
  readonly warnings: readonly string[];
  /** Why such a canary could never see anything; null where it can, or where the policy plans every step itself. */
  readonly refusal: string | null;
}

/** What is known of the traffic of stable. */
export interface Traffic {
  readonly ratePerSecond: number;
  readonly windowSeconds: number;
  /** Share of its requests that fail. */
  readonly failedRate: number;
  /** Requests of a batch, on average. */
  readonly rowsPerBatch: number;
  /** By batches, where that has been seen. */
  readonly units?: SampledUnits | undefined;
}

/** A rollout that is not planned to end ends after this with traffic. */
const DAY_MS = 86_400_000;
/** Times the plan. */
const PATIENCE = 4;
const EVIDENCE_MS_MIN = 600_000;

/** Plans a rollout. */
export async function planOf(
  policy: RolloutPolicy,
  judge: JudgePolicy,
  threshold: Threshold,
  traffic: Traffic,
): Promise<RolloutPlan> {
  const { ratePerSecond, windowSeconds, failedRate, rowsPerBatch, units } = traffic;
  const { steps: wanted, power, shadow, copies } = policy;
  const planned = await planAside({
    ...{ ratePerSecond, failedRate, rowsPerBatch, slowRate: threshold.slowRate ?? undefined },
    ...units,
    power,
    steps: wanted.map(({ seconds, ...step }) => ({ ...step, minSeconds: seconds })),
    policy: judge,
    pairs: shadow === null ? 0 : copies ? undefined : shadow.pairs,
  });
  const steps = wanted.map(({ share, seconds, requests }, i): PlannedStep => {
    const own = planned.steps[i];
    // The last one is over when the judge is sure, whatever the policy says.
    const needed = own === undefined ? (requests ?? null) : finite(own.requests);
    const lasts = needed === null || ratePerSecond === 0 ? null : needed / (share * ratePerSecond);
    return {
      share,
      requests: needed,
      seconds: lasts === null ? null : Math.max(seconds, lasts),
      detects: own?.detects ?? null,
    };
  });
  const canarySeconds = planned.steps.length === 0 ? null : finite(planned.seconds);
  const secondsToPromote =
    canarySeconds === null ? null : canarySeconds + shadowSeconds(policy, ratePerSecond);
  const byHand = wanted.every(({ requests }) => requests !== undefined);
  const { refusal } = planned;
  return {
    ratePerSecond,
    windowSeconds,
    steps,
    secondsToPromote,
    warnings: [
      ...planned.warnings,
      ...hasteWarnings(policy, secondsToPromote),
      // Who says how many requests each step has plans it alone.
      ...(byHand && refusal !== undefined ? [refusal] : []),
    ],
    refusal: byHand ? null : (refusal ?? null),
  };
}

/** The least that copies take before the canary: one of each request at the most. */
function shadowSeconds({ shadow }: RolloutPolicy, ratePerSecond: number): number {
  return shadow === null ? 0 : Math.min(shadow.seconds, shadow.pairs / ratePerSecond);
}

/** A rollout that is over before it can have proven anything. */
function hasteWarnings({ maxSeconds }: RolloutPolicy, seconds: number | null): string[] {
  if (maxSeconds === null || seconds === null || maxSeconds >= seconds) return [];
  const [least, most] = [seconds, maxSeconds].map((one) => Number(one.toPrecision(3)));
  return [
    `a version that is as good takes about ${least} s to pass, and after maxSeconds, ${most} s, it is taken back as unproven`,
  ];
}

function finite(value: number | undefined): number | null {
  return value !== undefined && Number.isFinite(value) ? value : null;
}

/** The ramp that a rollout follows. */
export function rampOf(policy: RolloutPolicy, plan: RolloutPlan): Ramp {
  const { shadow, copies, autoPromote, deaths, maxSeconds } = policy;
  // As long as all steps take, though an equal candidate may be through before.
  const lengths = plan.steps.flatMap(({ seconds }) => seconds ?? []);
  const planned =
    plan.secondsToPromote === null || lengths.length < plan.steps.length
      ? DAY_MS
      : Math.max(EVIDENCE_MS_MIN, PATIENCE * 1000 * lengths.reduce((sum, one) => sum + one, 0));
  return {
    ...(shadow !== null && { shadow: { pairs: shadow.pairs, maxMs: 1000 * shadow.seconds } }),
    copies: copies && shadow !== null,
    steps: policy.steps.map(({ share, seconds, requests }, i) => ({
      share,
      // Where nobody knows how many, proof alone ends the step.
      requests: requests ?? plan.steps[i]?.requests ?? Number.MAX_SAFE_INTEGER,
      minMs: 1000 * seconds,
    })),
    autoPromote,
    evidenceMsMax: maxSeconds === null ? planned : 1000 * maxSeconds,
    deathsMax: deaths,
  };
}
