import { describe, expect, test } from "vitest";
import { Random } from "../../base/random.ts";
import { quantileOf, ranks, summarize } from "./summary.ts";

/** P(Binomial(n, p) ≤ k), term by term in logarithms. */
function binomialAtMost(n: number, p: number, k: number): number {
  let term = n * Math.log(1 - p);
  let sum = 0;
  for (let i = 0; i <= k; i++) {
    sum += Math.exp(term);
    term += Math.log(((n - i) / (i + 1)) * (p / (1 - p)));
  }
  return sum;
}

describe("ranks", () => {
  test.each([
    [10, 0.5],
    [40, 0.9],
    [100, 0.99],
    [500, 0.99],
    [1000, 0.95],
    [700, 0.5],
  ])(
    "of %i values at %f leave out at most 0.025 on each side, and no less than must be",
    (n, p) => {
      const { low, high } = ranks(n, p);
      // The quantile lies below the value of rank r if fewer than r values lie below it.
      const missedLow = low === 0 ? 0 : binomialAtMost(n, p, low - 1);
      expect(missedLow).toBeLessThanOrEqual(0.025);
      expect(binomialAtMost(n, p, low)).toBeGreaterThan(0.025);
      expect(1 - binomialAtMost(n, p, high - 1)).toBeLessThanOrEqual(0.025 + 1e-9);
      expect(1 - binomialAtMost(n, p, high - 2)).toBeGreaterThan(0.025);
    },
  );

  test("of ten million values are as the normal approximation has them", () => {
    const { low, high } = ranks(1e7, 0.99);
    const half = 1.959964 * Math.sqrt(1e7 * 0.99 * 0.01);
    expect(Math.abs(low - (9.9e6 - half))).toBeLessThan(3);
    expect(Math.abs(high - (9.9e6 + half))).toBeLessThan(3);
  });
});

describe("a summary", () => {
  test("holds the true quantile in its interval in at least 95 of 100 samples", () => {
    const random = new Random(5);
    let held = 0;
    const samples = 2000;
    for (let i = 0; i < samples; i++) {
      const sorted = Float64Array.from({ length: 200 }, () => random.uniform()).sort();
      const { lowMs, highMs } = quantileOf(sorted, 0.9);
      if ((lowMs ?? 0) <= 0.9 && 0.9 <= (highMs ?? 1)) held++;
    }
    expect(held / samples).toBeGreaterThanOrEqual(0.945);
    expect(held / samples).toBeLessThan(0.975);
  });

  test("does not know the P99 of forty requests, and knows their median", () => {
    const { quantiles, n, maxMs, meanMs } = summarize(
      Float64Array.from({ length: 40 }, (_, i) => 40 - i),
    );
    expect({ n, maxMs, meanMs }).toEqual({ n: 40, maxMs: 40, meanMs: 20.5 });
    const at = (p: number) => quantiles.find((one) => one.p === p);
    expect(at(0.99)).toMatchObject({ ms: null, highMs: null });
    expect(at(0.5)).toMatchObject({ ms: 20, lowMs: 14, highMs: 27 });
  });

  test("of nothing knows nothing", () => {
    expect(summarize(new Float64Array())).toMatchObject({ n: 0, meanMs: null, maxMs: null });
    expect(summarize(new Float64Array()).quantiles.every(({ ms }) => ms === null)).toBe(true);
  });
});
