// What waits, in the order in which it is to be served: by priority, then by deadline, then as it came.
// Keeps how long each bucket's waiting rows will take, so that a backlog is known without a walk.

import { assert } from "../../base/assert.ts";
import type { Predictor, RunTimes } from "./run-times.ts";
import type { BatchRequest } from "./types.ts";

/** The requests of one bucket that wait. */
export interface Bucket {
  readonly key: string;
  predictor: Predictor;
  /** Rows of its requests that may share a batch, and how many requests those are. */
  rows: number;
  requests: number;
  /** Expected time of these rows in batches of the best size. */
  workMs: number;
  /** Expected time of one batch of the best size. */
  batchMs: number;
  /** Requests that run alone; they have work of their own. */
  alone: number;
}

/** A request that waits. */
export interface Entry {
  readonly request: BatchRequest;
  readonly bucket: Bucket;
  /** Runs by itself: not batchable, or larger than a batch. */
  readonly alone: boolean;
  /** Expected time of its run by itself when it came; 0 where it may share a batch. */
  readonly aloneMs: number;
  /** When memory was first found held by others; undefined: never. */
  blockedSinceMs: number | undefined;
  /** Batches that went ahead of it because of that. */
  passed: number;
}

/** All requests of one priority, by deadline and then as they came. */
export interface Level {
  readonly priority: number;
  readonly entries: Entry[];
}

/**
 * Work is reckoned in batches of the best size. Where deadlines or memory keep batches smaller it takes
 * longer, by a factor that is learned from the newest batches.
 */
const STRAIN_SHARE = 1 / 32;
const STRAIN_MAX = 4;

/** A sorted array: the queue is bounded, most requests go to its end, and walks of it are quick. */
export class WaitingQueue {
  readonly levels: Level[] = [];
  readonly #byId = new Map<number, Entry>();
  readonly #buckets = new Map<string, Bucket>();
  readonly #times: RunTimes;
  readonly #maxBatchRows: number;
  #rows = 0;
  #bytes = 0;
  #workMs = 0;
  #roundMs = 0;
  #spentMs = 0;
  #doneMs = 0;
  #strain = 1;

  constructor(times: RunTimes, maxBatchRows: number) {
    this.#times = times;
    this.#maxBatchRows = maxBatchRows;
  }

  get size(): number {
    return this.#byId.size;
  }

