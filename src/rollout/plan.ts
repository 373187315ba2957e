// The plan of a rollout: how long each step has to last to see what the policy wants seen, and the ramp that
// follows from it. Printed before anything is started.

import type { RolloutPolicy } from "./policy.ts";
import type { Ramp } from "./state.ts";
import type { Threshold } from "./threshold.ts";

/** One step as it is planned. */
export interface PlannedStep {
  readonly share: number;
  /** Of the candidate. */
  readonly requests: number;
  /** At today's rate; null where there is none. */
  readonly seconds: number | null;
}

/** What to expect. */
export interface RolloutPlan {
  /** Of the model, over the last minute. */
  readonly ratePerSecond: number;
  readonly steps: readonly PlannedStep[];
  /** Until it is promoted, where it is as good as stable; null where no traffic tells. */
  readonly secondsToPromote: number | null;
  readonly warnings: readonly string[];
  /** Why such a canary could never see anything; null where it can. */
  readonly refusal: string | null;
}

/** A rollout that is not planned to end ends after this with traffic. */
const DAY_MS = 86_400_000;
/** Times the plan. */
const PATIENCE = 4;
const EVIDENCE_MS_MIN = 600_000;

/** Plans a rollout at a rate. */
export function planOf(
  policy: RolloutPolicy,
  threshold: Threshold,
  ratePerSecond: number,
): RolloutPlan {
  const { alpha, effect } = policy;
  const slow = Math.max(threshold.slowRate ?? 0.01, 0.001);
  const gain = slow * (effect * Math.log(effect) - effect + 1);
  const enough = Math.ceil((1.5 * Math.log(1 / alpha)) / gain);
  const steps = policy.steps.map(({ share, seconds, requests }): PlannedStep => {
    const wanted = requests ?? Math.ceil(enough / policy.steps.length);
    const rate = share * ratePerSecond;
    return {
      share,
      requests: wanted,
      seconds: rate > 0 ? Math.max(seconds, wanted / rate) : null,
    };
  });
  const lengths = steps.map(({ seconds }) => seconds);
  const known = lengths.filter((one) => one !== null);
  const secondsToPromote =
    known.length < lengths.length ? null : known.reduce((sum, one) => sum + one, 0);
  return { ratePerSecond, steps, secondsToPromote, warnings: [], refusal: null };
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
      requests: requests ?? plan.steps[i]?.requests ?? 0,
      minMs: 1000 * seconds,
    })),
    autoPromote,
    evidenceMsMax: maxSeconds === null ? planned : 1000 * maxSeconds,
    deathsMax: deaths,
  };
}
