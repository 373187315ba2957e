import { expect, test } from "vitest";
import { Random } from "../base/random.ts";
import { binOf, decileBounds, stabilityOf } from "./drift.ts";

test("the index is the one of the textbook, and its limit the larger of 0.1 and what chance gives", () => {
  // (0.5 − 0.6) ln(0.5 / 0.6) + (0.5 − 0.4) ln(0.5 / 0.4)
  const { psi, limit, verdict } = stabilityOf([60_000, 40_000], [50_000, 50_000]);
  expect(psi).toBeCloseTo(0.1 * Math.log(0.6 / 0.5) + 0.1 * Math.log(0.5 / 0.4), 4);
  expect({ limit, verdict }).toEqual({ limit: 0.1, verdict: "no drift seen" });
  // Ten bins, 200 of each: 27.877 · (1/200 + 1/200), to the 1 % of the approximation.
  const few = stabilityOf(Array(10).fill(20), Array(10).fill(20));
  expect(few.limit).toBeGreaterThan(0.27877);
  expect(few.limit).toBeLessThan(0.2816);
});

test("too few values are unknown, and never an alarm", () => {
  expect(stabilityOf([49, 0], [0, 500])).toEqual({ psi: null, limit: null, verdict: "too few" });
  expect(stabilityOf([], []).verdict).toBe("too few");
  expect(stabilityOf([50], [50])).toMatchObject({ psi: 0, verdict: "no drift seen" });
});

test("a class that is answered no more is drift; the order of the bins is of no matter", () => {
  const found = stabilityOf([100, 100, 100, 100], [130, 0, 130, 140]);
  expect(found.verdict).toBe("drifted");
  expect(stabilityOf([100, 100, 100, 100], [140, 130, 0, 130]).psi).toBeCloseTo(found.psi ?? 0);
});

test("of equal lots, looked at forty times each, few alarm at any look; of different ones nearly all do", () => {
  const random = new Random(5);
  // Two frequent classes, and rare ones that a chi² of so many bins would not describe.
  const weights = [0.5, 0.3, ...Array<number>(38).fill(0.2 / 38)];
  let sum = 0;
  const ends = weights.slice(0, -1).map((weight) => {
    sum += weight;
    return sum;
  });
  const draw = (tilt: number): number => {
    if (random.uniform() < tilt) return 1;
    return binOf(random.uniform(), ends);
  };
  const alarms = (tilt: number): number => {
    let alarmed = 0;
    for (let run = 0; run < 60; run++) {
      const lots = [weights.map(() => 0), weights.map(() => 0)] as const;
      let seen = false;
      for (let i = 1; i <= 2000 && !seen; i++) {
        for (const [lot, tilted] of [[lots[0], 0] as const, [lots[1], tilt] as const]) {
          const place = draw(tilted);
          lot[place] = (lot[place] ?? 0) + 1;
        }
        seen = i % 50 === 0 && stabilityOf(lots[0], lots[1]).verdict === "drifted";
      }
      if (seen) alarmed++;
    }
    return alarmed / 60;
  };
  expect(alarms(0)).toBeLessThanOrEqual(0.02);
  expect(alarms(0.3)).toBeGreaterThan(0.95);
});

test("deciles of values that repeat give the repeated value a bin of its own", () => {
  const even = decileBounds(Array.from({ length: 1000 }, (_, i) => i));
  expect(even).toEqual([99, 199, 299, 399, 499, 599, 699, 799, 899]);
  expect([-1, 99, 99.5, 899, 900].map((value) => binOf(value, even))).toEqual([0, 0, 1, 8, 9]);
  const constant = decileBounds(Array(300).fill(7));
  expect([6.9, 7, 7.1].map((value) => binOf(value, constant))).toEqual([0, 1, 2]);
  const truth = decileBounds([...Array(500).fill(0), ...Array(500).fill(1)]);
  expect(new Set([-1, 0, 0.5, 1, 2].map((value) => binOf(value, truth))).size).toBe(5);
});
