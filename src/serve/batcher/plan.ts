// Which batch a process is to run next: the request that is first in order, and those of its bucket
// that can ride along without making anybody late.

import { doubtMs, withinHalf } from "./doubt.ts";
import { allInTime, sacrifice } from "./overload.ts";
import type { Entry, Level, WaitingQueue } from "./queue.ts";
import type { RunTimes } from "./run-times.ts";
import type { FreeAt, Slot, Slots } from "./slots.ts";
import type { MemoryFit, Surroundings } from "./types.ts";

/** A batch that could start. */
export interface Plan {
  readonly entries: readonly Entry[];
  readonly rows: number;
  readonly meanMs: number;
  readonly spreadMs: number;
  /** It would not grow by waiting: it has the best size, or the next request does not get in. */
  readonly full: boolean;
}

/** What the search for the next batch comes to. */
export type Choice =
  | { readonly kind: "plan"; readonly plan: Plan; readonly blocked: readonly Entry[] }
  /** A request that can never fit, found while looking. */
  | { readonly kind: "never"; readonly entry: Entry }
  /** A request that can no longer be answered in time. */
  | { readonly kind: "late"; readonly entry: Entry; readonly finishMs: number }
  /** Not everybody can be in time, and without these more can. */
  | { readonly kind: "sacrifice"; readonly entries: readonly Entry[] }
  | { readonly kind: "nothing"; readonly blocked: readonly Entry[] };

/** What bounds a batch. */
interface Limits {
  readonly free: FreeAt;
  readonly overloaded: boolean;
  fits(rows: number): MemoryFit;
}

/** Batches that may go ahead of a request for which there is no memory now. Then nothing does. */
const PASSES_MAX = 8;

/** Plans the batches of one queue. */
export class Planner {
  readonly #queue: WaitingQueue;
  readonly #times: RunTimes;
  readonly #slots: Slots;
  readonly #maxBatchRows: number;

  constructor(queue: WaitingQueue, times: RunTimes, slots: Slots, maxBatchRows: number) {
    this.#queue = queue;
    this.#slots = slots;
    this.#times = times;
    this.#maxBatchRows = maxBatchRows;
  }

