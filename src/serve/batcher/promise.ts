// Whether a request that comes can be answered in time, seen from the backlog, and without making those
// late that were promised an answer before. What is accepted here is rarely refused later.

import type { Demand } from "./demand.ts";
import { doubtMs, withinHalf } from "./doubt.ts";
import type { Bucket, Entry, Level, WaitingQueue } from "./queue.ts";
import type { RunTimes } from "./run-times.ts";
import type { Slots } from "./slots.ts";
import type { BatchRequest } from "./types.ts";

/** What a request that comes has to expect. */
export interface Promised {
  /** When it is likely to be answered, at the latest. */
  readonly finishMs: number;
  /** Others that were accepted before it would become late. */
  readonly delaysOthers: boolean;
}

/** What stands before a request and after it. */
interface Place {
  /** Work before it and behind it in its priority, on one process. */
  readonly aheadMs: number;
  readonly behindMs: number;
  /** Rows of its bucket before it. */
  readonly rowsAhead: number;
  /** The least time that anyone behind it has to spare. */
  readonly spareMs: number;
}

/** What promises are made from. */
interface Known {
  readonly queue: WaitingQueue;
  readonly times: RunTimes;
  readonly slots: Slots;
  readonly demand: Demand;
}

/** Of the batches of other buckets that go first, so much is filled by requests that come later. */
const FILLED_LATER = 0.5;
/** A priority for which higher ones leave less than this of the processes is not served. */
const LEFT_MIN = 0.02;

/** Looks ahead for requests that come. */
export class Promises {
  readonly #known: Known;
  readonly #maxBatchRows: number;

  constructor(known: Known, maxBatchRows: number) {
    this.#known = known;
    this.#maxBatchRows = maxBatchRows;
  }

  /** What a request has to expect. */
  of(request: BatchRequest, bucket: Bucket, nowMs: number): Promised {
    const { queue, times, slots, demand } = this.#known;
    const processes = Math.max(1, slots.count);
    const free = slots.soonest(nowMs);
    const place = this.#place(request, bucket, free.atMs, processes);
    // Higher priorities that come in the meantime go first.
    const left = processes - demand.above(request.priority, nowMs);
    const speed = Math.max(LEFT_MIN, left);
    const waitMs = free.atMs - nowMs + place.aheadMs / speed;
    const arriving = (times.profile(bucket.key)?.arrivals.at(nowMs) ?? 0) * waitMs;
    const overloaded = demand.total(nowMs) > processes;
    const own = this.#ownRun(request, bucket, place.rowsAhead, arriving, overloaded);
    const beforeMs = Math.max(0, place.aheadMs + own.correctionMs);
    // Batches of other buckets that begin before it take in later requests and get longer by those.
    const othersMs = queue.roundMs - bucket.batchMs;
    const riding = Math.min(FILLED_LATER * othersMs, place.behindMs + demand.total(nowMs) * waitMs);
    const aheadMs = (beforeMs + riding) / speed;
    const factor = times.upperFactor;
    const runSpread = bucket.predictor.spreadMs(own.runMs, factor);
    // Batches before it vary one by one, so their sum varies less than they do together.
    const oneMs = Math.min(aheadMs, own.runMs);
    const batches = oneMs > 0 ? aheadMs / oneMs : 0;
    const aheadSpread = ((factor - 1) * oneMs + times.stallMs) * Math.sqrt(batches);
    const spreads = [free.spreadMs, runSpread + times.stallMs, aheadSpread, slots.newsMs];
    const meanMs = free.atMs + aheadMs + slots.hopMs + own.runMs;
    const finishMs = meanMs + doubtMs(request, "comes", ...spreads);
    return { finishMs, delaysOthers: place.spareMs < own.costMs / processes };
  }

  /** Walks from the end of the order to the request's place: most requests belong at the end. */
  #place(request: BatchRequest, bucket: Bucket, freeMs: number, processes: number): Place {
    const { queue } = this.#known;
    let aheadMs = queue.workMs;
    let rowsAhead = bucket.rows;
    let behindMs = 0;
    let spareMs = Number.POSITIVE_INFINITY;
    const lost = -this.#batchMs(bucket);
    for (let at = queue.levels.length - 1; at >= 0; at--) {
      const level = queue.levels[at] as Level;
      if (level.priority < request.priority) break;
      // Lower priorities have no promise against higher ones.
      const same = level.priority === request.priority;
      const until = same ? queue.place(level, request.deadlineMs) : 0;
      for (let i = level.entries.length - 1; i >= until; i--) {
        const entry = level.entries[i] as Entry;
        if (same) {
          const spare = entry.request.deadlineMs - freeMs - aheadMs / processes;
          // Those who are lost anyway keep nobody away.
          if (spare >= lost) spareMs = Math.min(spareMs, Math.max(0, spare));
        }
        const share = queue.shareMs(entry);
        aheadMs -= share;
        if (same) behindMs += share;
        if (entry.bucket === bucket && !entry.alone) rowsAhead -= entry.request.rows;
      }
    }
    return { aheadMs: Math.max(0, aheadMs), behindMs, rowsAhead, spareMs };
  }

  #batchMs(bucket: Bucket): number {
    return bucket.predictor.meanMs(this.#bestOf(bucket));
  }

  /**
   * The run that the request is likely to be part of. Under load a batch fills while it waits: who is
   * promised a run alone and then forces one, halves what the model can do. `correctionMs` makes of the
   * work ahead the time until that run, `costMs` is what the request adds to the work of the model.
   */
  #ownRun(
    request: BatchRequest,
    bucket: Bucket,
    rowsAhead: number,
    arriving: number,
    overloaded: boolean,
  ): { runMs: number; correctionMs: number; costMs: number } {
    const { queue } = this.#known;
    const { predictor } = bucket;
    if (queue.runsAlone(request)) {
      const runMs = predictor.meanMs(request.rows);
      return { runMs, correctionMs: 0, costMs: runMs };
    }
    const size = overloaded ? this.#sizeFor(request, bucket) : this.#bestOf(bucket);
    const full = Math.floor(rowsAhead / size);
    const least = rowsAhead - full * size + request.rows;
    const rows = Math.max(request.rows, Math.min(size, least + Math.floor(arriving)));
    const runMs = predictor.meanMs(rows);
    const shareMs = bucket.rows === 0 ? 0 : (rowsAhead * bucket.workMs) / bucket.rows;
    const correctionMs = (full === 0 ? 0 : full * predictor.meanMs(size)) - shareMs;
    const addedMs = queue.batchedMs(bucket, bucket.rows + request.rows) - bucket.workMs;
    // The other rows of its run would have been done in batches as they are now.
    const rowMs = (queue.strain * this.#batchMs(bucket)) / this.#bestOf(bucket);
    const costMs = Math.max(addedMs, runMs - (rows - request.rows) * rowMs);
    return { runMs, correctionMs, costMs };
  }

  #bestOf(bucket: Bucket): number {
    return Math.max(1, bucket.predictor.bestRows(this.#maxBatchRows));
  }

  /** Rows of a batch whose run takes at most half of the time that a request has. */
  #sizeFor(request: BatchRequest, bucket: Bucket): number {
    const { predictor } = bucket;
    const factor = this.#known.times.upperFactor;
    const within = (rows: number): boolean => {
      const mean = predictor.meanMs(rows);
      return withinHalf(request, mean, predictor.spreadMs(mean, factor));
    };
    let high = this.#bestOf(bucket);
    if (within(high)) return high;
    let low = Math.min(high, request.rows);
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (within(middle)) low = middle;
      else high = middle;
    }
    return low;
  }
}
