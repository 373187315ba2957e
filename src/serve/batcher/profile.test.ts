import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Random } from "../../base/random.ts";
import { Profile } from "./profile.ts";
import { RunTimes } from "./run-times.ts";

function profileOf(runMs: (rows: number) => number, sizes: readonly number[], runs = 20): Profile {
  const profile = new Profile(100);
  for (let i = 0; i < runs; i++) for (const rows of sizes) profile.record(rows, runMs(rows));
  return profile;
}

describe("mean", () => {
  test("a straight line is found between and below the sizes that ran, and never undercut beyond them", () => {
    const line = fc.record({
      a: fc.double({ min: 0.1, max: 50, noNaN: true }),
      b: fc.double({ min: 0.01, max: 10, noNaN: true }),
    });
    fc.assert(
      fc.property(line, fc.integer({ min: 1, max: 100 }), ({ a, b }, rows) => {
        const profile = profileOf((n) => a + b * n, [2, 8, 32]);
        const true_ = a + b * rows;
        if (rows >= 1 && rows <= 32) expect(profile.meanMs(rows)).toBeCloseTo(true_, 6);
        else expect(profile.meanMs(rows)).toBeGreaterThanOrEqual(true_ - 1e-6);
      }),
      { seed: 3 },
    );
  });

  test("of one size that ran, smaller ones are taken to last as long, larger ones in proportion", () => {
    const profile = profileOf(() => 10, [4]);
    expect(profile.meanMs(1)).toBe(10);
    expect(profile.meanMs(8)).toBe(20);
  });

  test("pauses of the machine hardly move it, a machine that became slower does", () => {
    const profile = new Profile(100);
    const random = new Random(5);
    for (let i = 0; i < 400; i++) profile.record(4, i % 50 === 0 ? 200 : 10 + random.uniform());
    expect(profile.meanMs(4)).toBeLessThan(12);
    for (let i = 0; i < 200; i++) profile.record(4, 30 + random.uniform());
    expect(profile.meanMs(4)).toBeGreaterThan(29);
  });
});

describe("best size", () => {
  test("where batches gain, the largest up to which they gain noticeably", () => {
    expect(profileOf((n) => 20 + n, [1, 2, 4, 8, 16, 32, 64]).bestRows(64)).toBe(64);
    expect(profileOf((n) => 0.01 + n, [1, 2, 4, 8, 16, 32, 64]).bestRows(64)).toBe(1);
  });

  test("where large batches are slower for each row, the size before that", () => {
    const cliff = (n: number): number => (n <= 8 ? 5 + n : 13 + 6 * (n - 8));
    expect(profileOf(cliff, [1, 2, 4, 8, 16, 32]).bestRows(32)).toBe(8);
  });

  test("larger sizes than ever ran are tried step by step, one bad run does not rule a size out", () => {
    const profile = profileOf((n) => 4 + n / 2, [1, 2]);
    expect(profile.bestRows(32)).toBe(4);
    profile.record(4, 60);
    expect(profile.bestRows(32)).toBe(4);
    for (let i = 0; i < 4; i++) profile.record(4, 60);
    expect(profile.bestRows(32)).toBe(2);
  });

  test("a size that was slow is tried again after a while", () => {
    const profile = profileOf((n) => (n > 8 ? 50 * n : 5 + n), [4, 8, 16], 10);
    expect(profile.bestRows(16)).toBe(8);
    for (let i = 0; i < 300; i++) profile.record(8, 13);
    expect(profile.bestRows(16)).toBe(16);
    // Twice what as many rows of the size below would take.
    expect(profile.meanMs(16)).toBe(52);
    profile.record(16, 800);
    expect(profile.meanMs(16)).toBe(800);
    expect(profile.bestRows(16)).toBe(8);
    for (let i = 0; i < 300; i++) profile.record(8, 13);
    expect(profile.bestRows(16)).toBe(8);
    for (let i = 0; i < 300; i++) profile.record(8, 13);
    profile.record(16, 21);
    expect(profile.bestRows(16)).toBe(16);
  });
});

describe("after a bad minute of the machine", () => {
  test("sizes that ran in it take no longer than larger ones that ran since, and are tried again", () => {
    const profile = profileOf((n) => 60 * n, [1, 2, 8], 4);
    for (let i = 0; i < 300; i++) profile.record(4, 4.2);
    expect(profile.meanMs(1)).toBeLessThan(4.3);
    expect(profile.meanMs(2)).toBeLessThan(4.3);
    expect(profile.meanMs(8)).toBeLessThan(17);
    expect(profile.bestRows(8)).toBe(8);
  });

  test("one run that is much faster than was believed tells of all sizes", () => {
    const times = new RunTimes(0.998);
    for (let i = 0; i < 20; i++)
      for (const rows of [1, 8]) times.record("a", 100, rows, 100 * rows);
    times.refusedAlone("a", 100, 0);
    times.record("a", 100, 1, 2);
    expect(times.predictor("a", 100).meanMs(1)).toBeLessThan(2.1);
    expect(times.predictor("a", 100).meanMs(8)).toBeLessThan(17);
  });

  test("stalls count in milliseconds: what stopped short runs does not make long ones last for ever", () => {
    const times = new RunTimes(0.99);
    for (let i = 0; i < 1000; i++) {
      times.record("a", 100, 1, i % 40 === 7 ? 60 : 1);
      times.record("a", 100, 32, i % 40 === 27 ? 92 : 32);
    }
    const long = times.predictor("a", 100);
    const doubt = long.spreadMs(long.meanMs(32), times.upperFactor) + times.stallMs;
    expect(doubt).toBeGreaterThan(50);
    expect(doubt).toBeLessThan(80);
  });
});

describe("run times of a model", () => {
  test("the upper bound holds for the share of runs that it names", () => {
    const times = new RunTimes(0.99);
    const random = new Random(9);
    const draw = (): number => 10 * Math.exp(0.1 * random.normal());
    for (let i = 0; i < 3000; i++) times.record("a", 100, 4, draw());
    const upper = times.predictor("a", 100).meanMs(4) * times.upperFactor + times.stallMs;
    let above = 0;
    for (let i = 0; i < 5000; i++) if (draw() > upper) above++;
    expect(above / 5000).toBeLessThan(0.012);
    expect(above / 5000).toBeGreaterThan(0.001);
  });

  test("a shape that never ran takes what equal elements took, with room for doubt", () => {
    const times = new RunTimes(0.99);
    for (let i = 0; i < 100; i++) {
      for (const rows of [1, 8]) times.record("small", 100, rows, 2 + rows);
      times.record("large", 10_000, 1, 500);
    }
    const near = times.predictor("new", 200);
    expect(near.meanMs(2)).toBeCloseTo(6, 6);
    expect(near.spreadMs(6, times.upperFactor)).toBeGreaterThan(3);
    expect(times.predictor("other", 9000).meanMs(1)).toBeLessThanOrEqual(500);
    expect(new RunTimes(0.99).predictor("new", 200).meanMs(2)).toBe(0);
  });

  test("made-up shapes push out those used least recently, not those in use", () => {
    const times = new RunTimes(0.99);
    for (let i = 0; i < 2000; i++) {
      times.record(`shape ${i}`, 100, 1, 5);
      times.record("used", 100, 1, 5);
    }
    expect(times.profile("used")).toBeDefined();
    expect(times.profile("shape 0")).toBeUndefined();
  });
});
