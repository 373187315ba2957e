import { expect, test } from "vitest";
import { Random } from "../base/random.ts";
import { CostMeter } from "./cost.ts";

test("time and memory by row, as they were", () => {
  const cost = new CostMeter();
  cost.take({ arm: "stable", atMs: 0, bucket: "a#4", rows: 4, executeMs: 8, bytes: 1000 });
  cost.take({ arm: "stable", atMs: 5, bucket: "a#1", rows: 1, executeMs: 3, bytes: 400 });
  const { stable, candidate, verdict } = cost.reading();
  expect(stable).toEqual({
    ...{ inferences: 5, batches: 2, msPerInference: 11 / 5 },
    byteSecondsPerInference: (8 + 1.2) / 5,
  });
  expect(candidate).toMatchObject({ inferences: 0, msPerInference: null });
  expect(verdict).toBe("too few");
});

test("a canary whose batches are smaller is no dearer model; one that is dearer in like batches is", () => {
  const random = new Random(6);
  const meter = (dearer: number): CostMeter => {
    const cost = new CostMeter();
    for (let i = 0; i < 4000; i++) {
      const arm = i % 2 === 0 ? "stable" : "candidate";
      // Stable is mostly asked in batches of 8, where a row costs half as much.
      const big = random.uniform() < (arm === "stable" ? 0.9 : 0.1);
      const rows = big ? 8 : 1;
      const own = (big ? 4 : 1) * (arm === "candidate" ? dearer : 1);
      const executeMs = own * (1 + 0.2 * random.uniform());
      cost.take({ arm, atMs: 250 * i, bucket: `a#${rows}`, rows, executeMs });
    }
    return cost;
  };
  const equal = meter(1).reading();
  const mean = (of: "stable" | "candidate"): number => equal[of].msPerInference ?? 0;
  expect(mean("candidate") / mean("stable")).toBeGreaterThan(1.2);
  expect(equal.verdict).toBe("no difference seen");
  expect(equal.ratio).toBeCloseTo(1, 1);
  const dear = meter(1.2).reading();
  expect(dear).toMatchObject({ verdict: "dearer", compared: { stable: 2000, candidate: 2000 } });
  expect(dear.lower ?? 0).toBeLessThan(1.2);
  expect(dear.upper ?? 0).toBeGreaterThan(1.2);
  expect(meter(0.8).reading().verdict).toBe("cheaper");
});

test("batches close together count as one of the comparison, and all of the cost; it goes on from what was kept", () => {
  const cost = new CostMeter();
  for (let i = 0; i < 100; i++) {
    for (const arm of ["stable", "candidate"] as const) {
      cost.take({ arm, atMs: 20 * i, bucket: "a#1", rows: 1, executeMs: 1 + (i % 3) });
    }
  }
  const after = new CostMeter(JSON.parse(JSON.stringify(cost.saved())));
  expect(after.reading()).toEqual(cost.reading());
  expect(after.reading()).toMatchObject({
    stable: { batches: 100 },
    compared: { stable: 10, candidate: 10 },
  });
});

test("of equal versions, looked at all the time, few are found to differ at any look", () => {
  let differ = 0;
  for (let run = 0; run < 60; run++) {
    const random = new Random(run);
    const cost = new CostMeter();
    let found = false;
    for (let i = 0; i < 600 && !found; i++) {
      const arm = i % 3 === 0 ? "candidate" : "stable";
      const executeMs = Math.exp(0.5 * random.normal());
      cost.take({ arm, atMs: 250 * i, bucket: "a#1", rows: 1, executeMs });
      if (i % 10 !== 0) continue;
      const { verdict } = cost.reading();
      found = verdict === "dearer" || verdict === "cheaper";
    }
    if (found) differ++;
  }
  expect(differ).toBeLessThanOrEqual(6);
});
