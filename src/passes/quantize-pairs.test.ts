import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { sound } from "../../test/sound.ts";
import { SkipwayError } from "../base/errors.ts";
import type { Graph, ValueName } from "../graph/graph.ts";
import { float32, hasBytes, numbersOf } from "../graph/tensor.ts";
import { graph } from "../graph/text.test-helper.ts";
import {
  planQuantization,
  type QuantizeOptions,
  type Range,
  withQuantizePairs,
} from "./quantize-pairs.ts";

const residual = graph`
  g (float[N,2,4,4] x) => (float[N,2,4,4] y)
  <float[2,2,1,1] w = {1, -2, 0, 0.5}, float[2] b = {1, 2}>
  { c = Conv (x, w, b)  r = Relu (c)  y = Add (r, x) }`;

/** All values of a plan in one range. */
function all(made: Graph, range: Range, options: QuantizeOptions = {}): Graph {
  const plan = planQuantization(made);
  return withQuantizePairs(plan, new Map(plan.groups.flat().map((name) => [name, range])), options);
}

function operandsOf(made: Graph, op: string): readonly string[] {
  return made.nodes
    .filter((node) => node.op === op)
    .flatMap((node) =>
      node.inputs.map((name) => made.nodes.find((one) => one.outputs.includes(name))?.op ?? name),
    );
}

/** The number that an initializer holds. */
function numberOf(made: Graph, name: ValueName): number | undefined {
  const ref = made.initializers.get(name);
  return ref === undefined ? undefined : numbersOf(ref)?.[0];
}

describe("which operands are rounded", () => {
  test("both of a sum of branches, and those of products; a bias stays", () => {
    const made = sound(all(residual, { min: -1, max: 1 }));
    expect(operandsOf(made, "Add")).toEqual(["DequantizeLinear", "DequantizeLinear"]);
    expect(operandsOf(made, "Conv")).toEqual(["DequantizeLinear", "DequantizeLinear", "b"]);
    expect(operandsOf(made, "Relu")).toEqual(["Conv"]);
    // x is read rounded by both, and rounded once.
    expect(made.nodes.filter((node) => node.op === "QuantizeLinear")).toHaveLength(2);
    expect(made.initializers.has("w")).toBe(false);
  });

  test("a mask and a bias that is computed are no branches, integers have no grid", () => {
    const made = graph`
      g (float[N,S,4] x, float[N,1,4] mask, int64[2] i) => (float[N,S,4] y, int64[4] z)
      { y = Add (x, mask)  z = Concat <axis = 0> (i, i) }`;
    expect(planQuantization(made).groups).toEqual([]);
  });

  test("what is concatenated has one scale, through chains", () => {
    const made = graph`
      g (float[N,2] x, float[N,2] z) => (float[N,2] y) <float[6,2] w = {1,1,1,1,1,1,1,1,1,1,1,1}>
      { a = Concat <axis = 1> (x, z)  b = Concat <axis = 1> (a, z)  y = MatMul (b, w) }`;
    const plan = planQuantization(made);
    expect(plan.groups.map((group) => [...group].toSorted())).toEqual([["a", "b", "x", "z"]]);
    const ranges = new Map([
      ["x", { min: 0, max: 1 }],
      ["z", { min: -2, max: 0 }],
      ["a", { min: -2, max: 1 }],
      ["b", { min: -2, max: 1 }],
    ]);
    const rounded = sound(withQuantizePairs(plan, ranges));
    const scales = rounded.nodes
      .filter((node) => node.op === "QuantizeLinear")
      .map((node) => numberOf(rounded, node.inputs[1] ?? ""));
    expect(scales).toEqual(Array.from({ length: 4 }, () => Math.fround(3 / 255)));
  });

  test("a value that is not finite, or was not seen, stays as it is", () => {
    const plan = planQuantization(residual);
    const made = withQuantizePairs(plan, new Map([["x", { min: Number.NaN, max: 1 }]]));
    expect(made.nodes.filter((node) => node.op === "QuantizeLinear")).toEqual([]);
    expect(operandsOf(made, "Conv")).toEqual(["x", "DequantizeLinear", "b"]);
  });

  test("a weight that is read elsewhere too stays beside its rounded form", () => {
    const tied = graph`
      g (int64[N] tokens, float[N,2] x) => (float[N,2] y, float[N,3] z)
      <float[3,2] w = {1, 2, 3, 4, 5, 6}>
      { y = Gather (w, tokens)  z = Gemm <transB = 1> (x, w) }`;
    const made = sound(all(tied, { min: -1, max: 1 }));
    expect(operandsOf(made, "Gather")).toEqual(["w", "tokens"]);
    expect(operandsOf(made, "Gemm")).toEqual(["DequantizeLinear", "DequantizeLinear"]);
    expect(numbersOf(made.initializers.get("w.scale") ?? float32([], [0]))).toEqual(
      [2, 4, 6].map((largest) => Math.fround(largest / 63)),
    );
  });

  test("operator sets without scales along an axis are refused", () => {
    const old = { ...residual, opsets: new Map([["", 12]]) };
    expect(() => planQuantization(old)).toThrow(SkipwayError);
  });
});

