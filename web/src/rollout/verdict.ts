// The verdict of a rollout, also before the judge was asked.

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

/** What the judge says. */
export function verdictOf({ verdict }: Pick<RolloutStatus, "verdict">): Verdict {
  return verdict ?? NONE;
}
