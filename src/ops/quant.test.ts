// What flows through rounding is no slope, so that no difference shows it: straight-through and learned step
// sizes against their formulas, written out in plain numbers.

import { describe, expect, test } from "vitest";
import { Random } from "../base/random.ts";
import { inferShapes } from "../canonical/infer-shapes.ts";
import { TypedBuilder } from "../canonical/typed-builder.ts";
import { int } from "../graph/graph.ts";
import { bytesOf, float32, tensor } from "../graph/tensor.ts";
import { differentiate } from "../passes/gradient/differentiate.ts";
import { normals, open, valuesOf } from "./gradient.test-helper.ts";

const SHAPE = [2, 5];

interface Form {
  readonly scales: readonly number[];
  readonly attributes: Readonly<Record<string, ReturnType<typeof int>>>;
  /** Which scale element (row, column) has. */
  readonly scaleOf: (row: number, column: number) => number;
}

const FORMS: Readonly<Record<string, Form>> = {
  whole: { scales: [], attributes: {}, scaleOf: () => 0 },
  "one an axis": { scales: [5], attributes: { axis: int(-1) }, scaleOf: (_row, column) => column },
  blocks: {
    scales: [2, 3],
    attributes: { axis: int(1), block_size: int(2) },
    scaleOf: (row, column) => 3 * row + Math.floor(column / 2),
  },
};

const roundHalfEven = (v: number): number => {
  const floor = Math.floor(v);
  if (v - floor === 0.5) return floor % 2 === 0 ? floor : floor + 1;
  return Math.round(v);
};

/** x quantized to int8 and back, weighted and summed; the gradients of x and of the scales. */
async function gradientsOf(
  form: Form,
  x: readonly number[],
  scales: readonly number[],
  zero: number,
  weights: readonly number[],
) {
  const builder = new TypedBuilder(undefined, 21);
  builder.input("x", "float32", SHAPE);
  builder.input("scale", "float32", form.scales);
  const points = Int8Array.from({ length: scales.length }, () => zero);
  const zeros = builder.initializer("zero", tensor("int8", form.scales, bytesOf(points)));
  const { attributes } = form;
  const q = builder.emit("QuantizeLinear", ["x", "scale", zeros], { attributes });
  const y = builder.emit("DequantizeLinear", [q, "scale", zeros], { attributes });
  const weighted = builder.emit("Mul", [y, builder.constant(float32(SHAPE, weights))]);
  builder.emit("ReduceSum", [weighted], { outputs: ["loss"], attributes: { keepdims: int(0) } });
  const graph = inferShapes(builder.finish("pair", new Map([["", 21]])));
  const made = differentiate(graph, { loss: "loss", wrt: ["x", "scale"] });
  const names = ["x", "scale"].map((name) => made.gradients.get(name) ?? "");
  await using session = await open(made.graph, names);
  const found = await session.run(
    new Map([
      ["x", float32(SHAPE, x)],
      ["scale", float32(form.scales, scales)],
    ]),
  );
  return names.map((name) => valuesOf(found, name));
}

describe("a pair of QuantizeLinear and DequantizeLinear", () => {
  test.each(Object.entries(FORMS))("scales: %s", async (_name, form) => {
    const random = new Random(5);
    const count = form.scales.reduce((a, b) => a * b, 1);
    const scales = Array.from({ length: count }, () => 0.01 + 0.02 * random.uniform()).map(
      Math.fround,
    );
    // Wide enough that some are beyond the range on either side.
    const x = normals(random, SHAPE).map((v) => Math.fround(4 * v));
    const weights = normals(random, SHAPE).map(Math.fround);
    const zero = 3;
    const dx = new Array<number>(x.length).fill(0);
    const dScale = new Array<number>(count).fill(0);
    let beyond = 0;
    for (const [i, value] of x.entries()) {
      const at = form.scaleOf(Math.floor(i / 5), i % 5);
      const [s = 1, w = 0] = [scales[at], weights[i]];
      const v = value / s + zero;
      const inside = v >= -128 && v <= 127;
      if (!inside) beyond++;
      dx[i] = inside ? w : 0;
      // Esser et al. 2020, equation 3: rounded minus exact inside, the bound outside.
      const steps = inside
        ? roundHalfEven(value / s) - value / s
        : Math.sign(v) > 0
          ? 127 - zero
          : -128 - zero;
      dScale[at] = (dScale[at] ?? 0) + w * steps;
    }
    expect(beyond).toBeGreaterThan(1);
    expect(beyond).toBeLessThan(x.length);
    const [foundX = [], foundScale = []] = await gradientsOf(form, x, scales, zero, weights);
    for (const [i, value] of dx.entries()) expect(foundX[i]).toBeCloseTo(value, 5);
    for (const [i, value] of dScale.entries()) {
      expect(Math.abs((foundScale[i] ?? NaN) - value) / Math.max(1, Math.abs(value))).toBeLessThan(
        1e-4,
      );
    }
  });
});

describe("integer ops", () => {
  test("a product of integers says why it has none, and the way round", () => {
    const builder = new TypedBuilder();
    builder.input("x", "float32", [2, 2]);
    const one = builder.constant(float32([], [1]));
    const zero = builder.constant(tensor("uint8", [], new Uint8Array(1)));
    const q = builder.emit("QuantizeLinear", ["x", one, zero]);
    const product = builder.emit("MatMulInteger", [q, q, zero, zero]);
    const y = builder.emit("Cast", [product], { attributes: { to: int(1) } });
    builder.emit("ReduceSum", [y], { outputs: ["loss"], attributes: { keepdims: int(0) } });
    const graph = inferShapes(builder.finish("integers", new Map([["", 20]])));
    const work = () => differentiate(graph, { loss: "loss", wrt: ["x"] });
    expect(work).toThrow(/MatMulInteger.*DequantizeLinear, the op on floats and QuantizeLinear/);
  });
});
