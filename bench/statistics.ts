// Quantiles of few numbers, and how far they can be trusted.

/** The least of the values that at least a share `p` of them do not exceed. */
export function quantile(values: readonly number[], p: number): number {
  const sorted = values.toSorted((x, y) => x - y);
  return sorted[Math.max(0, Math.ceil(p * sorted.length) - 1)] ?? Number.NaN;
}

/**
 * Between which of the values a quantile lies with 95 % confidence, whatever their distribution: the number of values
 * below it is binomial. `Infinity`: there are too few to say.
 */
export function quantileInterval(values: readonly number[], p: number): readonly [number, number] {
  const sorted = values.toSorted((x, y) => x - y);
  const n = sorted.length;
  let [low, high] = [0, n];
  let chance = (1 - p) ** n;
  let below = chance;
  for (let k = 0; k <= n; k++) {
    // `below` is the chance that at most k values are below.
    if (below <= 0.025) low = k + 1;
    if (below >= 0.975) {
      high = k;
      break;
    }
    chance *= ((n - k) / (k + 1)) * (p / (1 - p));
    below += chance;
  }
  return [sorted[low - 1] ?? Number.NEGATIVE_INFINITY, sorted[high] ?? Number.POSITIVE_INFINITY];
}

/** To a thousandth. */
export function rounded(value: number): number {
  return Number(value.toFixed(3));
}
