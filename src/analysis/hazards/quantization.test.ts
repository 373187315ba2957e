// The scales at a merge, however the file writes them: pairs of QuantizeLinear and DequantizeLinear, or integer ops.

import { describe, expect, test } from "vitest";
import { Random } from "../../base/random.ts";
import type { Graph } from "../../graph/graph.ts";
import { parseGraph } from "../../graph/parse.ts";
import { lint } from "../lint.ts";

const HEAD = '<ir_version: 10, opset_import: ["" : 20, "com.microsoft" : 1]>';

interface Scales {
  readonly shortcut: number;
  readonly branch: number;
}

function weights({ shortcut, branch }: Scales): string {
  return `<float[2,2] w = {1,2,3,4}, float s = {${shortcut}}, float t = {${branch}}, uint8 z = {128}>`;
}

/** A residual block, or a concatenation, with pairs on both operands; `through` stands behind the shortcut's. */
function pairs(scales: Scales, merge = "Add", through = "Identity"): Graph {
  return parseGraph(`${HEAD} g (float[N,2] x) => (float y) ${weights(scales)} {
    p = QuantizeLinear (x, s, z)  c = DequantizeLinear (p, s, z)  k = ${through} (c)
    h = MatMul (c, w)  r = Relu (h)
    q = QuantizeLinear (r, t, z)  d = DequantizeLinear (q, t, z)
    y = ${merge} (k, d)
  }`);
}

/** The same with the sum on integers. */
function integers(scales: Scales): Graph {
  return parseGraph(`${HEAD} g (float[N,2] x) => (float[N,2] y) ${weights(scales)} {
    p = QuantizeLinear (x, s, z)  c = DequantizeLinear (p, s, z)
    h = MatMul (c, w)  r = Relu (h)  q = QuantizeLinear (r, t, z)
    a = com.microsoft.QLinearAdd (p, s, z, q, t, z, s, z)
    y = DequantizeLinear (a, s, z)
  }`);
}

/** The number of bits that a finding names, or 0. */
function bitsOf(graph: Graph, id: string): number {
  const text = lint(graph).find((one) => one.id === id)?.text ?? "";
  return Number(/(\d+) bits/.exec(text)?.[1] ?? 0);
}

describe("bits lost at a merge", () => {
  test("are log2 of the scales' ratio, whichever is coarser, in pairs as on integers", () => {
    const random = new Random(3);
    for (let round = 0; round < 20; round++) {
      const [low, high] = [0.001 * (1 + random.uniform()), 0.001 * 2 ** (8 * random.uniform())];
      const bits = Math.floor(Math.abs(Math.log2(Math.fround(high) / Math.fround(low))));
      const expected = bits < 3 ? 0 : bits;
      for (const scales of [
        { shortcut: low, branch: high },
        { shortcut: high, branch: low },
      ]) {
        expect(bitsOf(pairs(scales), "quant/unequal-scales")).toBe(expected);
        expect(bitsOf(integers(scales), "quant/unequal-scales")).toBe(expected);
      }
    }
  });

  test("of a concatenation are told from the first on", () => {
    const concat = (branch: number) => pairs({ shortcut: 0.01, branch }, "Concat <axis = 1>");
    const found = (branch: number) =>
      lint(concat(branch)).filter(({ id }) => id === "quant/unequal-concat");
    expect(found(0.01)).toEqual([]);
    expect(found(0.0100001)).toEqual([]);
    expect(found(0.015)).toMatchObject([{ severity: "info" }]);
    expect(found(0.081)).toMatchObject([{ severity: "warning", text: /3 bits are lost/ }]);
  });
});

describe("an operand that is not quantized", () => {
  const missing = (graph: Graph) => lint(graph).filter(({ id }) => id === "quant/missing-pair");

  test("is none where an op that keeps the grid stands behind the pair", () => {
    const scales = { shortcut: 0.1, branch: 0.1 };
    expect(missing(pairs(scales, "Add", "Relu"))).toEqual([]);
    expect(missing(integers(scales))).toEqual([]);
  });

  test("is named by its position", () => {
    const found = missing(
      parseGraph(`${HEAD} g (float[N,2] x) => (float[N,2] y) ${weights({ shortcut: 1, branch: 1 })} {
        p = QuantizeLinear (x, s, z)  c = DequantizeLinear (p, s, z)
        h = MatMul (c, w)  r = Relu (h)  y = Add (c, r)
      }`),
    );
    expect(found).toMatchObject([{ severity: "warning", fix: /on operand 1\./ }]);
  });

  test("all operands in floats beside quantized layers is a remark", () => {
    const found = missing(
      parseGraph(`${HEAD} g (float[N,2] x) => (float[N,2] y) ${weights({ shortcut: 1, branch: 1 })} {
        p = QuantizeLinear (x, s, z)  c = DequantizeLinear (p, s, z)
        h = MatMul (c, w)  r = Relu (h)  y = Add (x, r)
      }`),
    );
    expect(found).toMatchObject([{ severity: "info" }]);
  });

  test("none is in a model without any, whatever its types and layouts", () => {
    const cast =
      parseGraph(`${HEAD} g (float16[N,2] x) => (float[N,2] y) <float[2,2] w = {1,2,3,4}> {
      c = Cast <to = 1> (x)  h = MatMul (c, w)  r = Relu (h)  y = Add (c, r)
    }`);
    const blocked = parseGraph(`<ir_version: 10, opset_import: ["" : 20, "com.microsoft.nchwc" : 1]>
      g (float[1,1,4,4] x) => (float[1,1,4,4] y) <float[1,1,1,1] w = {2}> {
        a = com.microsoft.nchwc.ReorderInput (x)
        h = com.microsoft.nchwc.Conv <activation = "Relu"> (a, w)
        r = com.microsoft.nchwc.ReorderOutput <channels = 1> (h)
        y = Add (x, r)
      }`);
    for (const graph of [cast, blocked]) expect(missing(graph)).toEqual([]);
  });

  test("an operand of another type stays on its grid", () => {
    const graph =
      parseGraph(`${HEAD} g (float[N,2] x) => (float[N,2] y) ${weights({ shortcut: 1, branch: 1 })} {
      p = QuantizeLinear (x, s, z)  c = DequantizeLinear (p, s, z)
      h = MatMul (c, w)  r = Relu (h)  q = QuantizeLinear (r, t, z)  d = DequantizeLinear (q, t, z)
      l = Cast <to = 10> (c)  k = Cast <to = 1> (l)  y = Add (k, d)
    }`);
    expect(missing(graph)).toEqual([]);
  });
});

describe("a branch", () => {
  test("is not linear where a grid has no negative numbers", () => {
    const told = (zero: number) =>
      lint(
        parseGraph(`${HEAD} g (float[N,2] x) => (float[N,2] y)
          <float[2,2] w = {1,2,3,4}, float s = {0.1}, uint8 z = {${zero}}> {
          h = MatMul (x, w)  q = QuantizeLinear (h, s, z)  d = DequantizeLinear (q, s, z)
          k = MatMul (d, w)  y = Add (x, k)
        }`),
      ).some(({ id }) => id === "skip/linear-branch");
    expect([told(0), told(128)]).toEqual([false, true]);
  });
});
