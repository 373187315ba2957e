// What to do when not everybody can be answered in time any more. Serving the most urgent request first
// then means small batches, hence fewer answers, hence more that are late: a spiral in which a model
// does a fifth of what it can. So those are given up for whose sake batches would be small.

import type { Plan } from "./plan.ts";
import type { Entry, Level, WaitingQueue } from "./queue.ts";
import type { FreeAt } from "./slots.ts";

/** What is asked of the planner here. */
interface Finish {
  finishMs(entry: Entry, rows: number, free: FreeAt): number;
}

/** Whether everyone of a level who waits can be in time if a batch runs first. */
export function allInTime(
  queue: WaitingQueue,
  level: Level,
  plan: Plan,
  free: FreeAt,
  processes: number,
): boolean {
  const taken = new Set(plan.entries);
  let finishMs = free.atMs + plan.meanMs;
  for (const entry of level.entries) {
    if (taken.has(entry)) continue;
    const { deadlineMs } = entry.request;
    if (deadlineMs === Number.POSITIVE_INFINITY) return true;
    finishMs += queue.shareMs(entry) / processes;
    if (finishMs > deadlineMs) return false;
  }
  return true;
}

/**
 * The first requests of a bucket that are better given up, so that a larger batch can run. A batch is worth
 * its rows less what the best batches would do in its time. Empty where the small batch is worth most.
 */
export function sacrifice(
  finish: Finish,
  waiting: readonly Entry[],
  plan: Plan,
  wanted: number,
  free: FreeAt,
): readonly Entry[] {
  const predictor = waiting[0]?.bucket.predictor;
  if (predictor === undefined) return [];
  const bestRate = wanted / predictor.meanMs(wanted);
  const worth = (rows: number, ms: number): number => rows - bestRate * ms;
  let most = worth(plan.rows, plan.meanMs);
  let given = 0;
  for (let target = wanted; target > plan.rows; target >>= 1) {
    const skipped = firstThatAllows(finish, waiting, target, free);
    const rows = Math.min(target, rowsOf(waiting.slice(skipped)));
    const value = worth(rows, predictor.meanMs(rows));
    if (rows > plan.rows && value > most) [most, given] = [value, skipped];
  }
  return waiting.slice(0, given);
}

function firstThatAllows(
  finish: Finish,
  waiting: readonly Entry[],
  rows: number,
  free: FreeAt,
): number {
  const [first] = waiting;
  if (first === undefined) return 0;
  const untilMs = finish.finishMs(first, rows, free);
  const found = waiting.findIndex(({ request }) => request.deadlineMs >= untilMs);
  return found < 0 ? waiting.length : found;
}

function rowsOf(waiting: readonly Entry[]): number {
  return waiting.reduce((sum, { request }) => sum + request.rows, 0);
}
