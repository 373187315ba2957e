// How far runs fall from what was expected, and news from when they should come: a histogram that slowly
// forgets. Quantiles of it decide deadlines.

/** From 1/4 to 16 these are steps of 4.4 %: finer than the noise of a shared machine. */
const BINS = 96;
/** A ratio weighs half of the newest after 1,400 runs: quantiles of 99.5 % need some hundreds. */
const GROWTH = 1.0005;
const RESCALE_AT = 1e9;

/** So many of the newest runs may be pauses of the machine: one pause is no quantile, however few the runs. */
const RARE = 2;

/** Weighted counts of measured / expected, or of other things above 0. */
export class Spread {
  readonly #lowest: number;
  readonly #binsPerLog: number;
  readonly #bins = new Float64Array(BINS);
  #total = 0;
  #weight = 1;
  #count = 0;

  /** What is less than the lowest counts as that, what is more than the highest as the highest. */
  constructor(lowest = 0.25, highest = 16) {
    this.#lowest = lowest;
    this.#binsPerLog = BINS / Math.log(highest / lowest);
  }

  /** How many were recorded. */
  get count(): number {
    return this.#count;
  }

  record(value: number): void {
    const place = value > 0 ? Math.floor(Math.log(value / this.#lowest) * this.#binsPerLog) : 0;
    const bin = Math.min(BINS - 1, Math.max(0, place));
    this.#bins[bin] = (this.#bins[bin] ?? 0) + this.#weight;
    this.#total += this.#weight;
    this.#count++;
    this.#weight *= GROWTH;
    if (this.#weight > RESCALE_AT) this.#rescale();
  }

  /** The upper edge of the bin in which the quantile lies; the lowest while nothing is known. */
  quantile(p: number): number {
    const above = Math.max((1 - p) * this.#total, RARE * this.#weight);
    let sum = 0;
    for (let bin = BINS - 1; bin > 0; bin--) {
      sum += this.#bins[bin] ?? 0;
      if (sum > above) return this.#lowest * Math.exp((bin + 1) / this.#binsPerLog);
    }
    return this.#lowest;
  }

  #rescale(): void {
    for (let bin = 0; bin < BINS; bin++) this.#bins[bin] = (this.#bins[bin] ?? 0) / this.#weight;
    this.#total /= this.#weight;
    this.#weight = 1;
  }
}
