// When the execution of a batch was slow: longer than a limit for its bucket that is frozen from stable's first
// batches. Execution alone, because a candidate's own batcher sees less load and so waits differently.

import { Ledger, type SavedLedger, type Stake } from "./ledger.ts";
import type { Arm } from "./types.ts";

/** Stable batches of a bucket from which its limit is made. They are not judged. */
const LEARN = 64;
/** A limit is at least this many medians, so that a few per cent of a process of its own are no event. */
const MEDIANS = 1.25;
/** And at least this quantile. */
const QUANTILE = 0.95;
/**
 * At most one batch of a bucket and arm in this time, milliseconds. A neighbour who takes the processor for a second
 * makes every batch of that second slow: they are nearly one event.
 */
const APART_MS = 200;
const BUCKETS_MAX = 128;

interface Bucket {
  /** Times of the first batches, milliseconds; empty once the limit is made. */
  learnt: number[];
  limitMs: number;
  lastMs: { stable: number; candidate: number };
}

export interface SavedRuns {
  readonly ledger: SavedLedger;
  readonly buckets: readonly (readonly [
    name: string,
    limitMs: number,
    stableMs: number,
    candidateMs: number,
    learnt: readonly number[],
  ])[];
}

/** A batch that is judged. */
export interface JudgedRun {
  readonly stake: Stake;
  readonly slow: boolean;
}

/** Judges the execution time of batches. */
export class Runs {
  readonly #buckets = new Map<string, Bucket>();
  readonly #ledger: Ledger;

  constructor(saved: SavedRuns = { ledger: [], buckets: [] }) {
    this.#ledger = new Ledger(saved.ledger);
    for (const [name, limitMs, stable, candidate, learnt] of saved.buckets) {
      this.#buckets.set(name, { learnt: [...learnt], limitMs, lastMs: { stable, candidate } });
    }
  }

  saved(): SavedRuns {
    const buckets = [...this.#buckets].map(
      ([name, { learnt, limitMs, lastMs }]) =>
        [name, limitMs, lastMs.stable, lastMs.candidate, learnt] as const,
    );
    return { ledger: this.#ledger.saved(), buckets };
  }

  /** Undefined where the batch is not judged: too early, or too close to the one before. */
  run(
    name: string,
    arm: Arm,
    atMs: number,
    executeMs: number,
    most: number,
  ): JudgedRun | undefined {
    let bucket = this.#buckets.get(name);
    if (bucket === undefined) {
      if (this.#buckets.size >= BUCKETS_MAX) return undefined;
      bucket = { learnt: [], limitMs: 0, lastMs: { stable: 0, candidate: 0 } };
      this.#buckets.set(name, bucket);
    }
    if (bucket.limitMs === 0) {
      if (arm === "stable") learn(bucket, executeMs);
      return undefined;
    }
    // Also where the clock was set back.
    if (Math.abs(atMs - bucket.lastMs[arm]) < APART_MS) return undefined;
    bucket.lastMs[arm] = atMs;
    const stake = this.#ledger.stake(name, arm, most);
    return { stake, slow: executeMs > bucket.limitMs };
  }
}

function learn(bucket: Bucket, executeMs: number): void {
  bucket.learnt.push(executeMs);
  if (bucket.learnt.length < LEARN) return;
  const sorted = bucket.learnt.toSorted((a, b) => a - b);
  const at = (quantile: number): number => sorted[Math.ceil(quantile * LEARN) - 1] ?? 0;
  bucket.limitMs = Math.max(MEDIANS * at(0.5), at(QUANTILE), Number.MIN_VALUE);
  bucket.learnt = [];
}
