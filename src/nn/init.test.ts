import { describe, expect, test } from "vitest";
import { float32, float32Values } from "../graph/tensor.ts";
import { buildNet, conv, convTranspose, dense, depthwise, type Layer } from "./index.ts";
import { type FanOptions, fansOf, type Init, initialTensor } from "./init.ts";
import { runWith } from "./layers/layers.test-helper.ts";

function valuesOf(init: Init, shape: readonly number[], more: FanOptions = {}): Float32Array {
  return float32Values(initialTensor(init, { name: "w", shape, seed: 3, ...more }));
}

function moments(values: Float32Array): { mean: number; variance: number } {
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  const variance = values.reduce((a, v) => a + (v - mean) ** 2, 0) / values.length;
  return { mean, variance };
}

describe("rules", () => {
  const image = [64, 32, 3, 3];
  const [into, out] = [32 * 9, 64 * 9];
  test.each<readonly [Init, readonly number[], number]>([
    ["he", image, 2 / into],
    [{ name: "he", fan: "out" }, image, 2 / out],
    [{ name: "he", gain: 0.5 }, image, 0.5 / into],
    ["he-uniform", image, 2 / into],
    ["xavier", image, 2 / (into + out)],
    ["xavier", [80, 50], 2 / 130],
    ["xavier-normal", image, 2 / (into + out)],
    [{ name: "normal", deviation: 0.02 }, image, 0.0004],
    // The variance that is left between -2 and 2: 1 - 4φ(2) / (2Φ(2) - 1).
    [{ name: "truncated-normal", deviation: 0.02 }, image, 0.0004 * 0.7737413],
    [{ name: "uniform", bound: 0.3 }, image, 0.03],
  ])("%j of %j has mean 0 and the variance that it should", (init, shape, variance) => {
    const values = valuesOf(init, shape);
    const found = moments(values);
    expect(Math.abs(found.mean)).toBeLessThan(5 * Math.sqrt(variance / values.length));
    expect(Math.abs(found.variance / variance - 1)).toBeLessThan(5 * Math.sqrt(2 / values.length));
  });

  test("fixed ones", () => {
    expect([...valuesOf(0.5, [3])]).toEqual([0.5, 0.5, 0.5]);
    expect([...valuesOf("zero", [2])]).toEqual([0, 0]);
    expect([...valuesOf({ name: "one", gain: 3 }, [2])]).toEqual([3, 3]);
    expect([...valuesOf("identity", [2, 3])]).toEqual([1, 0, 0, 0, 1, 0]);
  });

  test("a seed and a name give the same values, others give others", () => {
    const weight = { name: "a", shape: [4, 4], seed: 1 };
    for (const init of ["he", "xavier", "orthogonal"] as const) {
      const values = initialTensor(init, weight);
      expect(initialTensor(init, weight)).toEqual(values);
      expect(initialTensor(init, { ...weight, name: "b" })).not.toEqual(values);
      expect(initialTensor(init, { ...weight, seed: 2 })).not.toEqual(values);
    }
  });

  test("orthogonal: rows, or columns where there are fewer, of length 1 at right angles", () => {
    for (const shape of [
      [6, 6],
      [5, 12],
      [12, 5],
      [8, 3, 2, 2],
    ]) {
      const values = valuesOf({ name: "orthogonal", gain: 2 }, shape);
      const rows = shape[0] ?? 1;
      const columns = values.length / rows;
      const few = Math.min(rows, columns);
      const at = (i: number, k: number): number =>
        values[rows <= columns ? i * columns + k : k * columns + i] ?? 0;
      for (let i = 0; i < few; i++) {
        for (let j = 0; j < few; j++) {
          let product = 0;
          for (let k = 0; k < Math.max(rows, columns); k++) product += at(i, k) * at(j, k);
          expect(product).toBeCloseTo(i === j ? 4 : 0, 5);
        }
      }
    }
  });
});

describe("fans", () => {
  /** How often each weight is used: products into a middle output, and out of a middle input. */
  test("are counted, not guessed", () => {
    expect(fansOf([64, 32, 3, 3], {})).toEqual({ in: 288, out: 576 });
    expect(fansOf([64, 8, 3, 3], { groups: 4 })).toEqual({ in: 72, out: 144 });
    expect(fansOf([32, 1, 3, 3], { groups: 32 })).toEqual({ in: 9, out: 9 });
    expect(fansOf([32, 64, 4, 4], { transposed: [2, 2] })).toEqual({ in: 128, out: 1024 });
    expect(fansOf([32, 16, 2, 2], { transposed: [2, 2], groups: 4 })).toEqual({ in: 8, out: 64 });
    expect(fansOf([50, 80], { transposed: [] })).toEqual({ in: 50, out: 80 });
  });

  const layers: readonly (readonly [string, Layer, readonly number[]])[] = [
    ["conv", conv(64, 3, { padding: 0 }), [32, 12, 12]],
    ["grouped conv", conv(64, 3, { padding: 0, groups: 4 }), [32, 12, 12]],
    ["depthwise", depthwise(3, { padding: 0, init: "he" }), [256, 8, 8]],
    ["transposed", convTranspose(64, 2, { stride: 2 }), [32, 6, 6]],
    ["grouped transposed", convTranspose(64, 4, { stride: 4, groups: 2 }), [32, 4, 4]],
    ["dense", dense(256, { init: "he" }), [128]],
    ["dense over a sequence", dense(256, { init: "he" }), [4, 128]],
  ];

  /** He et al. 2015: Var(y) = fan-in · Var(w) · E(x²), which is 2 where E(x²) is 1. */
  test.each(layers)("%s keeps the variance of what it gets", async (_name, layer, shape) => {
    const input = { name: "x", shape };
    const graph = buildNet(layer, { input, output: "y", seed: 5 });
    const x = initialTensor(
      { name: "normal", deviation: 1 },
      { name: "x", shape: [48, ...shape], seed: 1 },
    );
    const found = await runWith(graph, { x: float32(x.shape, float32Values(x)) });
    const data = found.get("y")?.data ?? [];
    const variance = data.reduce((a, v) => a + v * v, 0) / data.length;
    // Each output channel has one set of weights: a few thousand of them, a few per cent apart.
    expect(Math.abs(variance / 2 - 1)).toBeLessThan(0.1);
  });
});