describe("how they are rounded", () => {
  const finite = fc.float({ noNaN: true, min: -1e6, max: 1e6 });

  test("zero is exact, and what lies in the range is off by half a step at most", () => {
    const range = fc
      .tuple(finite, finite)
      .map(([a, b]): Range => ({ min: Math.min(a, b), max: Math.max(a, b) }));
    fc.assert(
      fc.property(range, fc.constantFrom("uint8" as const, "int8" as const), (one, activations) => {
        const plan = planQuantization(residual);
        const made = withQuantizePairs(plan, new Map([["x", one]]), { activations });
        const scale = numberOf(made, "x.scale") ?? Number.NaN;
        const zero = numberOf(made, "x.zero_point") ?? Number.NaN;
        const [low, high] = activations === "uint8" ? [0, 255] : [-128, 127];
        const round = (v: number): number =>
          scale * (Math.min(high, Math.max(low, Math.round(v / scale) + zero)) - zero);
        expect(round(0)).toBe(0);
        for (const v of [one.min, one.max, (one.min + one.max) / 2]) {
          expect(Math.abs(round(v) - v)).toBeLessThanOrEqual(scale * 1.001);
        }
      }),
    );
  });

  test("weights: every channel by its own largest, within half a step", () => {
    const weights = fc.array(finite, { minLength: 12, maxLength: 12 });
    const shapes = fc.constantFrom([2, 3, 2], [3, 4], [4, 3]);
    fc.assert(
      fc.property(
        weights,
        shapes,
        fc.constantFrom(7 as const, 8 as const),
        (values, shape, weightBits) => {
          const isConv = shape.length === 3;
          const made = isConv
            ? graph`g (float[N,3,4] x) => (float[] y) <float[${shape}] w = {}> { y = Conv (x, w) }`
            : graph`g (float[N,${shape[0]}] x) => (float[] y) <float[${shape}] w = {}> { y = MatMul (x, w) }`;
          const given = float32(shape, values);
          const filled = { ...made, initializers: new Map([["w", given]]) };
          const rounded = all(filled, { min: -1, max: 1 }, { weightBits });
          const found = rounded.initializers.get("w.quantized") ?? expect.unreachable();
          expect(hasBytes(found) && found.dtype).toBe("int8");
          const scales = numbersOf(rounded.initializers.get("w.scale") ?? found) ?? [];
          expect(scales).toHaveLength(isConv ? 2 : (shape[1] ?? 0));
          for (const [i, q] of (numbersOf(found) ?? []).entries()) {
            const scale = scales[isConv ? Math.floor(i / 6) : i % scales.length] ?? Number.NaN;
            const exact = Math.fround(values[i] ?? Number.NaN);
            expect(Math.abs(q * scale - exact)).toBeLessThanOrEqual(scale * 0.5001 + 1e-38);
            expect(scale).toBeGreaterThan(0);
            expect(Math.abs(q)).toBeLessThan(2 ** (weightBits - 1));
          }
        },
      ),
    );
  });
});
