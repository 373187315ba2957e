// Whether a rollout has ended, and its verdict, also before the judge was asked.

import type { RolloutStatus } from "../../../src/rollout/document.ts";
import type { Verdict } from "../../../src/rollout/judge/types.ts";

const NONE: Verdict = {
  verdict: "UNDERPOWERED",
  text: "nothing is known yet",
  gates: [],
  sampleRatio: { logE: 0, limit: 1, fault: false },
  candidateRequests: 0,
  stableRequests: 0,
  requestsNeeded: 0,
  secondsNeeded: 0,
};

const ENDS: ReadonlySet<RolloutStatus["phase"]> = new Set([
  "promoted",
  "rolled-back",
  "aborted",
  "failed",
]);

/** Whether it has ended; its alias may still be on the way. */
export function hasEnded({ phase }: Pick<RolloutStatus, "phase">): boolean {
  return ENDS.has(phase);
}

/** What the judge says. */
export function verdictOf({ verdict }: Pick<RolloutStatus, "verdict">): Verdict {
  return verdict ?? NONE;
}
