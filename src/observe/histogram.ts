// Histograms with exponential buckets: a fixed relative error at any scale, cheap to record, and the
// sum of two is the histogram of both. Bucket bounds are those of Prometheus native histograms
// (prometheus.io, "Native histograms", schema 4: sixteen buckets for each doubling).

/** Buckets for each power of two. */
const PER_DOUBLING = 16;
/** Smallest and largest value told apart, in the unit of the caller (milliseconds): 1 µs to 12 days. */
const EXPONENT_MIN = -10;
const EXPONENT_MAX = 30;
const BUCKETS = (EXPONENT_MAX - EXPONENT_MIN) * PER_DOUBLING + 2;

/** A quantile with what it rests on; `value` is undefined where too few events are known. */
export interface Quantile {
  readonly value: number | undefined;
  readonly n: number;
}

/**
 * Events that a quantile needs: ten beyond it, so that one event more or less does not move it. The
 * P99 of 40 requests is unknown.
 */
export function eventsNeeded(p: number): number {
  return Math.ceil(10 / Math.min(p, 1 - p));
}

/** Counts of values by exponential bucket. Relative error of a quantile at most 2.2 %. */
export class Histogram {
  readonly #counts: Float64Array = new Float64Array(BUCKETS);
  #count = 0;
  #sum = 0;

  get count(): number {
    return this.#count;
  }

  get sum(): number {
    return this.#sum;
  }

  /** Records a value, negative ones as 0. */
  record(value: number): void {
    const bucket = bucketOf(value);
    this.#counts[bucket] = (this.#counts[bucket] ?? 0) + 1;
    this.#count++;
    this.#sum += Math.max(0, value);
  }

  /** Adds the events of another histogram. */
  add(other: Histogram): void {
    for (let i = 0; i < BUCKETS; i++) {
      this.#counts[i] = (this.#counts[i] ?? 0) + (other.#counts[i] ?? 0);
    }
    this.#count += other.#count;
    this.#sum += other.#sum;
  }

  clear(): void {
    this.#counts.fill(0);
    this.#count = 0;
    this.#sum = 0;
  }

  /** The value below which a share `p` of the events lies. */
  quantile(p: number): Quantile {
    const n = this.#count;
    return { n, value: n < eventsNeeded(p) ? undefined : this.#at(p) };
  }

  #at(p: number): number {
    const rank = Math.max(1, Math.ceil(p * this.#count));
    let seen = 0;
    for (let i = 0; i < BUCKETS; i++) {
      seen += this.#counts[i] ?? 0;
      if (seen >= rank) return middleOf(i);
    }
    return middleOf(BUCKETS - 1);
  }

  /** Events at or below each bound. */
  cumulative(bounds: readonly number[]): number[] {
    return bounds.map((bound) => {
      let total = 0;
      for (let i = 0; i < BUCKETS && upperOf(i) <= bound * (1 + 1e-9); i++) {
        total += this.#counts[i] ?? 0;
      }
      return total;
    });
  }
}

function bucketOf(value: number): number {
  if (!(value > 2 ** EXPONENT_MIN)) return 0;
  const index = Math.ceil(Math.log2(value) * PER_DOUBLING - 1e-9) - EXPONENT_MIN * PER_DOUBLING;
  return Math.min(BUCKETS - 1, Math.max(1, index));
}

function upperOf(bucket: number): number {
  return 2 ** (bucket / PER_DOUBLING + EXPONENT_MIN);
}

/** The value whose relative distance to both ends of the bucket is the same. */
function middleOf(bucket: number): number {
  return bucket === 0 ? 0 : 2 ** ((bucket - 0.5) / PER_DOUBLING + EXPONENT_MIN);
}
