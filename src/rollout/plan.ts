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
  /** Of the candidate; null where the plan is refused and the policy says nothing. */
  readonly requests: number | null;
  /** At today's rate; null where there is none. */
  readonly seconds: number | null;
  /** The least ratio of slow requests that it sees; null: none. */
  readonly detects: number | null;
}

/** What to expect. */
export interface RolloutPlan {
  /** Of the model. */
  readonly ratePerSecond: number;
  /** Over so many seconds up to now. */
  readonly windowSeconds: number;
  readonly steps: readonly PlannedStep[];
  /** Until it is promoted, where it is as good as stable; null where that cannot be said. */
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
  const { steps: wanted, power } = policy;
  const planned = await planAside({
    ...{ ratePerSecond, failedRate, rowsPerBatch, slowRate: threshold.slowRate ?? 0 },
    ...units,
    power,
    steps: wanted.map(({ share, seconds, detects }) => ({ share, minSeconds: seconds, detects })),
    policy: judge,
  });
  const steps = wanted.map(({ share, seconds, requests }, i): PlannedStep => {
    const own = planned.steps[i];
    const needed = requests ?? finite(own?.requests);
    const lasts = needed === null || ratePerSecond === 0 ? null : needed / (share * ratePerSecond);
    return {
      share,
      requests: needed,
      seconds: lasts === null ? null : Math.max(seconds, lasts),
      detects: own?.detects ?? null,
    };
  });
  const lengths = steps.flatMap(({ seconds }) => seconds ?? []);
  const whole = lengths.length === steps.length;
  const byHand = wanted.every(({ requests }) => requests !== undefined);
  const { refusal } = planned;
  return {
    ratePerSecond,
    windowSeconds,
    steps,
    secondsToPromote: whole ? lengths.reduce((sum, one) => sum + one, 0) : null,
    // Who says how many requests each step has plans it alone.
    warnings: [...planned.warnings, ...(byHand && refusal !== undefined ? [refusal] : [])],
    refusal: byHand ? null : (refusal ?? null),
  };
}

function finite(value: number | undefined): number | null {
  return value !== undefined && Number.isFinite(value) ? value : null;
}

/** The ramp that a rollout follows. */
export function rampOf(policy: RolloutPolicy, plan: RolloutPlan): Ramp {
  const { shadow, copies, autoPromote, deaths, maxSeconds } = policy;
  const planned =
    plan.secondsToPromote === null
      ? DAY_MS
      : Math.max(EVIDENCE_MS_MIN, PATIENCE * 1000 * plan.secondsToPromote);
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
