// The processes that run batches: what each runs now, what has been handed to it already, and when it
// is expected to be free.

import { present } from "../../base/assert.ts";
import { Spread } from "./spread.ts";
import type { BatchRequest } from "./types.ts";

/** A batch with a process. */
export interface Running {
  readonly batch: number;
  readonly requests: readonly BatchRequest[];
  readonly bucket: string;
  readonly elementsPerRow: number;
  readonly rows: number;
  readonly handedMs: number;
  /** When it began, or is expected to. */
  beginMs: number;
  /** The process was idle when it came. */
  readonly first: boolean;
  readonly meanMs: number;
  readonly spreadMs: number;
}

/** When a process can begin another batch, and how much later that may turn out. */
export interface FreeAt {
  readonly atMs: number;
  readonly spreadMs: number;
}

/** One process. */
export interface Slot {
  readonly id: string;
  /** At most two: one that runs, and one that begins when it ends. */
  readonly batches: Running[];
}

/** One runs, one is in the process's hands when that one ends. */
const DEPTH = 2;
/** The way to a process and back follows its newest runs as run times do. */
const HOP_SHARE = 1 / 32;
/** A way that takes longer than this is a pause of the machine. */
const HOP_MAX_MS = 50;
/** News that are late by this are counted, up to a second. */
const LATE_LEAST_MS = 0.5;
const LATE_MOST_MS = 1000;
const USUAL_QUANTILE = 0.9;

/** All processes of one model version. */
export class Slots {
  #slots: Slot[] = [];
  readonly #byBatch = new Map<number, Slot>();
  /** Requests that run and whose clients still wait. */
  readonly #requests = new Set<number>();
  #hopMs = 0;
  #gapMs = 0;
  readonly #late = new Spread(LATE_LEAST_MS, LATE_MOST_MS);
  readonly #quantile: number;
  #newsMs = 0;
  #usualNewsMs = 0;

  /** @param quantile Which quantile of how late news come counts. */
  constructor(quantile: number) {
    this.#quantile = quantile;
  }

  /** Batches that were handed over and have not ended. */
  get running(): number {
    return this.#byBatch.size;
  }

  get count(): number {
    return this.#slots.length;
  }

  /** Milliseconds between a run and the news of it: frames and threads. */
  get hopMs(): number {
    return this.#hopMs;
  }

  /** What a batch takes of the process's time beside its run: reading, writing, waiting for a server that is late. */
  get gapMs(): number {
    return Math.max(0, this.#gapMs);
  }

  /** How late the news of an end come to a server that has its hands full: an upper quantile. */
  get newsMs(): number {
    return this.#newsMs;
  }

  /** How late they often come. */
  get usualNewsMs(): number {
    return this.#usualNewsMs;
  }

  /** The processes that there are now; those that stay keep their batches. */
  set(ids: readonly string[]): void {
    const known = new Map(this.#slots.map((slot) => [slot.id, slot]));
    this.#slots = ids.map((id) => known.get(id) ?? { id, batches: [] });
    for (const id of ids) known.delete(id);
    for (const lost of known.values()) for (const running of lost.batches) this.#drop(running);
  }

  start(slot: Slot, running: Running): void {
    slot.batches.push(running);
    this.#byBatch.set(running.batch, slot);
    for (const request of running.requests) this.#requests.add(request.id);
  }

  /** Takes a batch back that has ended; undefined for one of a process that is gone. */
  end(batch: number, nowMs: number, tookMs: number | undefined): Running | undefined {
    const slot = this.#byBatch.get(batch);
    if (slot === undefined) return undefined;
    const at = slot.batches.findIndex((one) => one.batch === batch);
    const running = present(slot.batches[at], "a batch is with the process it was handed to");
    slot.batches.splice(at, 1);
    this.#drop(running);
    if (tookMs !== undefined) this.#learn(running, nowMs - running.beginMs, tookMs);
    const next = slot.batches[0];
    if (next !== undefined) next.beginMs = nowMs;
    return running;
  }

  /** A client of a running request went away. */
  leave(id: number): void {
    this.#requests.delete(id);
  }

  has(id: number): boolean {
    return this.#requests.has(id);
  }

  /** When a process could begin another batch, its runs taking `factor` of what is expected. */
  freeAt(slot: Slot, nowMs: number, factor = 1): FreeAt {
    const [first, second] = slot.batches;
    if (first === undefined) return { atMs: nowMs, spreadMs: 0 };
    const hop = first.first ? this.#hopMs : 0;
    const end = Math.max(nowMs, first.beginMs + first.meanMs * factor + hop);
    if (second === undefined) return { atMs: end, spreadMs: first.spreadMs };
    const spreadMs = Math.hypot(first.spreadMs, second.spreadMs);
    return { atMs: end + second.meanMs * factor, spreadMs };
  }

  /** When any process could begin another batch; now if there is none, since nothing is known then. */
  soonest(nowMs: number): FreeAt {
    let best: FreeAt | undefined;
    for (const slot of this.#slots) {
      const free = this.freeAt(slot, nowMs);
      if (best === undefined || free.atMs < best.atMs) best = free;
    }
    return best ?? { atMs: nowMs, spreadMs: 0 };
  }

  /** The process with room that is free first. */
  open(nowMs: number): Slot | undefined {
    let best: Slot | undefined;
    let bestMs = Number.POSITIVE_INFINITY;
    for (const slot of this.#slots) {
      if (slot.batches.length >= DEPTH) continue;
      const { atMs } = this.freeAt(slot, nowMs);
      if (atMs < bestMs) [best, bestMs] = [slot, atMs];
    }
    return best;
  }

  #drop(running: Running): void {
    this.#byBatch.delete(running.batch);
    for (const request of running.requests) this.#requests.delete(request.id);
  }

  /** From when a batch could begin to the news of its end, of which so much was inside the model. */
  #learn({ first }: Running, cycleMs: number, tookMs: number): void {
    const outsideMs = Math.min(HOP_MAX_MS, Math.max(-HOP_MAX_MS, cycleMs - tookMs));
    const late = cycleMs - tookMs - (first ? this.#hopMs : this.gapMs);
    // Also what is below 0: news that are late make the next ones come early, and it is the mean that counts.
    this.#gapMs += (outsideMs - this.#gapMs) * HOP_SHARE;
    this.#late.record(late);
    this.#newsMs = this.#late.quantile(this.#quantile);
    this.#usualNewsMs = this.#late.quantile(USUAL_QUANTILE);
    if (first) this.#hopMs += (Math.max(0, outsideMs) - this.#hopMs) * HOP_SHARE;
  }
}
