// The documents of a rollout, as /api/v1 gives them to pages, commands and other programs.

import type { PathPoint, Verdict } from "./judge/types.ts";
import type { Notice, Reason, RolloutPhase } from "./state.ts";

/** What is known of a rollout now: small enough to be told each second. */
export interface RolloutStatus {
  readonly schema: "skipway.rollout/1";
  readonly id: string;
  readonly model: string;
  readonly from: number;
  readonly to: number;
  readonly phase: RolloutPhase;
  /** Of `steps`; -1 before the canary. */
  readonly step: number;
  readonly steps: readonly { readonly share: number }[];
  /** Of the requests that name no version, now. */
  readonly share: number;
  readonly startedMs: number;
  readonly updatedMs: number;
  readonly held: boolean;
  readonly frozen: boolean;
  /** The proof is there, and a person has to promote. */
  readonly waiting: boolean;
  /** null: the judge was not asked yet. */
  readonly verdict: Verdict | null;
  /** A request that takes longer is a slow one. */
  readonly threshold: { readonly ms: number; readonly source: string };
  /** Why it ended, or who stopped it for now. */
  readonly reason: Reason | null;
}

/** Something that happened to a rollout. */
export interface RolloutNews extends Notice {
  /** The same wherever it is told, and after a restart. */
  readonly id: string;
  readonly atMs: number;
  readonly model: string;
  readonly version: number;
}

/** Everything about a rollout. */
export interface RolloutDocument extends RolloutStatus {
  readonly policy: unknown;
  readonly plan: unknown;
  /** Evidence over time, thinned, the oldest first. */
  readonly path: readonly PathPoint[];
  /** The oldest first. */
  readonly events: readonly RolloutNews[];
}
