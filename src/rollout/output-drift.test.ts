import { expect, test } from "vitest";
import { Random } from "../base/random.ts";
import { float32, int64 } from "../graph/tensor.ts";
import type { Tensors } from "../runtime/runner.ts";
import { OutputDrift } from "./output-drift.ts";

/** Scores of ten classes in which one wins. */
function scores(winner: number): Tensors {
  const row = Array.from({ length: 10 }, (_, i) => (i === winner ? 1 : 0));
  return new Map([["scores", float32([1, 10], row)]]);
}

function value(number: number): Tensors {
  return new Map([["price", float32([1, 1], [number])]]);
}

test("the winning class of each version is counted; a candidate that never says 3 has drifted", () => {
  const drift = new OutputDrift();
  for (let i = 0; i < 400; i++) {
    drift.take({ arm: "stable", share: 0.5, outputs: scores(i % 10) });
    const other = i % 10 === 3 ? 5 : i % 10;
    drift.take({ arm: "candidate", share: 0.5, outputs: scores(other) });
  }
  const [reading] = drift.readings();
  expect(reading).toMatchObject({ output: "scores", kind: "class", verdict: "drifted" });
  expect(reading).toMatchObject({ stable: 400, candidate: 400 });
  expect(reading?.bins.slice(0, 2)).toEqual([
    { name: "3", stable: 40, candidate: 0 },
    { name: "5", stable: 40, candidate: 80 },
  ]);
});

test("a ramp turns nothing round: what is asked changes with the share, and equal versions stay equal", () => {
  const random = new Random(3);
  const drift = new OutputDrift();
  // In the morning, at 1 %, class 0 is asked for; in the evening, at 50 %, class 1.
  for (const [share, winner] of [
    [0.01, 0],
    [0.5, 1],
  ] as const) {
    for (let i = 0; i < 20_000; i++) {
      const arm = random.uniform() < share ? "candidate" : "stable";
      drift.take({ arm, share, outputs: scores(winner) });
    }
  }
  const [reading] = drift.readings();
  expect(reading?.verdict).toBe("no drift seen");
  // Of the 19,800 requests of stable in the morning about as many count as the candidate had.
  expect(reading?.bins.find(({ name }) => name === "0")?.stable).toBeLessThan(300);
  expect(reading?.stable).toBeLessThan(11_000);
  expect(reading?.stable).toBeGreaterThan(9000);
});

test("values are compared over deciles of stable's first ones; what is no number has a bin of its own", () => {
  const random = new Random(4);
  const drift = new OutputDrift();
  for (let i = 0; i < 256; i++) {
    drift.take({ arm: "stable", share: 0, outputs: value(random.normal()) });
  }
  expect(drift.readings()).toMatchObject([{ kind: "value", stable: 0, verdict: "too few" }]);
  for (let i = 0; i < 1000; i++) {
    drift.take({ arm: "stable", share: 0.5, outputs: value(random.normal()) });
    drift.take({ arm: "candidate", share: 0.5, outputs: value(random.normal()) });
  }
  expect(drift.readings()).toMatchObject([{ stable: 1000, verdict: "no drift seen" }]);
  const saved = JSON.parse(JSON.stringify(drift.saved()));
  const after = new OutputDrift(saved);
  for (let i = 0; i < 1000; i++) {
    const moved = i % 4 === 0 ? Number.NaN : random.normal() + 1;
    after.take({ arm: "candidate", share: 0.5, outputs: value(moved) });
  }
  const [reading] = after.readings();
  expect(reading).toMatchObject({ stable: 1000, candidate: 2000, verdict: "drifted" });
  expect(reading?.bins.find(({ name }) => name === "not a number")?.candidate).toBe(250);
  expect(reading?.bins.some(({ name }) => name.startsWith("> "))).toBe(true);
});

test("one client counts once, an answer of many rows as one, and copies on both sides", () => {
  const drift = new OutputDrift();
  for (let i = 0; i < 100; i++) {
    drift.take({ arm: "stable", share: 0.5, key: 7, outputs: scores(1) });
    drift.take({ arm: "candidate", share: 0.5, key: 8, outputs: scores(2) });
  }
  expect(drift.readings()).toMatchObject([{ stable: 1, candidate: 1 }]);
  const rows = new Map([["scores", float32([3, 2], [1, 0, 1, 0, 1, 0])]]);
  drift.takePair({ stable: rows, candidate: rows });
  expect(drift.readings()).toMatchObject([{ stable: 2, candidate: 2 }]);
});

test("class numbers, text, and more outputs and classes than are kept", () => {
  const drift = new OutputDrift();
  for (let i = 0; i < 500; i++) {
    const outputs = new Map([["label", int64([1], [i])]]);
    for (let k = 0; k < 6; k++) outputs.set(`more${k}`, float32([1, 2], [0, 1]));
    drift.takePair({ stable: outputs, candidate: outputs });
  }
  const readings = drift.readings();
  expect(readings.map(({ output }) => output)).toEqual(["label", "more0", "more1", "more2"]);
  const [label] = drift.saved().outputs;
  expect(label?.rows).toHaveLength(257);
  expect(label?.rows.at(-1)).toEqual([-1, 244, 244]);
});
