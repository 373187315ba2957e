// Which batches may be compared. The arm of a batch is known before its outcome is, but not by chance alone: a
// candidate's own batcher sees less load. So a candidate batch bets only what stable batches of the same bucket
// have put up before it: K of them for one of its own.
//
// Why that is exact: let every batch be bad with chance p whatever came before. A stable batch multiplies the
// e-value by 1 - b·bad, a candidate one by 1 + a·bad. Divided by the product of all (1 - b·p)(1 + a·p) that is a
// martingale, for any order and any timing; and the product is at most 1 while the sum of all a stays within the
// sum of all b, for log(1 + ap) ≤ ap and log(1 - bp) ≤ -bp. No share has to be known, or to hold still.

import type { Arm } from "./types.ts";

/** At which share an event of this batch counts; 0: it does not. */
export interface Stake {
  /** Against "not worse". */
  readonly up: number;
  /** Against "worse than what is to be ruled out": the same with arms exchanged. */
  readonly down: number;
}

interface Bucket {
  /** Stable batches for each of the candidate. */
  k: number;
  /** Stable requests for each of the candidate, when K was chosen. */
  most: number;
  /** Stable batches that no candidate batch has used yet, and places that candidate batches left for stable ones. */
  unspent: number;
  places: number;
  /** Batches since K was chosen; decides the next K. */
  candidate: number;
  stable: number;
}

export type SavedLedger = readonly (readonly [name: string, ...numbers: number[]])[];

/** Of a batch that is not compared. */
export const NO_STAKE: Stake = { up: 0, down: 0 };
const BUCKETS_MAX = 256;
/** Values of K where batches do not come as requests do: few, for unspent batches are lost when it changes. */
const STEPS = [0.25, 0.5, 1, 2, 3, 4, 6, 9, 14, 19, 29, 49, 99, 199];
/** K is kept while the ratio that is seen is between these many times of it. */
const LEAST = 0.7;
const MOST = 1.6;
/**
 * So many batches of the other arm may still use what was put up: enough to even out who comes when, and no more, for
 * what was true then need not be now.
 */
const KEPT = 12;
/** Batches of the candidate, in expectation, between two choices of K: fewer would choose by chance. */
const REVIEW = 50;

/** Keeps the account of each bucket. */
export class Ledger {
  readonly #buckets = new Map<string, Bucket>();

  constructor(saved: SavedLedger = []) {
    for (const [
      name,
      k = 1,
      most = 1,
      unspent = 0,
      places = 0,
      candidate = 0,
      stable = 0,
    ] of saved) {
      this.#buckets.set(name, { k, most, unspent, places, candidate, stable });
    }
  }

  saved(): SavedLedger {
    return [...this.#buckets].map(([name, { k, most, unspent, places, candidate, stable }]) => [
      name,
      k,
      most,
      unspent,
      places,
      candidate,
      stable,
    ]);
  }

  /**
   * Takes a batch into the account, before its outcome is looked at. `most`: stable requests for each of the
   * candidate. K is never above it: a candidate's batches are seldom the larger ones, clients that keep their version
   * come in the proportion of the share, and when the share grows, K falls at once.
   */
  stake(name: string, arm: Arm, most: number): Stake {
    let bucket = this.#buckets.get(name);
    if (bucket === undefined) {
      if (this.#buckets.size >= BUCKETS_MAX) return NO_STAKE;
      bucket = { k: most, most, unspent: 0, places: 0, candidate: 0, stable: 0 };
      this.#buckets.set(name, bucket);
    }
    review(bucket, most);
    const { k } = bucket;
    const share = 1 / (1 + k);
    // What one arm puts up is used by the other, or kept for it, or not put up at all.
    if (arm === "stable") {
      bucket.stable++;
      const up = bucket.unspent + 1 <= KEPT * k;
      const down = bucket.places >= 1;
      if (up) bucket.unspent++;
      if (down) bucket.places--;
      return { up: up ? share : 0, down: down ? share : 0 };
    }
    bucket.candidate++;
    const up = bucket.unspent >= k;
    const down = bucket.places + k <= KEPT * k;
    if (up) bucket.unspent -= k;
    if (down) bucket.places += k;
    return { up: up ? share : 0, down: down ? share : 0 };
  }
}

/** Chooses K anew from the share, or from the batches since the last choice, none of which is judged by it. */
function review(bucket: Bucket, most: number): void {
  if (bucket.most !== most) {
    choose(bucket, most);
    bucket.most = most;
    bucket.candidate = 0;
    bucket.stable = 0;
    return;
  }
  const { k, candidate, stable } = bucket;
  if (candidate + stable < REVIEW * (k + 1)) return;
  const seen = (stable + 0.5) / (candidate + 0.5);
  if (seen < LEAST * k) choose(bucket, STEPS.findLast((step) => step <= seen) ?? 0.25);
  else if (seen > MOST * k) {
    const step = STEPS.findLast((one) => one <= seen) ?? 0.25;
    choose(bucket, Math.min(step, most));
  }
  bucket.candidate /= 2;
  bucket.stable /= 2;
}

function choose(bucket: Bucket, k: number): void {
  if (k === bucket.k) return;
  bucket.k = k;
  bucket.unspent = 0;
  bucket.places = 0;
}
