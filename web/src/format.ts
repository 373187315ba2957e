// Numbers as the pages write them.

/** `1536` → `1.5 KiB`. */
export function bytes(value: number): string {
  const units = ["B", "KiB", "MiB", "GiB"];
  let size = value;
  let unit = 0;
  while (size >= 1024 && unit < units.length - 1) {
    size /= 1024;
    unit++;
  }
  return `${size.toFixed(unit === 0 || size >= 100 ? 0 : 1)} ${units[unit]}`;
}

/** A time in milliseconds with three significant digits; null is not known. */
export function milliseconds(value: number | null): string {
  if (value === null) return "unknown";
  return value >= 1000 ? `${(value / 1000).toPrecision(3)} s` : `${value.toPrecision(3)} ms`;
}

/** `0.969` → `96.9 %`. */
export function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

/** Enough digits to tell 99.9 from 99.99, and 0.02 from 0.03. */
export function percentText(share: number): string {
  if (share < 0.01) return `${Number((100 * share).toPrecision(2))} %`;
  return `${Number((100 * share).toFixed(share < 0.99 ? 1 : 3))} %`;
}

/** Scores as probabilities: exp(xᵢ) / Σ exp(x), shifted so that nothing overflows. */
export function softmax(scores: readonly number[]): number[] {
  const most = Math.max(...scores);
  const powers = scores.map((score) => Math.exp(score - most));
  const total = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / total);
}
