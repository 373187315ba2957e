// The factors, the layers of projections, and what a skip forbids.

import { describe, expect, test } from "vitest";
import { graph } from "../../graph/text.test-helper.ts";
import { census } from "../census.ts";
import type { Skip } from "./skip.ts";

/** The skips of a network from x to y, both [N, 8, 6, 6]. */
function skipsOf(nodes: string): readonly Skip[] {
  const found = census(graph`
    g (float[N,8,6,6] x, float[N,1,1,1] drop, bool[N,1,1,1] c) => (float[N,8,?,?] y)
    < float[8,8,3,3] w = {}, float[8,8,3,3] v = {}, float[8,8,1,1] p = {}, float[8,2,1,1] g4 = {}, float[8,1,3,3] dw = {},
      float[8,1,1] gamma = {}, float zero = {}, float[1] alpha = {2.5}, float k = {0.5} >
    { ${nodes} }`);
  return found.skips;
}

const BRANCH =
  "a = Conv <pads = [1, 1, 1, 1]> (x, w) r = Relu (a) f = Conv <pads = [1, 1, 1, 1]> (r, v)";
const HALF =
  "a = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (x, w) r = Relu (a) f = Conv <pads = [1, 1, 1, 1]> (r, v)";

describe("factors", () => {
  test.each([
    ["none", "y = Add (x, f)", []],
    ["LayerScale", "s = Mul (f, gamma) y = Add (x, s)", [{ on: "branch", shape: [8, 1, 1] }]],
    [
      "ReZero, before a Dropout",
      "s = Mul (zero, f) d = Dropout (s) y = Add (x, d)",
      [{ on: "branch", shape: [] }],
    ],
    ["DeepNorm", "s = Mul (x, alpha) y = Add (s, f)", [{ on: "shortcut", shape: [1] }]],
    ["divided", "s = Div (x, k) y = Add (s, f)", [{ on: "shortcut", shape: [] }]],
    [
      "both",
      "s = Mul (x, alpha) t = Mul (f, gamma) y = Add (s, t)",
      [
        { on: "shortcut", shape: [1] },
        { on: "branch", shape: [8, 1, 1] },
      ],
    ],
  ])("%s", (_, end, gamma) => {
    expect(skipsOf(`${BRANCH} ${end}`)).toMatchObject([{ gamma, scaled: gamma.length > 0 }]);
  });

  test("DropPath multiplies by what is drawn", () => {
    const drawn = "d = RandomUniformLike (drop) keep = Greater (d, k) m = Cast <to = 1> (keep)";
    const [skip] = skipsOf(`${BRANCH} ${drawn} s = Mul (f, m) y = Add (x, s)`);
    expect(skip?.gamma).toEqual([{ on: "branch", shape: [1, 1, 1, 1] }]);
  });

  test("a factor before the last layer is the branch's own", () => {
    const scaled =
      "a = Conv <pads = [1, 1, 1, 1]> (x, w) s = Mul (a, gamma) f = Conv <pads = [1, 1, 1, 1]> (s, v)";
    expect(skipsOf(`${scaled} y = Add (x, f)`)).toMatchObject([{ gamma: [], scaled: false }]);
  });
});

describe("the layers of a projection", () => {
  test.each([
    ["an identity", `${BRANCH} y = Add (x, f)`, []],
    [
      "a convolution with a stride",
      `${HALF} q = Conv <strides = [2, 2]> (x, p) y = Add (q, f)`,
      [{ op: "Conv", kernel: [1, 1], stride: [2, 2] }],
    ],
    [
      "pooling, then groups",
      `${HALF} m = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (x) q = Conv <group = 4> (m, g4) y = Add (q, f)`,
      [{ op: "Conv", kernel: [1, 1], stride: [1, 1], group: 4 }],
    ],
    [
      "two layers, in order",
      `${HALF} q1 = Conv <group = 8, pads = [1, 1, 1, 1], strides = [2, 2]> (x, dw) q = Conv (q1, p)
       r2 = Relu (f) f2 = Conv <pads = [1, 1, 1, 1]> (r2, v) y = Add (q, f2)`,
      [
        { op: "Conv", kernel: [3, 3], stride: [2, 2], group: 8 },
        { op: "Conv", kernel: [1, 1], stride: [1, 1] },
      ],
    ],
  ])("%s", (_, nodes, projection) => {
    expect(skipsOf(nodes)).toMatchObject([{ projection }]);
  });

  test("the runtime's convolution that holds the sum", () => {
    const [skip] = skipsOf(
      `${BRANCH} y = com.microsoft.FusedConv <activation = "Relu"> (x, p, , f)`,
    );
    expect(skip?.projection).toEqual([{ op: "FusedConv", kernel: [1, 1], stride: [1, 1] }]);
  });
});

describe("writing over the source", () => {
  const layers = (from: string): string =>
    `a = Conv <pads = [1, 1, 1, 1]> (${from}, w) r = Relu (a) f = Conv <pads = [1, 1, 1, 1]> (r, v)`;

  test.each([
    [
      "pre-activation: the Relu could",
      `s = Conv (x, p) n = Relu (s) ${layers("n")} y = Add (s, f)`,
      true,
    ],
    ["a convolution cannot", `s = Conv (x, p) ${layers("s")} y = Add (s, f)`, false],
    [
      "the Relu is not the last to read it",
      `s = Conv (x, p) n = Relu (s) ${layers("s")} z = Add (n, f) y = Add (s, z)`,
      false,
    ],
  ])("%s", (_, nodes, inPlaceBlocked) => {
    expect(skipsOf(nodes).at(-1)).toMatchObject({ source: "s", inPlaceBlocked });
  });
});