  get rows(): number {
    return this.#rows;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Expected time of one batch of each bucket that waits. */
  get roundMs(): number {
    return this.#roundMs;
  }

  /** Expected time of all that waits, on one process. */
  get workMs(): number {
    return this.#workMs * this.#strain;
  }

  /** How much longer work takes than in batches of the best size. */
  get strain(): number {
    return this.#strain;
  }

  /** Takes a batch out; its expected time against the work that it did tells how well batches fill. */
  start(entries: readonly Entry[], meanMs: number): void {
    const before = this.#workMs;
    this.remove(entries);
    this.#spentMs += (meanMs - this.#spentMs) * STRAIN_SHARE;
    this.#doneMs += (before - this.#workMs - this.#doneMs) * STRAIN_SHARE;
    if (this.#doneMs <= 0) return;
    this.#strain = Math.min(STRAIN_MAX, Math.max(1, this.#spentMs / this.#doneMs));
  }

  get(id: number): Entry | undefined {
    return this.#byId.get(id);
  }

  /** The bucket of a request: the one that waits, or a new one that `add` will keep. */
  bucketOf(request: BatchRequest): Bucket {
    const waiting = this.#buckets.get(request.bucket);
    if (waiting !== undefined) return waiting;
    const predictor = this.#times.predictor(request.bucket, request.elementsPerRow);
    return {
      key: request.bucket,
      predictor,
      rows: 0,
      requests: 0,
      workMs: 0,
      batchMs: 0,
      alone: 0,
    };
  }

  runsAlone(request: BatchRequest): boolean {
    return !request.batchable || request.rows > this.#maxBatchRows;
  }

  /** Expected time of so many rows of a bucket in batches of the best size. */
  batchedMs(bucket: Bucket, rows: number): number {
    if (rows === 0) return 0;
    const { predictor } = bucket;
    const best = Math.max(1, predictor.bestRows(this.#maxBatchRows));
    const full = Math.floor(rows / best);
    const rest = rows - full * best;
    return (
      (full === 0 ? 0 : full * predictor.meanMs(best)) + (rest === 0 ? 0 : predictor.meanMs(rest))
    );
  }

  /** A waiting request's share of its bucket's work. */
  shareMs(entry: Entry): number {
    if (entry.alone) return entry.aloneMs * this.#strain;
    return (this.#strain * entry.request.rows * entry.bucket.workMs) / entry.bucket.rows;
  }

  /** Where a deadline that comes now would stand in its level: behind all that are not later. */
  place(level: Level, deadlineMs: number): number {
    let low = 0;
    let high = level.entries.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const entry = level.entries[middle];
      if (entry !== undefined && entry.request.deadlineMs <= deadlineMs) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** The level of a priority, made if there is none. */
  level(priority: number): Level {
    let at = 0;
    while (at < this.levels.length && (this.levels[at]?.priority ?? 0) < priority) at++;
    const found = this.levels[at];
    if (found?.priority === priority) return found;
    const made: Level = { priority, entries: [] };
    this.levels.splice(at, 0, made);
    return made;
  }

  add(request: BatchRequest, bucket: Bucket): void {
    assert(!this.#byId.has(request.id), `request ${request.id} waits already`);
    const alone = this.runsAlone(request);
    const aloneMs = alone ? bucket.predictor.meanMs(request.rows) : 0;
    const entry: Entry = { request, bucket, alone, aloneMs, blockedSinceMs: undefined, passed: 0 };
    const level = this.level(request.priority);
    const place = this.place(level, request.deadlineMs);
    if (place === level.entries.length) level.entries.push(entry);
    else level.entries.splice(place, 0, entry);
    this.#byId.set(request.id, entry);
    this.#buckets.set(bucket.key, bucket);
    this.#count(entry, 1);
  }

  /** Takes requests out, of one level or of several. */
  remove(entries: readonly Entry[]): void {
    const [only] = entries;
    if (entries.length === 1 && only !== undefined) this.#removeOne(only);
    else this.#removeAll(new Set(entries));
    for (const entry of entries) {
      this.#byId.delete(entry.request.id);
      this.#count(entry, -1);
    }
    // Sums of many differences drift; an empty queue has no work.
    if (this.#byId.size === 0) [this.#workMs, this.#roundMs] = [0, 0];
  }

  /** Reckons the work of a bucket anew, after its run times changed. */
  refresh(key: string, elementsPerRow: number): void {
    const bucket = this.#buckets.get(key);
    if (bucket === undefined) return;
    bucket.predictor = this.#times.predictor(key, elementsPerRow);
    this.#setWork(bucket);
  }

  /** Lets every waiting bucket look for its predictor again: there is a new one to borrow from. */
  refreshAll(): void {
    for (const level of this.levels) {
      for (const { request } of level.entries) this.refresh(request.bucket, request.elementsPerRow);
    }
  }

  #removeOne(entry: Entry): void {
    const level = this.level(entry.request.priority);
    let at = this.place(level, entry.request.deadlineMs) - 1;
    while (at >= 0 && level.entries[at] !== entry) at--;
    assert(at >= 0, `request ${entry.request.id} is not where it should wait`);
    if (at === 0) level.entries.shift();
    else level.entries.splice(at, 1);
    if (level.entries.length === 0) this.#dropLevel(level);
  }

  #removeAll(gone: ReadonlySet<Entry>): void {
    let left = gone.size;
    for (const level of [...this.levels]) {
      if (left === 0) return;
      const { entries } = level;
      let kept = 0;
      let read = 0;
      for (; read < entries.length && left > 0; read++) {
        const entry = entries[read];
        if (entry === undefined) continue;
        if (gone.has(entry)) left--;
        else entries[kept++] = entry;
      }
      entries.splice(kept, read - kept);
      if (entries.length === 0) this.#dropLevel(level);
    }
    assert(left === 0, "a batch has requests that do not wait");
  }

  #dropLevel(level: Level): void {
    this.levels.splice(this.levels.indexOf(level), 1);
  }

  #count(entry: Entry, sign: 1 | -1): void {
    const { request, bucket } = entry;
    this.#rows += sign * request.rows;
    this.#bytes += sign * request.bytes;
    if (entry.alone) {
      bucket.alone += sign;
      this.#workMs += sign * entry.aloneMs;
    } else {
      bucket.rows += sign * request.rows;
      bucket.requests += sign;
      this.#setWork(bucket);
    }
    if (bucket.requests === 0 && bucket.alone === 0) this.#buckets.delete(bucket.key);
  }

  #setWork(bucket: Bucket): void {
    const work = this.batchedMs(bucket, bucket.rows);
    this.#workMs = Math.max(0, this.#workMs + work - bucket.workMs);
    bucket.workMs = work;
    const { predictor } = bucket;
    const best = predictor.bestRows(this.#maxBatchRows);
    const batch = bucket.requests === 0 ? 0 : predictor.meanMs(best);
    this.#roundMs = Math.max(0, this.#roundMs + batch - bucket.batchMs);
    bucket.batchMs = batch;
  }
}
