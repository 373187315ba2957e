// Histograms with exponential buckets: a fixed relative error at any scale, cheap to record, and the
// sum of two is the histogram of both. Bucket bounds are those of Prometheus native histograms
// (prometheus.io, "Native histograms"): `2^schema` buckets for each doubling.

/** Which values a histogram tells apart. */
export interface HistogramScale {
  /** `2^schema` buckets for each power of two: 4 is an error of at most 2.2 %, 5 of 1.1 %. */
  readonly schema: number;
  /** Values up to two to this power count as zero. */
  readonly minExponent: number;
  /** Values beyond two to this power share one bucket. */
  readonly maxExponent: number;
}

/** Milliseconds from 1 µs to 12 days, within 2.2 %. */
export const MILLISECONDS: HistogramScale = { schema: 4, minExponent: -10, maxExponent: 30 };

/** The buckets that have events, as native histograms name them. */
export interface NativeBuckets {
  readonly schema: number;
  readonly zeroThreshold: number;
  readonly zeroCount: number;
  /** Bucket `index` holds values in `(2^((index - 1) / 2^schema), 2^(index / 2^schema)]`; ascending. */
  readonly buckets: readonly { readonly index: number; readonly count: number }[];
}

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

/** Counts of values by exponential bucket. */
export class Histogram {
  readonly scale: HistogramScale;
  readonly #perDoubling: number;
  readonly #smallest: number;
  readonly #first: number;
  readonly #counts: Float64Array;
  #count = 0;
  #sum = 0;

  constructor(scale: HistogramScale = MILLISECONDS) {
    this.scale = scale;
    this.#perDoubling = 2 ** scale.schema;
    this.#smallest = 2 ** scale.minExponent;
    this.#first = scale.minExponent * this.#perDoubling;
    const doublings = scale.maxExponent - scale.minExponent;
    this.#counts = new Float64Array(doublings * this.#perDoubling + 2);
  }

  get count(): number {
    return this.#count;
  }

  get sum(): number {
    return this.#sum;
  }

  /** Number of buckets: the first holds zeros, the last what is too large. */
  get buckets(): number {
    return this.#counts.length;
  }

  /** Records a value, negative ones and NaN as 0; gives the bucket it fell into. */
  record(value: number): number {
    const bucket = this.#bucketOf(value);
    this.#counts[bucket] = (this.#counts[bucket] ?? 0) + 1;
    this.#count++;
    if (value > 0) this.#sum += value;
    return bucket;
  }

  /** Adds the events of another histogram of the same scale. */
  add(other: Histogram): void {
    for (let i = 0; i < this.#counts.length; i++) {
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

  /** Share of the events that are larger than a value, as far as buckets tell; NaN where there are none. */
  shareAbove(value: number): number {
    const last = this.#bucketOf(value);
    let above = 0;
    for (let i = last + 1; i < this.#counts.length; i++) above += this.#counts[i] ?? 0;
    return above / this.#count;
  }

  #at(p: number): number {
    const rank = Math.max(1, Math.ceil(p * this.#count));
    let seen = 0;
    for (let i = 0; i < this.#counts.length; i++) {
      seen += this.#counts[i] ?? 0;
      if (seen >= rank) return this.#middleOf(i);
    }
    return this.#middleOf(this.#counts.length - 1);
  }

  /** What it holds, for the protobuf exposition. */
  native(): NativeBuckets {
    const buckets: { index: number; count: number }[] = [];
    for (let i = 1; i < this.#counts.length; i++) {
      const count = this.#counts[i] ?? 0;
      if (count > 0) buckets.push({ index: i + this.#first, count });
    }
    const zeroCount = this.#counts[0] ?? 0;
    return { schema: this.scale.schema, zeroThreshold: this.#smallest, zeroCount, buckets };
  }

  /** Upper bound of a bucket. */
  upperOf(bucket: number): number {
    return 2 ** ((bucket + this.#first) / this.#perDoubling);
  }

  #bucketOf(value: number): number {
    if (!(value > this.#smallest)) return 0;
    const index = Math.ceil(Math.log2(value) * this.#perDoubling - 1e-9) - this.#first;
    return Math.min(this.#counts.length - 1, Math.max(1, index));
  }

  /** The value whose relative distance to both ends of the bucket is the same. */
  #middleOf(bucket: number): number {
    return bucket === 0 ? 0 : 2 ** ((bucket - 0.5 + this.#first) / this.#perDoubling);
  }
}
