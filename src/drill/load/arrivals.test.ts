import { describe, expect, test } from "vitest";
import { arrivals, expectedCount, segmentsOf } from "./arrivals.ts";

const poisson = { spread: "poisson", seed: 7 } as const;

describe("arrivals", () => {
  test("evenly spread, they stand at equal distances", () => {
    const times = arrivals(segmentsOf({ kind: "steady", rate: 4 }, 2), { spread: "even", seed: 1 });
    expect([...times]).toEqual([0, 250, 500, 750, 1000, 1250, 1500, 1750]);
  });

  test("of a Poisson process have exponential gaps: mean and deviation are one over the rate", () => {
    const times = arrivals(segmentsOf({ kind: "steady", rate: 200 }, 500), poisson);
    const gaps = [...times].map((time, i) => time - (times[i - 1] ?? 0));
    const mean = gaps.reduce((a, b) => a + b, 0) / gaps.length;
    const deviation = Math.sqrt(gaps.reduce((a, b) => a + (b - mean) ** 2, 0) / gaps.length);
    expect(Math.abs(mean - 5)).toBeLessThan(0.06);
    expect(Math.abs(deviation - 5)).toBeLessThan(0.1);
    // The share of gaps beyond twice the mean is e^-2.
    expect(gaps.filter((gap) => gap > 10).length / gaps.length).toBeCloseTo(Math.exp(-2), 2);
  });

  test.each([
    ["ramp", { kind: "ramp", from: 0, to: 400 }, [1 / 16, 3 / 16, 5 / 16, 7 / 16]],
    ["falling ramp", { kind: "ramp", from: 400, to: 0 }, [7 / 16, 5 / 16, 3 / 16, 1 / 16]],
    ["steps", { kind: "steps", rates: [50, 100, 200, 450] }, [1 / 16, 2 / 16, 4 / 16, 9 / 16]],
  ] as const)(
    "a %s has in each quarter of the time the share that its rate says",
    (_, pattern, shares) => {
      const segments = segmentsOf(pattern, 400);
      for (const spread of ["poisson", "even"] as const) {
        const times = arrivals(segments, { spread, seed: 3 });
        expect(Math.abs(times.length / expectedCount(segments) - 1)).toBeLessThan(0.02);
        for (const [quarter, share] of shares.entries()) {
          const here = times.filter((time) => Math.floor(time / 100_000) === quarter).length;
          expect(Math.abs(here / times.length - share)).toBeLessThan(0.01);
        }
      }
    },
  );

  test("ascend, and are a function of the seed", () => {
    const segments = segmentsOf({ kind: "ramp", from: 10, to: 300 }, 10);
    const times = arrivals(segments, poisson);
    expect(times).toEqual(Float64Array.from(times).sort());
    expect(arrivals(segments, poisson)).toEqual(times);
    expect(arrivals(segments, { ...poisson, seed: 8 })).not.toEqual(times);
  });

  test("of a rate of nothing are none", () => {
    expect(
      arrivals(segmentsOf({ kind: "steps", rates: [0, 2, 0] }, 3), { spread: "even", seed: 0 }),
    ).toEqual(Float64Array.of(1000, 1500));
  });
});
