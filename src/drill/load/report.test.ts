import { expect, test } from "vitest";
import type { LoadResult } from "./load.ts";
import { loadReport } from "./report.ts";

test("a report counts every request once, in the stretch in which it was meant to be sent", () => {
  const arrivals = Float64Array.from({ length: 400 }, (_, i) => i * 10);
  const statuses = Uint16Array.from(arrivals, (_, i) =>
    i % 4 === 0 ? 503 : i % 4 === 1 ? 0 : 200,
  );
  const result: LoadResult = {
    latencies: Float64Array.from(arrivals, (_, i) => (i % 4 === 0 ? 1 : 100 + i / 100)),
    statuses,
    lateness: new Float64Array(400).fill(0.25),
    failures: new Map([["timeout", 100]]),
    seconds: 5,
    sent: 400,
  };
  const report = loadReport({ arrivals }, result, 4);
  expect(report).toMatchObject({
    planned: 400,
    sent: 400,
    intendedRate: 100,
    goodRate: 40,
    answers: { "200": 200, "503": 100 },
    failures: { timeout: 100 },
  });
  expect(report.good.n).toBe(200);
  expect(report.refused).toMatchObject({ n: 100, maxMs: 1 });
  expect(report.slices.map(({ untilSecond }) => untilSecond)).toEqual([1, 2, 3, 4]);
  for (const slice of report.slices) {
    expect(slice).toMatchObject({ sent: 100, good: 50, refused: 25, failed: 25, p99Ms: null });
  }
  // The middle of 102 … 103 and so on: stretches are not mixed.
  expect(report.slices[0]?.p50Ms).toBeCloseTo(100.5, 1);
  expect(report.slices[3]?.p50Ms).toBeCloseTo(103.5, 1);
});
