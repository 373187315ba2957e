// What is written down of a rollout: facts that never change, its last state, what happened, and why. Plain JSON,
// in the store and for whoever asks.

import { assert } from "../base/assert.ts";
import type { RolloutLog, RolloutRow, RolloutStore } from "../registry/rollouts.ts";
import type { AdvisoryReading, SavedAdvisory } from "./advisory.ts";
import type { SavedComparison } from "./comparison.ts";
import type { JudgeChange, JudgeSnapshot } from "./judge/judge.ts";
import type { JudgeLog } from "./judge/log.ts";
import type { LogRow } from "./judge/state.ts";
import type { JudgePolicy, PathPoint, Verdict } from "./judge/types.ts";
import type { RolloutPlan } from "./plan.ts";
import type { RolloutPolicy } from "./policy.ts";
import type { NoticeKind, Ramp, RolloutState } from "./state.ts";
import type { Threshold } from "./threshold.ts";

/** Where rollouts are written down: the store of a data folder, or memory where there is none. */
export type Records = Pick<
  RolloutStore,
  | "write"
  | "keep"
  | "active"
  | "list"
  | "rollout"
  | "log"
  | "events"
  | "lastEvents"
  | "certificates"
  | "due"
  | "undelivered"
  | "delivered"
  | "failed"
  | "keepWebhooks"
  | "claim"
  | "remember"
  | "requests"
>;

/** What was fixed when a rollout started. */
export interface RolloutFacts {
  readonly id: string;
  readonly model: string;
  readonly from: number;
  readonly to: number;
  /** Of the files of both versions. */
  readonly digests: { readonly from: string; readonly to: string };
  readonly startedMs: number;
  readonly actor: string;
  readonly reason: string;
  /** Why a version without a passed release check is rolled out; null: it has passed one. */
  readonly override: string | null;
  /** Version of skipway. */
  readonly build: string;
  readonly policy: RolloutPolicy;
  readonly judge: JudgePolicy;
  readonly threshold: Threshold;
  readonly ramp: Ramp;
  readonly plan: RolloutPlan;
}

/** What the store has of a rollout beside its evidence. */
export interface StoredRollout {
  readonly facts: RolloutFacts;
  readonly state: RolloutState;
  /** Events so far: the next one has the next number. */
  readonly events: number;
  readonly verdict: Verdict | null;
  /** Business outcomes by name. */
  readonly outcomes: Readonly<Record<string, SavedComparison>>;
  /** Left out in those that were written before it was gathered. */
  readonly advisory?: SavedAdvisory;
}

/** Something that happened: one line of the store, the stream and the webhooks. */
export interface RolloutNews {
  /** The same however often it is told. */
  readonly id: string;
  readonly atMs: number;
  readonly kind: NoticeKind;
  readonly cause: string | null;
  readonly text: string;
  readonly actor: string;
  readonly model: string;
  /** The candidate. */
  readonly version: number;
  readonly stable: number;
  readonly rollout: string;
  /** What the version got then, 0 to 1. */
  readonly share: number;
  /** Whether a bad candidate was taken back by itself then. Left out in those from before it was told. */
  readonly automaticRollback?: boolean;
  readonly nodePool: string;
}

/** Why a rollout was moved: enough to find the same verdict again. */
export interface Certificate {
  readonly schema: "skipway.rollout-certificate/1";
  readonly rollout: string;
  readonly model: string;
  readonly from: number;
  readonly to: number;
  readonly digests: RolloutFacts["digests"];
  readonly decision: "step" | "promote" | "rollback";
  readonly phase: string;
  readonly step: number;
  readonly cause: string | null;
  readonly atMs: number;
  readonly build: string;
  readonly policy: RolloutPolicy;
  /** Of the policy's JSON. */
  readonly policyDigest: string;
  readonly judge: JudgePolicy;
  readonly threshold: Threshold;
  readonly verdict: Verdict;
  /** What was known beside: nothing was decided on it. Left out in those that were written before it was gathered. */
  readonly advisory?: AdvisoryReading;
  /** How the evidence went until then, for drawing. Left out in those that were written before it was kept. */
  readonly path?: readonly PathPoint[];
  readonly log: JudgeLog;
  /** Of the JSON of all that stands before it. */
  readonly digest: string;
}

/** A rollout that the store has. */
export function storedOf(row: RolloutRow): StoredRollout {
  // Written by the recorder of a rollout from this type.
  return JSON.parse(row.document) as StoredRollout;
}

/** What is shown of its evidence. */
export function pathOf(row: RolloutRow): JudgeSnapshot["path"] {
  return headOf(row).path;
}

/** What its judge goes on with. */
export function evidenceOf(row: RolloutRow, log: readonly RolloutLog[]): JudgeSnapshot {
  const head = headOf(row);
  const { first = 0 } = head;
  // Before there was a log of its own, the rows stood here.
  const rows = [...(head.rows ?? [])];
  for (const { from, rows: text } of log) {
    // Written by the recorder of a rollout from this type.
    const part = JSON.parse(text) as LogRow[];
    const before = Math.max(0, from - first);
    assert(before <= rows.length, "rows are written without a gap");
    // What was written later replaces what was there.
    rows.length = before;
    for (const row of part.slice(Math.max(0, first - from))) rows.push(row);
  }
  return { ...head, rows };
}

function headOf(row: RolloutRow): Omit<JudgeSnapshot, "rows"> & Partial<JudgeSnapshot> {
  // Written by the recorder of a rollout from this type.
  return JSON.parse(row.evidence) as JudgeChange["head"];
}
