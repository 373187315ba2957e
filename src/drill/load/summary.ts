// What the latencies of a load test say, with what it rests on: each quantile with its number of events and
// the interval that holds the true one with 95 % confidence.

/** A quantile of latencies. Null where the events are too few to know. */
export interface LatencyQuantile {
  readonly p: number;
  readonly ms: number | null;
  /** Bounds of the interval of 95 % confidence; null where it would reach beyond the slowest event. */
  readonly lowMs: number | null;
  readonly highMs: number | null;
}

/** Latencies of one kind of answer. */
export interface LatencySummary {
  readonly n: number;
  readonly meanMs: number | null;
  readonly maxMs: number | null;
  readonly quantiles: readonly LatencyQuantile[];
}

/** The quantiles of a report. */
export const QUANTILES = [0.5, 0.9, 0.95, 0.99, 0.999] as const;

/** Half of what a 95 % interval leaves out. */
const TAIL = 0.025;

/** Summarises latencies in milliseconds. */
export function summarize(
  latencies: Float64Array,
  quantiles: readonly number[] = QUANTILES,
): LatencySummary {
  const sorted = Float64Array.from(latencies).sort();
  const n = sorted.length;
  const mean = n === 0 ? null : sorted.reduce((sum, value) => sum + value / n, 0);
  return {
    n,
    meanMs: mean,
    maxMs: sorted.at(-1) ?? null,
    quantiles: quantiles.map((p) => quantileOf(sorted, p)),
  };
}

/**
 * A quantile of sorted values with its interval from order statistics: the number of values below the true
 * quantile is binomial (David and Nagaraja, "Order Statistics", 7.1), whatever the distribution.
 */
export function quantileOf(sorted: Float64Array, p: number): LatencyQuantile {
  const n = sorted.length;
  const { low, high } = ranks(n, p);
  const at = (rank: number): number | null => sorted[rank - 1] ?? null;
  // Without an event beyond the interval, nothing says how slow the slow ones are.
  const known = low >= 1 && high <= n;
  return {
    p,
    ms: known ? at(Math.max(1, Math.ceil(p * n))) : null,
    lowMs: low >= 1 ? at(low) : null,
    highMs: high <= n ? at(high) : null,
  };
}

/** Ranks, from 1, of the values that bound a quantile: each is missed with a probability of at most 2.5 %. */
export function ranks(n: number, p: number): { readonly low: number; readonly high: number } {
  let below = 0;
  let low = 0;
  let high = n + 1;
  const spread = 12 * Math.sqrt(n * p * (1 - p)) + 20;
  const first = Math.max(0, Math.floor(n * p - spread));
  const last = Math.min(n, Math.ceil(n * p + spread));
  let term = Math.exp(logBinomial(n, first, p));
  for (let k = first; k <= last; k++) {
    // `below` is P(fewer than k values lie below the quantile).
    if (below <= TAIL) low = k;
    below += term;
    if (below >= 1 - TAIL) {
      high = k + 1;
      break;
    }
    term *= ((n - k) / (k + 1)) * (p / (1 - p));
  }
  return { low, high };
}

/** The logarithm of P(Binomial(n, p) = k). */
function logBinomial(n: number, k: number, p: number): number {
  const choose = logGamma(n + 1) - logGamma(k + 1) - logGamma(n - k + 1);
  return choose + k * Math.log(p) + (n - k) * Math.log(1 - p);
}

/** ln Γ(x) for x ≥ 1: Stirling's series after a shift to where it converges (Abramowitz and Stegun 6.1.41). */
function logGamma(x: number): number {
  let shift = 0;
  let z = x;
  while (z < 10) {
    shift += Math.log(z);
    z += 1;
  }
  const series = 1 / (12 * z) - 1 / (360 * z ** 3) + 1 / (1260 * z ** 5);
  return (z - 0.5) * Math.log(z) - z + Math.log(2 * Math.PI) / 2 + series - shift;
}
