// What is known of how long runs take, of all buckets of one model version: a mean for throughput, an
// upper quantile for deadlines. A bucket that never ran borrows from the one most like it.

import { limits } from "../../base/limits.ts";
import { Profile } from "./profile.ts";
import { Spread } from "./spread.ts";

/**
 * Some of what makes runs longer does so in proportion, such as somebody else on the same core. Some does not: who is
 * stopped for 100 ms in a run of 1 ms will not be stopped for 3 s in one of 30. So long runs are judged by a quantile
 * that is no stall, and what is beyond it counts in milliseconds.
 */
const PROPORTIONAL_QUANTILE = 0.95;
/** Stalls from a tenth of a millisecond to 3 s. */
const STALL_LEAST_MS = 0.1;
const STALL_MOST_MS = 3000;
/** Runs that are early: so few end sooner that the next batch is rarely late. */
const EARLY_QUANTILE = 0.05;
/** Another bucket's times are a guess: room for being wrong by half. */
const BORROWED = 1.5;
/** With few runs the spread is unknown: half of the mean at first, 4 % after a thousand. */
const UNKNOWN_SPREAD = 0.5;
const UNKNOWN_RUNS = 8;
/**
 * Of what is expected, so much less with each request that is refused for its sake alone, the process being idle: what
 * never runs is never measured again, and one bad minute of the machine would refuse everybody for ever. Of those who
 * are let in to try, fewer are late than the half per cent that may be.
 */
const DISCOUNT = 1 / 512;
/** Who was let in to try and took longer than was expected then: so many times that is expected from now on. */
const SHY = 2;
/** Where few ask, time counts instead: half of what is expected in so long. Milliseconds. */
const DISCOUNT_HALF_MS = 5000;

/** Learned run times. */
export class RunTimes {
  /** Least recently used first, so that shapes which clients make up push out one another. */
  readonly #profiles = new Map<string, Profile>();
  readonly #spread = new Spread();
  readonly #stalls = new Spread(STALL_LEAST_MS, STALL_MOST_MS);
  readonly #quantile: number;
  #upperFactor = 1 + UNKNOWN_SPREAD;
  #stallMs = 0;
  #earlyFactor = 1;
  #trust = 1;
  /** When the trust was lowered last. */
  #loweredMs = Number.NEGATIVE_INFINITY;

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
    const expected = profile.meanMs(rows);
    if (tookMs > this.#trust * expected) this.#trust = Math.min(1, (SHY * tookMs) / expected);
    else if (this.#trust < 1) {
      profile.rescale(tookMs / expected);
      this.#trust = 1;
    }
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
    this.#upperFactor = Math.max(floor, this.#spread.quantile(PROPORTIONAL_QUANTILE));
    this.#stalls.record(tookMs - expected * this.#upperFactor);
    this.#stallMs = this.#stalls.quantile(this.#quantile);
    this.#earlyFactor = Math.min(1, this.#spread.quantile(EARLY_QUANTILE));
  }

  /** How much of what is expected counts: less than 1 after requests were refused though nothing ran. */
  get trust(): number {
    return this.#trust;
  }

  /**
   * A request of which the answer is due in `leftMs` was refused for what its own run is expected to take, and
   * nothing else. One that no run was ever fast enough for teaches nothing.
   */
  refusedAlone(bucket: string, leftMs: number, nowMs: number): void {
    if (leftMs < (this.#profiles.get(bucket)?.leastMs ?? 0)) return;
    const sinceMs = Math.min(DISCOUNT_HALF_MS, nowMs - this.#loweredMs);
    const byTime = this.#trust === 1 ? 1 : 2 ** (-sinceMs / DISCOUNT_HALF_MS);
    this.#trust *= Math.min(1 - DISCOUNT, byTime);
    this.#loweredMs = nowMs;
  }

  /** How runs of a bucket are predicted: by its own profile, or by the nearest in elements of a row. */
  predictor(bucket: string, elementsPerRow: number): Predictor {
    const own = this.#profiles.get(bucket);
    if (own !== undefined) return new Predictor(this, { profile: own, scale: 1, doubt: 1 });
    const near = this.#nearest(elementsPerRow);
    if (near === undefined) return new Predictor(this, { profile: undefined, scale: 1, doubt: 1 });
    const scale = elementsPerRow / near.elementsPerRow;
    const usable = Number.isFinite(scale) && scale > 0 ? scale : 1;
    return new Predictor(this, { profile: near, scale: usable, doubt: BORROWED });
  }

  /** Upper quantile of a run over its mean, as far as runs vary in proportion. */
  get upperFactor(): number {
    return this.#upperFactor;
  }

  /** How much longer than that, of upper quantile: stalls. */
  get stallMs(): number {
    return this.#stallMs;
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
  readonly #times: RunTimes;
  readonly #profile: Profile | undefined;
  /** Equal elements take equal time: rows of another bucket are counted in rows of the known one. */
  readonly #scale: number;
  readonly #doubt: number;

  constructor(
    times: RunTimes,
    known: {
      readonly profile: Profile | undefined;
      readonly scale: number;
      readonly doubt: number;
    },
  ) {
    this.#times = times;
    this.#profile = known.profile;
    this.#scale = known.scale;
    this.#doubt = known.doubt;
  }

  /** Expected time. 0 while nothing is known: the first request is the experiment. */
  meanMs(rows: number): number {
    if (this.#profile === undefined) return 0;
    return this.#times.trust * this.#profile.meanMs(rows * this.#scale);
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
