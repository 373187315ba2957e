import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { CONTENT_TYPES, expose, type Family, formatFor } from "./exposition.ts";
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
        const bounds = [0.01, 1, 100, 1e4];
        expect(one.cumulative(bounds)).toEqual(both.cumulative(bounds));
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

  test("a value on a bound counts below it", () => {
    const histogram = new Histogram();
    for (const v of [1, 2, 4]) histogram.record(v);
    expect(histogram.cumulative([0.5, 1, 2, 3, 4])).toEqual([0, 1, 2, 2, 3]);
  });
});

test("a sliding window forgets what is older", () => {
  let now = 0;
  const clock = { nowMs: () => now, monotonicMs: () => now };
  const window = new SlidingHistogram(clock, { windowMs: 60_000, slotMs: 5000 });
  const events: number[] = [];
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
  }
  now += 120_000;
  expect(window.total().count).toBe(0);
});

describe("exposition", () => {
  const durations = new Histogram();
  for (const ms of [1, 30, 2000]) durations.record(ms);
  const families: Family[] = [
    {
      name: "skipway_requests",
      type: "counter",
      help: 'Requests\nwith "quotes" and \\',
      samples: [{ labels: { model: 'a"b\\c\nd' }, value: 3 }],
    },
    {
      name: "up",
      type: "gauge",
      help: "Up",
      samples: [{ labels: {}, value: Number.POSITIVE_INFINITY }],
    },
    {
      name: "duration_seconds",
      type: "histogram",
      help: "Seconds",
      bounds: [0.01, 1],
      scale: 0.001,
      samples: [{ labels: { model: "m" }, value: durations }],
    },
  ];

  test("Prometheus text", () => {
    expect(expose(families, "prometheus")).toMatchInlineSnapshot(`
      "# HELP skipway_requests_total Requests\\nwith "quotes" and \\\\
      # TYPE skipway_requests_total counter
      skipway_requests_total{model="a\\"b\\\\c\\nd"} 3
      # HELP up Up
      # TYPE up gauge
      up +Inf
      # HELP duration_seconds Seconds
      # TYPE duration_seconds histogram
      duration_seconds_bucket{model="m",le="0.01"} 1
      duration_seconds_bucket{model="m",le="1"} 2
      duration_seconds_bucket{model="m",le="+Inf"} 3
      duration_seconds_sum{model="m"} 2.031
      duration_seconds_count{model="m"} 3
      "
    `);
  });

  test("OpenMetrics names a counter's family without its suffix and ends with EOF", () => {
    const text = expose(families, "openmetrics");
    expect(text).toContain("# TYPE skipway_requests counter\nskipway_requests_total{");
    expect(text.endsWith("# EOF\n")).toBe(true);
    expect(formatFor("application/openmetrics-text; version=1.0.0")).toBe("openmetrics");
    expect(formatFor(undefined)).toBe("prometheus");
    expect(CONTENT_TYPES.prometheus).toContain("0.0.4");
  });
});
