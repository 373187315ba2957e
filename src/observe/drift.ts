// Whether two lots of values are spread over the same bins: the population stability index, against a limit that
// knows how many values there are.

/** Below, a difference is of no matter however sure it is. */
const FLOOR = 0.1;
/** Standard normal quantile of 0.999. */
const Z = 3.090232306167813;
/** Of the smaller lot: bins in which fewer are expected are one, because the limit would not hold for them. */
const EXPECTED_MIN = 5;
/** Of each lot. */
const FEWEST = 50;

/** Two lots compared. */
export interface Stability {
  /** Population stability index; null: too few values. */
  readonly psi: number | null;
  /** Above it the difference is more than chance and large enough to matter; null: too few values. */
  readonly limit: number | null;
  readonly verdict: "drifted" | "no drift seen" | "too few";
}

/**
 * Compares counts by bin. Without a difference the index is spread as chi² / (1/n + 1/m)⁻¹ with one degree of freedom
 * less than bins (Yurdakul 2018): the customary 0.1 alone would alarm at 200 values, where chance gives 0.17.
 */
export function stabilityOf(reference: readonly number[], current: readonly number[]): Stability {
  const [n, m] = [total(reference), total(current)];
  if (Math.min(n, m) < FEWEST) return { psi: null, limit: null, verdict: "too few" };
  const bins = pooled(reference, current, Math.min(n, m) / (n + m));
  let psi = 0;
  for (const [a, b] of bins) {
    // Half a value more in each bin: an empty one would make the index infinite.
    const expected = (a + 0.5) / (n + bins.length / 2);
    const found = (b + 0.5) / (m + bins.length / 2);
    psi += (found - expected) * Math.log(found / expected);
  }
  const limit = Math.max(FLOOR, chiSquare999(bins.length - 1) * (1 / n + 1 / m));
  return { psi, limit, verdict: psi > limit ? "drifted" : "no drift seen" };
}

type Bin = readonly [reference: number, current: number];

/** The bins, those with few values as one: chosen by both lots together, so that neither is favoured. */
function pooled(reference: readonly number[], current: readonly number[], smaller: number): Bin[] {
  const bins: Bin[] = [];
  let [restA, restB] = [0, 0];
  for (let i = 0; i < Math.max(reference.length, current.length); i++) {
    const [a, b] = [reference[i] ?? 0, current[i] ?? 0];
    if ((a + b) * smaller >= EXPECTED_MIN) bins.push([a, b]);
    else {
      restA += a;
      restB += b;
    }
  }
  if (restA + restB > 0) bins.push([restA, restB]);
  return bins;
}

/** The 0.999 quantile of chi² (Wilson and Hilferty 1931): at most 3 % too large, never too small. */
function chiSquare999(freedom: number): number {
  if (freedom < 1) return 0;
  const part = 2 / (9 * freedom);
  return freedom * (1 - part + Z * Math.sqrt(part)) ** 3;
}

function total(counts: readonly number[]): number {
  return counts.reduce((sum, count) => sum + count, 0);
}

/**
 * The upper bounds of ten bins with equally many of these values, the last one without a bound. Where values repeat
 * (a constant, whole numbers) there are fewer, and the repeated value has a bin of its own.
 */
export function decileBounds(values: readonly number[]): number[] {
  const sorted = values.toSorted((a, b) => a - b);
  const bounds: number[] = [];
  for (let decile = 1; decile < 10; decile++) {
    const value = sorted[Math.ceil((decile * sorted.length) / 10) - 1];
    if (value === undefined) continue;
    if (bounds.at(-1) !== value) bounds.push(value);
    else if ((bounds.at(-2) ?? Number.NEGATIVE_INFINITY) < below(value)) {
      bounds.splice(-1, 0, below(value));
    }
  }
  return bounds;
}

/** The bin of a value among such bounds. */
export function binOf(value: number, bounds: readonly number[]): number {
  const found = bounds.findIndex((bound) => value <= bound);
  return found === -1 ? bounds.length : found;
}

/** A little less. */
function below(value: number): number {
  return value - Math.max(Math.abs(value) * Number.EPSILON, Number.MIN_VALUE);
}