  /** The latest time at which so many rows of a request's bucket, begun at `free`, are done. */
  finishMs(entry: Entry, rows: number, free: FreeAt): number {
    const { predictor } = entry.bucket;
    const mean = predictor.meanMs(rows);
    const spread = predictor.spreadMs(mean, this.#times.upperFactor);
    const { stallMs } = this.#times;
    const { hopMs, newsMs } = this.#slots;
    const doubt = doubtMs(entry.request, "waits", spread + stallMs, free.spreadMs, newsMs);
    return free.atMs + hopMs + mean + doubt;
  }

  /** Whether a run of so many rows of an entry's bucket takes at most half of the time that the entry has. */
  withinHalf({ request, bucket }: Entry, rows: number): boolean {
    const mean = bucket.predictor.meanMs(rows);
    return withinHalf(request, mean, bucket.predictor.spreadMs(mean, this.#times.upperFactor));
  }

  /** The next batch for a process that can begin at `free`; `overloaded`: more comes than can be done. */
  next(slot: Slot, free: FreeAt, overloaded: boolean, surroundings: Surroundings): Choice {
    const blocked: Entry[] = [];
    /** Rows of each bucket for which there is no memory now. */
    const tooMany = new Map<string, number>();
    for (let at = 0; at < this.#queue.levels.length; at++) {
      const entries = this.#queue.levels[at]?.entries ?? [];
      for (let i = 0; i < entries.length; i++) {
        const head = entries[i];
        if (head === undefined) continue;
        const { rows, deadlineMs } = head.request;
        const finishMs = this.finishMs(head, rows, free);
        if (finishMs > deadlineMs) return { kind: "late", entry: head, finishMs };
        if (rows >= (tooMany.get(head.bucket.key) ?? Number.POSITIVE_INFINITY)) continue;
        const fit = surroundings.fits(head.bucket.key, rows, slot.id);
        if (fit === "never") return { kind: "never", entry: head };
        if (fit === "fits") {
          const limits = { free, overloaded, fits: fitsOn(surroundings, head.bucket.key, slot.id) };
          return this.#choose(at, i, limits, blocked);
        }
        blocked.push(head);
        tooMany.set(head.bucket.key, rows);
        if (head.passed >= PASSES_MAX) return { kind: "nothing", blocked };
      }
    }
    return { kind: "nothing", blocked };
  }

  /** A batch for the head, unless too many would be late for its sake. */
  #choose(at: number, i: number, limits: Limits, blocked: readonly Entry[]): Choice {
    const { free } = limits;
    const level = this.#queue.levels[at] as Level;
    const head = level.entries[i] as Entry;
    const { bucket } = head;
    if (head.alone) {
      return { kind: "plan", plan: this.#planOf([head], head.request.rows, true), blocked };
    }
    const best = bucket.predictor.bestRows(this.#maxBatchRows);
    const wanted = Math.max(head.request.rows, Math.min(this.#maxBatchRows, best));
    const room = largestThatFits(head.request.rows, Math.min(wanted, bucket.rows), limits.fits);
    const careful = new Riders(this, head, limits, room, true);
    const plan = this.#fill(at, i, careful, wanted);
    if (!careful.late || allInTime(this.#queue, level, plan, free, this.#slots.count)) {
      return { kind: "plan", plan, blocked };
    }
    const bold = new Riders(this, head, limits, room, false);
    const larger = this.#fill(at, i, bold, wanted);
    if (!bold.late) return { kind: "plan", plan: larger, blocked };
    const waiting = level.entries.filter((one) => one.bucket === bucket && !one.alone);
    const entries = sacrifice(this, waiting, larger, Math.min(wanted, room), free);
    if (entries.length > 0) return { kind: "sacrifice", entries };
    return { kind: "plan", plan: larger, blocked };
  }

  /** The head and its riders: in order, up to the best size, as deadlines and memory allow. */
  #fill(at: number, i: number, riders: Riders, wanted: number): Plan {
    const { bucket } = riders.head;
    let left = bucket.requests - 1;
    for (let level = at; level < this.#queue.levels.length && left > 0; level++) {
      const entries = this.#queue.levels[level]?.entries ?? [];
      for (let k = level === at ? i + 1 : 0; k < entries.length && left > 0; k++) {
        const entry = entries[k];
        if (entry === undefined) continue;
        if (entry.bucket === bucket && !entry.alone) {
          left--;
          if (!riders.take(entry)) left = 0;
        } else riders.pass(entry, this.#queue.shareMs(entry));
      }
      // A request of lower priority must not make one of higher priority wait.
      if (riders.passedSome) break;
    }
    return this.#planOf(riders.entries, riders.rows, riders.stopped || riders.rows >= wanted);
  }

  #planOf(entries: readonly Entry[], rows: number, full: boolean): Plan {
    const predictor = (entries[0] as Entry).bucket.predictor;
    const meanMs = predictor.meanMs(rows);
    const spreadMs = predictor.spreadMs(meanMs, this.#times.upperFactor) + this.#times.stallMs;
    return { entries, rows, meanMs, spreadMs, full };
  }
}

/** A batch being filled. */
class Riders {
  readonly entries: Entry[];
  rows: number;
  /** A request of the bucket did not get in: nothing behind it may. */
  stopped = false;
  /** Requests of other buckets stand between. */
  passedSome = false;
  readonly #planner: Planner;
  readonly head: Entry;
  /** A request did not get in because somebody would have been late. */
  late = false;
  /** Whether requests of other buckets are kept from being late. */
  readonly #careful: boolean;
  readonly #free: FreeAt;
  /** Whoever comes during a run waits for all of it: under load, runs of more than half of what requests have would
   * make every second batch a small one. */
  readonly #halves: boolean;
  readonly #room: number;
  /** When the head by itself is done: who is late even then is not made late by riders. */
  readonly #soonestMs: number;
  #limitMs: number;
  #passedMs = 0;

  constructor(planner: Planner, head: Entry, limits: Limits, room: number, careful: boolean) {
    const { free, overloaded } = limits;
    this.#careful = careful;
    this.#planner = planner;
    this.head = head;
    this.#free = free;
    this.#room = room;
    this.entries = [head];
    this.rows = head.request.rows;
    this.#limitMs = head.request.deadlineMs;
    this.#halves = overloaded;
    this.#soonestMs = planner.finishMs(head, head.request.rows, free);
  }

  /** Adds a request if rows, memory and deadlines allow. */
  take(entry: Entry): boolean {
    const rows = this.rows + entry.request.rows;
    const until = Math.min(this.#limitMs, entry.request.deadlineMs);
    const late =
      until !== Number.POSITIVE_INFINITY &&
      (this.#planner.finishMs(this.head, rows, this.#free) > until ||
        (this.#halves && !this.#planner.withinHalf(this.head, rows)));
    if (rows > this.#room || late) {
      this.stopped = true;
      this.late = late;
      return false;
    }
    this.#limitMs = until;
    this.entries.push(entry);
    this.rows = rows;
    return true;
  }

  /** Leaves a request of another bucket waiting; the batch must end soon enough for it. */
  pass(entry: Entry, shareMs: number): void {
    this.passedSome = true;
    if (!this.#careful) return;
    const { deadlineMs, rows } = entry.request;
    if (deadlineMs !== Number.POSITIVE_INFINITY) {
      const after = { atMs: this.#passedMs, spreadMs: 0 };
      const latest = deadlineMs - this.#planner.finishMs(entry, rows, after);
      if (latest >= this.#soonestMs) this.#limitMs = Math.min(this.#limitMs, latest);
    }
    this.#passedMs += shareMs;
  }
}

function fitsOn(
  surroundings: Surroundings,
  bucket: string,
  slot: string,
): (rows: number) => MemoryFit {
  return (rows) => surroundings.fits(bucket, rows, slot);
}

/** The most rows of `from … to` that fit, `from` being known to. */
export function largestThatFits(
  from: number,
  to: number,
  fits: (rows: number) => MemoryFit,
): number {
  if (to <= from || fits(to) === "fits") return Math.max(from, to);
  let low = from;
  let high = to;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (fits(middle) === "fits") low = middle;
    else high = middle;
  }
  return low;
}
