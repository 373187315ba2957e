// A rollout as it is told to people and programs: `skipway.rollout/1`.

import { Advisory, type AdvisoryReading } from "./advisory.ts";
import type { PathPoint, Verdict } from "./judge/types.ts";
import type { RolloutPlan } from "./plan.ts";
import type { RolloutPolicy } from "./policy.ts";
import type { RolloutNews, StoredRollout } from "./record.ts";
import { type Reason, type RolloutPhase, splitOf } from "./state.ts";
import type { Threshold } from "./threshold.ts";

/** Everything about one rollout. */
export interface RolloutDocument {
  readonly schema: "skipway.rollout/1";
  readonly id: string;
  readonly model: string;
  readonly from: number;
  readonly to: number;
  readonly phase: RolloutPhase;
  /** Whether nothing remains to be done. */
  readonly over: boolean;
  /** Of `steps`; -1 before the canary. */
  readonly step: number;
  readonly steps: readonly {
    readonly share: number;
    readonly requests: number;
    readonly minSeconds: number;
  }[];
  /** What the candidate gets now, 0 to 1. */
  readonly share: number;
  readonly startedMs: number;
  readonly updatedMs: number;
  readonly actor: string;
  readonly held: boolean;
  readonly frozen: boolean;
  /** Whether a bad candidate is taken back by itself. */
  readonly automaticRollback: boolean;
  /** The proof is there, and a person has to promote. */
  readonly waiting: boolean;
  /** The third version that others have moved the alias to meanwhile; null where they have not. */
  readonly aliasElsewhere: number | null;
  readonly ready: { readonly stable: boolean; readonly candidate: boolean };
  readonly policy: RolloutPolicy;
  readonly plan: RolloutPlan;
  readonly threshold: Threshold;
  readonly verdict: Verdict | null;
  /** What is known beside; it decides nothing. Null in rollouts from before it was gathered. */
  readonly advisory: AdvisoryReading | null;
  readonly path: readonly PathPoint[];
  readonly events: readonly RolloutNews[];
  readonly reason: Reason | null;
  /** What could not be done or written down; null where all could. */
  readonly fault: string | null;
}

/** What is told of it again and again: without what never changes, and what grows. */
export type RolloutStatus = Omit<RolloutDocument, "policy" | "plan" | "path" | "events">;

/** The small part of a document. */
export function statusOf(document: RolloutDocument): RolloutStatus {
  const { policy: _, plan: _plan, path: _path, events: _events, ...status } = document;
  return status;
}

/** What a stored rollout does not say of itself. */
export interface Around {
  readonly updatedMs: number;
  readonly over: boolean;
  readonly path: readonly PathPoint[];
  readonly events: readonly RolloutNews[];
  readonly fault: string | null;
  /** Of one that is under way. */
  readonly advisory?: AdvisoryReading;
}

/** The document of a rollout. */
export function documentOf(
  { facts, state, verdict, advisory }: Omit<StoredRollout, "events" | "outcomes">,
  around: Around,
): RolloutDocument {
  const { id, model, from, to, startedMs, actor, ramp, policy, plan, threshold } = facts;
  const { phase, step, held, frozen, rollbackOff, waiting, ready, reason, alias } = state;
  return {
    schema: "skipway.rollout/1",
    id,
    model,
    from,
    to,
    phase,
    over: around.over,
    step,
    steps: ramp.steps.map(({ share, requests, minMs }) => ({
      share,
      requests,
      minSeconds: minMs / 1000,
    })),
    share: splitOf(state, ramp).share,
    startedMs,
    updatedMs: around.updatedMs,
    actor,
    held,
    frozen,
    automaticRollback: !rollbackOff,
    waiting,
    aliasElsewhere: alias.elsewhere ?? null,
    ready,
    policy,
    plan,
    threshold,
    verdict,
    advisory: around.advisory ?? (advisory && new Advisory(advisory).reading()) ?? null,
    path: around.path,
    events: around.events,
    reason,
    fault: around.fault,
  };
}
