// Rollouts as the page knows them: the last state of each, its evidence over time and its events.

import type { DecidedEvidence } from "../../../src/rollout/certificate.ts";
import type { RolloutStatus } from "../../../src/rollout/document.ts";
import type { PathPoint } from "../../../src/rollout/judge/types.ts";
import type { RolloutNews } from "../../../src/rollout/record.ts";
import { withVerdict } from "./evidence.ts";
import { hasEnded } from "./verdict.ts";

/** One rollout. */
export interface KnownRollout {
  readonly status: RolloutStatus;
  readonly path: readonly PathPoint[];
  readonly events: readonly RolloutNews[];
  /** When its status was that, milliseconds since the epoch; its end where it has one. */
  readonly seenMs: number;
  /** What it ended on: once it is known, its path is what is drawn. */
  readonly decided?: DecidedEvidence;
}

/** Rollouts by id. */
export type Known = ReadonlyMap<string, KnownRollout>;

/** After its end a rollout stays in sight for so long. */
const SHOWN_MS = 900_000;

/** With what the stream tells at a time. What is not under way any more, and not told, is known no longer. */
export function withStatus(known: Known, rollouts: readonly RolloutStatus[], atMs: number): Known {
  const after = new Map([...known].filter(([, { status }]) => hasEnded(status)));
  for (const status of rollouts) {
    const before = known.get(status.id);
    const seenMs = seenAt(status, atMs);
    const path = withVerdict(before?.path ?? [], status, seenMs);
    after.set(status.id, { ...before, status, path, events: before?.events ?? [], seenMs });
  }
  return after;
}

/** With everything about one; what the stream has told since stays. */
export function withDocument(
  known: Known,
  document: RolloutStatus & Pick<KnownRollout, "path" | "events">,
  atMs: number,
): Known {
  const { path, events, ...status } = document;
  const before = known.get(document.id);
  const newer = before !== undefined && before.status.updatedMs >= document.updatedMs;
  const last = path.at(-1)?.atMs ?? Number.NEGATIVE_INFINITY;
  const later = before?.path.filter((point) => point.atMs > last) ?? [];
  return new Map(known).set(document.id, {
    ...before,
    status: newer ? before.status : status,
    path: [...path, ...later],
    events,
    seenMs: newer ? before.seenMs : seenAt(status, atMs),
  });
}

/** With what one ended on. */
export function withDecided(known: Known, decided: DecidedEvidence): Known {
  const before = known.get(decided.rollout);
  return before === undefined ? known : new Map(known).set(decided.rollout, { ...before, decided });
}

/** The evidence that is drawn: what it ended on, else what is known of it. */
export function drawnPath({ path, decided }: KnownRollout): readonly PathPoint[] {
  return decided?.path ?? path;
}

/** Whether evidence is that of the end of a rollout, and not of a step before. */
export function isOfEnd(status: RolloutStatus, { decision }: DecidedEvidence): boolean {
  return decision === (status.phase === "promoted" ? "promote" : "rollback");
}

function seenAt(status: RolloutStatus, atMs: number): number {
  return hasEnded(status) ? status.updatedMs : atMs;
}

/** Which cards are shown: whatever is under way or ended a moment ago, and what was chosen; in this order. */
export function shown(known: Known, chosen: string | undefined, nowMs: number): KnownRollout[] {
  return [...known.values()]
    .filter(({ status }) => {
      if (status.id === chosen || !hasEnded(status)) return true;
      return nowMs - status.updatedMs < SHOWN_MS;
    })
    .sort(({ status: a }, { status: b }) => {
      const ended = Number(hasEnded(a)) - Number(hasEnded(b));
      return ended === 0 ? b.startedMs - a.startedMs : ended;
    });
}
