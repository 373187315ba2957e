// What is known of how long runs take, of all buckets of one model version: a mean for throughput, an
// upper quantile for deadlines. A bucket that never ran borrows from the one most like it.

import { limits } from "../../base/limits.ts";
import { Profile } from "./profile.ts";
import { Spread } from "./spread.ts";

/** Runs that are early: so few end sooner that the next batch is rarely late. */
const EARLY_QUANTILE = 0.05;
/** Another bucket's times are a guess: room for being wrong by half. */
const BORROWED = 1.5;
/** With few runs the spread is unknown: half of the mean at first, 4 % after a thousand. */
const UNKNOWN_SPREAD = 0.5;
const UNKNOWN_RUNS = 8;

/** Learned run times. */
export class RunTimes {
  /** Least recently used first, so that shapes which clients make up push out one another. */
  readonly #profiles = new Map<string, Profile>();
  readonly #spread = new Spread();
  readonly #quantile: number;
  #upperFactor = 1 + UNKNOWN_SPREAD;
  #earlyFactor = 1;

  constructor(deadlineQuantile: number) {
    this.#quantile = deadlineQuantile;
  }

  /** What is known of a bucket; undefined where it never ran. */
  profile(bucket: string): Profile | undefined {
    return this.#profiles.get(bucket);
  }

  /** Takes in a run of so many rows that took `tookMs` inside the model. */
  record(bucket: string, elementsPerRow: number, rows: number, tookMs: number): void {
    if (!(tookMs >= 0) || !Number.isFinite(tookMs)) return;
    const profile = this.#profiles.get(bucket) ?? new Profile(elementsPerRow);
    this.#profiles.delete(bucket);
    this.#profiles.set(bucket, profile);
    if (this.#profiles.size > limits.batcherBucketsMax) {
      const [oldest] = this.#profiles.keys();
      if (oldest !== undefined) this.#profiles.delete(oldest);
    }
    const ratio = profile.record(rows, tookMs);
    if (ratio === undefined || ratio <= 0) return;
    this.#spread.record(ratio);
    const floor = 1 + UNKNOWN_SPREAD / Math.sqrt(1 + this.#spread.count / UNKNOWN_RUNS);
    this.#upperFactor = Math.max(floor, this.#spread.quantile(this.#quantile));
    this.#earlyFactor = Math.min(1, this.#spread.quantile(EARLY_QUANTILE));
  }

  /** How runs of a bucket are predicted: by its own profile, or by the nearest in elements of a row. */
  predictor(bucket: string, elementsPerRow: number): Predictor {
    const own = this.#profiles.get(bucket);
    if (own !== undefined) return new Predictor(own, 1, 1);
    const near = this.#nearest(elementsPerRow);
    if (near === undefined) return new Predictor(undefined, 1, 1);
    const scale = elementsPerRow / near.elementsPerRow;
    return new Predictor(near, Number.isFinite(scale) && scale > 0 ? scale : 1, BORROWED);
  }

  /** Upper quantile of a run over its mean. */
  get upperFactor(): number {
    return this.#upperFactor;
  }

  /** Lower quantile of a run over its mean. */
  get earlyFactor(): number {
    return this.#earlyFactor;
  }

  #nearest(elementsPerRow: number): Profile | undefined {
    let best: Profile | undefined;
    let least = Number.POSITIVE_INFINITY;
    for (const profile of this.#profiles.values()) {
      const distance = Math.abs(Math.log(profile.elementsPerRow / elementsPerRow));
      if (best === undefined || distance < least) {
        best = profile;
        least = distance;
      }
    }
    return best;
  }
}

/** Predicts runs of one bucket. */
export class Predictor {
  readonly #profile: Profile | undefined;
  /** Equal elements take equal time: rows of another bucket are counted in rows of the known one. */
  readonly #scale: number;
  readonly #doubt: number;

  constructor(profile: Profile | undefined, scale: number, doubt: number) {
    this.#profile = profile;
    this.#scale = scale;
    this.#doubt = doubt;
  }

  /** Expected time. 0 while nothing is known: the first request is the experiment. */
  meanMs(rows: number): number {
    return this.#profile === undefined ? 0 : this.#profile.meanMs(rows * this.#scale);
  }

  /** How much longer than its mean a run may take; `upperFactor` is that of the `RunTimes`. */
  spreadMs(meanMs: number, upperFactor: number): number {
    return meanMs * (upperFactor * this.#doubt - 1);
  }

  /** Rows of a batch of the highest throughput. */
  bestRows(max: number): number {
    const profile = this.#profile;
    if (profile === undefined || this.#scale !== 1) return max;
    return profile.bestRows(max);
  }
}
