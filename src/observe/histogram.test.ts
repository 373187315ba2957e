import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { BucketedHistogram } from "./bucketed.ts";
import { eventsNeeded, Histogram } from "./histogram.ts";
import { SlidingHistogram } from "./window.ts";

describe("histogram", () => {
  test("a quantile is within 2.2 % of the exact one", () => {
    const value = fc.double({ min: 0.002, max: 1e6, noNaN: true });
    fc.assert(
      fc.property(fc.array(value, { minLength: 40, maxLength: 400 }), (values) => {
        const histogram = new Histogram();
        for (const one of values) histogram.record(one);
        const sorted = values.toSorted((a, b) => a - b);
        for (const p of [0.5, 0.75]) {
          const exact = sorted[Math.ceil(p * sorted.length) - 1] ?? Number.NaN;
          const { value: found, n } = histogram.quantile(p);
          expect(n).toBe(values.length);
          expect(Math.abs((found ?? Number.NaN) / exact - 1)).toBeLessThanOrEqual(0.0221);
        }
      }),
    );
  });

  test("two added are the histogram of both", () => {
    const values = fc.array(fc.double({ min: 0, max: 1e5, noNaN: true }), { maxLength: 60 });
    fc.assert(
      fc.property(values, values, (a, b) => {
        const [one, two, both] = [new Histogram(), new Histogram(), new Histogram()];
        for (const v of a) one.record(v);
        for (const v of b) two.record(v);
        for (const v of [...a, ...b]) both.record(v);
        one.add(two);
        expect(one.native()).toEqual(both.native());
        expect(one.count).toBe(both.count);
        expect(one.sum).toBeCloseTo(both.sum, 3);
      }),
    );
  });

  test("too few events are no quantile: the P99 of 40 requests is unknown", () => {
    const histogram = new Histogram();
    for (let i = 0; i < 40; i++) histogram.record(5);
    expect(histogram.quantile(0.99)).toEqual({ value: undefined, n: 40 });
    expect(histogram.quantile(0.5).value).toBeCloseTo(5, 0);
    expect([eventsNeeded(0.5), eventsNeeded(0.99), eventsNeeded(0.999)]).toEqual([
      20, 1000, 10_000,
    ]);
  });

  test("extremes and nonsense do not break it", () => {
    const histogram = new Histogram();
    for (const v of [0, -1, 1e300, Number.NaN, 1e-9]) histogram.record(v);
    expect(histogram.count).toBe(5);
    histogram.clear();
    expect([histogram.count, histogram.sum]).toEqual([0, 0]);
  });

  test("a bucket holds what native histograms say that it holds", () => {
    const scale = fc.record({
      schema: fc.integer({ min: 0, max: 6 }),
      minExponent: fc.integer({ min: -20, max: -1 }),
      maxExponent: fc.integer({ min: 1, max: 20 }),
    });
    fc.assert(
      fc.property(scale, fc.double({ min: 1e-9, max: 1e9, noNaN: true }), (given, value) => {
        const histogram = new Histogram(given);
        histogram.record(value);
        const { zeroCount, zeroThreshold, buckets } = histogram.native();
        if (value <= zeroThreshold) {
          expect([zeroCount, buckets]).toEqual([1, []]);
          return;
        }
        expect(zeroCount).toBe(0);
        const [{ index, count } = { index: Number.NaN, count: 0 }] = buckets;
        const upper = (i: number): number => 2 ** (i / 2 ** given.schema);
        expect(count).toBe(1);
        expect(value).toBeGreaterThan(upper(index - 1) * (1 - 1e-9));
        if (value <= 2 ** given.maxExponent) {
          expect(value).toBeLessThanOrEqual(upper(index) * (1 + 1e-9));
        }
      }),
    );
  });

  test("classic bounds are counted exactly, whatever the exponential buckets are", () => {
    const numbers = fc.array(fc.double({ min: 1e-6, max: 1e4, noNaN: true }), { maxLength: 40 });
    const schema = fc.integer({ min: 0, max: 5 });
    fc.assert(
      fc.property(schema, numbers, numbers, (level, some, values) => {
        const bounds = [...new Set(some)].sort((a, b) => a - b);
        const scale = { schema: level, minExponent: -17, maxExponent: 10 };
        const histogram = new BucketedHistogram(scale, bounds);
        const half = new BucketedHistogram(scale, bounds);
        // Values on a bound are the ones that go wrong.
        for (const value of [...values, ...bounds, 0]) histogram.record(value);
        for (const value of values) half.record(value);
        const all = [...values, ...bounds, 0];
        const below = (list: readonly number[]): number[] =>
          bounds.map((bound) => list.filter((value) => value <= bound).length);
        expect(histogram.value().cumulative).toEqual(below(all));
        expect(histogram.value().count).toBe(all.length);
        half.add(histogram);
        expect(half.value().cumulative).toEqual(below([...all, ...values]));
      }),
    );
  });
});

test("a sliding window forgets what is older", () => {
  let now = 0;
  const clock = { nowMs: () => now, monotonicMs: () => now };
  const window = new SlidingHistogram(clock, { windowMs: 60_000, slotMs: 5000 });
  const events: number[] = [];
  now += 120_000;
  expect(window.coveredMs()).toBe(0);
  for (let step = 0; step < 400; step++) {
    now += (step * 7919) % 4000;
    window.record(1);
    events.push(now);
    const young = events.filter((at) => now - at < 55_000).length;
    const old = events.filter((at) => now - at < 60_000).length;
    const { count } = window.total();
    // Slots are five seconds wide: the window may be short by one.
    expect(count).toBeGreaterThanOrEqual(young);
    expect(count).toBeLessThanOrEqual(old);
    // What it covers is what it counts, to the millisecond, from the first value on.
    const covered = window.coveredMs();
    expect(covered).toBeLessThanOrEqual(now - (events[0] ?? 0));
    expect(events.filter((at) => now - at <= covered)).toHaveLength(count);
  }
  now += 120_000;
  expect(window.total().count).toBe(0);
});
