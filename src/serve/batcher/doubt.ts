// How much of the time that a request has is set aside for what may go wrong. Bounded: a machine on which
// nothing is certain must not lead to a server that refuses everybody while its process is idle.

import type { BatchRequest } from "./types.ts";

/** Of the time that a request has, so much at most. Doubt that is larger makes answers late, not impossible. */
const DOUBT_MAX = 0.5;
/** Who was let in is given up by less doubt than who comes: a refusal then comes after a wait for nothing. */
const LATE_DOUBT_MAX = 0.25;
/** Where runs are to take half of that time, this much: a batch is not made of one row because runs vary. */
const HALF_DOUBT_MAX = 0.25;

type Timed = Pick<BatchRequest, "arrivedMs" | "deadlineMs">;

/** Doubts that know nothing of each other, together: the root of the sum of their squares, up to the bound. */
export function doubtMs(
  { arrivedMs, deadlineMs }: Timed,
  when: "comes" | "waits",
  ...parts: readonly number[]
): number {
  const most = when === "comes" ? DOUBT_MAX : LATE_DOUBT_MAX;
  return Math.min(Math.hypot(...parts), most * (deadlineMs - arrivedMs));
}

/**
 * Whether a run takes at most half of the time that a request has, since whoever comes during a run waits for all of
 * it and then for their own (Nexus, SOSP 2019, has the same rule).
 */
export function withinHalf(
  { arrivedMs, deadlineMs }: Timed,
  meanMs: number,
  spreadMs: number,
): boolean {
  const budgetMs = deadlineMs - arrivedMs;
  return meanMs + Math.min(spreadMs, HALF_DOUBT_MAX * budgetMs) <= budgetMs / 2;
}
