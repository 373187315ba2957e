// How far runs fall from what was expected: a histogram of measured over expected time that slowly
// forgets. Quantiles of it decide deadlines.

/** Ratios from 1/4 to 16 in steps of 4.4 %: finer than the noise of a shared machine. */
const BINS = 96;
const LOWEST = 0.25;
const HIGHEST = 16;
const BINS_PER_LOG = BINS / Math.log(HIGHEST / LOWEST);
/** A ratio weighs half of the newest after 1,400 runs: quantiles of 99.5 % need some hundreds. */
const GROWTH = 1.0005;
const RESCALE_AT = 1e9;

/** So many of the newest runs may be pauses of the machine: one pause is no quantile, however few the runs. */
const RARE = 2;

/** Weighted counts of measured / expected. */
export class Spread {
  readonly #bins = new Float64Array(BINS);
  #total = 0;
  #weight = 1;
  #count = 0;

  /** How many ratios were recorded. */
  get count(): number {
    return this.#count;
  }

  record(ratio: number): void {
    const place = Math.floor(Math.log(ratio / LOWEST) * BINS_PER_LOG);
    const bin = Math.min(BINS - 1, Math.max(0, place));
    this.#bins[bin] = (this.#bins[bin] ?? 0) + this.#weight;
    this.#total += this.#weight;
    this.#count++;
    this.#weight *= GROWTH;
    if (this.#weight > RESCALE_AT) this.#rescale();
  }

  /** The upper edge of the bin in which the quantile lies; 1 while nothing is known. */
  quantile(p: number): number {
    if (this.#count === 0) return 1;
    const above = Math.max((1 - p) * this.#total, RARE * this.#weight);
    let sum = 0;
    for (let bin = BINS - 1; bin > 0; bin--) {
      sum += this.#bins[bin] ?? 0;
      if (sum > above) return LOWEST * Math.exp((bin + 1) / BINS_PER_LOG);
    }
    return LOWEST;
  }

  #rescale(): void {
    for (let bin = 0; bin < BINS; bin++) this.#bins[bin] = (this.#bins[bin] ?? 0) / this.#weight;
    this.#total /= this.#weight;
    this.#weight = 1;
  }
}
