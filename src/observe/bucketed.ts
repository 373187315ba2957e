// A histogram as a scraper sees it: exponential buckets for quantiles, classic bounds counted exactly
// beside them (a bound such as 5 ms is no power of two), and the last exemplar of each.

import type { Exemplar, HistogramValue } from "./exposition.ts";
import { Histogram, type HistogramScale, type NativeBuckets } from "./histogram.ts";

/** Counts by exponential bucket and by classic bound. */
export class BucketedHistogram {
  readonly #fine: Histogram;
  readonly #bounds: readonly number[];
  readonly #counts: Float64Array;
  /** For each exponential bucket, the first classic bound that a value in it can lie below. */
  readonly #firstBound: Uint16Array;
  readonly #exemplars: (Exemplar | undefined)[];

  /** `bounds` ascend. */
  constructor(scale: HistogramScale, bounds: readonly number[]) {
    this.#fine = new Histogram(scale);
    this.#bounds = bounds;
    this.#counts = new Float64Array(bounds.length + 1);
    this.#exemplars = bounds.map(() => undefined);
    this.#exemplars.push(undefined);
    this.#firstBound = Uint16Array.from({ length: this.#fine.buckets }, (_, i) =>
      i === 0 ? 0 : firstAtLeast(bounds, this.#fine.upperOf(i - 1) * (1 - 1e-6)),
    );
  }

  /** Records a value in the unit of the bounds, with the trace that shows it if there is one. */
  record(value: number, exemplar?: Exemplar): void {
    const bounds = this.#bounds;
    let at = this.#firstBound[this.#fine.record(value)] ?? 0;
    while (at < bounds.length && value > (bounds[at] ?? 0)) at++;
    this.#counts[at] = (this.#counts[at] ?? 0) + 1;
    if (exemplar !== undefined) this.#exemplars[at] = exemplar;
  }

  /** Adds the events of another one of the same form. */
  add(other: BucketedHistogram): void {
    this.#fine.add(other.#fine);
    for (let i = 0; i < this.#counts.length; i++) {
      this.#counts[i] = (this.#counts[i] ?? 0) + (other.#counts[i] ?? 0);
    }
  }

  /** What a scraper is told. The exponential buckets are read when they are asked for. */
  value(): HistogramValue {
    const fine = this.#fine;
    let total = 0;
    const cumulative = this.#bounds.map((_, i) => {
      total += this.#counts[i] ?? 0;
      return total;
    });
    return {
      count: fine.count,
      sum: fine.sum,
      bounds: this.#bounds,
      cumulative,
      exemplars: this.#exemplars,
      native: (): NativeBuckets => fine.native(),
    };
  }
}

function firstAtLeast(bounds: readonly number[], value: number): number {
  const found = bounds.findIndex((bound) => bound >= value);
  return found < 0 ? bounds.length : found;
}
