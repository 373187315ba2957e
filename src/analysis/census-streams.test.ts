// Several streams: sums with a weight for each stream, and streams that a matrix mixes; and what only looks so.

import { describe, expect, test } from "vitest";
import { graph } from "../graph/text.test-helper.ts";
import { census } from "./census.ts";

/** Kind and source of each skip; `nodes` make y, [N, 6, 8], from x. */
function rows(nodes: string, options: { start?: string } = {}): string[] {
  const model = graph`
    g (float[N,6,8] x, ${options.start ?? "float[N,6,4,8] s"}) => (float[N,6,8] y)
    < float[8,8] w = {}, float[8,8] u = {}, float[8,8] v = {}, float[8,1] q = {},
      float a1 = {}, float[1] a2 = {}, float[1,1,1] a3 = {}, float a4 = {}, float a5 = {}, float a6 = {},
      float[8] gamma = {}, float[4,4] mix = {}, float[1,4] read = {}, float[4] read1 = {}, float[4,1] write = {},
      float[4] write1 = {}, float[4,1,1,1] write3 = {}, float[4,4,1,1,1] pairs = {},
      float half = {0.5}, int64[1] last = {-1}, int64[1] rows = {-2}, int64[1] zero = {0}, int64[1] one = {1},
      int64[1] two = {2}, int64[2] flat = {4, -1}, int64[3] four = {1, 4, 1}, float[1,2] both = {}, float[2] both1 = {}, float[1,3] three = {} >
    { ${nodes} }`;
  return census(model).skips.map(({ kind, source }) => `${kind} ${source}`);
}

/** b = Relu(a·w)·u. */
const layer = (b: string, a: string): string =>
  `${b}.1 = MatMul (${a}, w) ${b}.2 = Relu (${b}.1) ${b} = MatMul (${b}.2, u)`.replaceAll(
    new RegExp(`${b}\\.`, "g"),
    `${b}_`,
  );
const multi = (...sources: string[]): string[] => sources.map((one) => `multi-stream ${one}`);

describe("weighed sums", () => {
  const block = (b: string, a: string): string => `${layer(`${b}f`, a)} ${b} = Add (${a}, ${b}f)`;

  test("DenseFormer: over residual blocks, one skip for each earlier stream", () => {
    const first = `${block("b1", "x")} p1 = Mul (x, a1) p2 = Mul (b1, a2) m1 = Add (p1, p2)`;
    const second = `${block("b2", "m1")} p3 = Mul (x, a3) p4 = Mul (m1, a4) p5 = Mul (a5, b2)`;
    const sums = ["m2 = Sum (p3, p4, p5)", "k = Add (p4, p5) m2 = Add (p3, k)"];
    for (const sum of sums) {
      expect(rows(`${first} ${second} ${sum} y = MatMul (m2, v)`)).toEqual([
        ...["identity x", ...multi("x"), "identity m1", ...multi("x", "m1")],
      ]);
    }
  });

  test("over plain layers: the first sum, of two streams, too", () => {
    const nodes = `${layer("f", "x")} p1 = Mul (x, a1) p2 = Mul (f, a2) m1 = Add (p1, p2)
      ${layer("h", "m1")} p3 = Mul (x, a3) p4 = Mul (f, a4) p5 = Mul (h, a5) m2 = Sum (p3, p4, p5) y = Relu (m2)`;
    expect(rows(nodes)).toEqual(multi("x", "x", "f"));
  });

  test("a softmax over learned numbers", () => {
    const share = "sh = Softmax <axis = 0> (both1) s1, s2 = Split <axis = 0, num_outputs = 2> (sh)";
    const nodes = `${share} ${layer("f", "x")} p1 = Mul (x, s1) p2 = Mul (f, s2) y = Add (p1, p2)`;
    expect(rows(nodes)).toEqual(multi("x"));
  });

  test("a factor before the paths part is no weight in the sum, nor is the slope of an activation", () => {
    const scaled = `x1 = Mul (x, a1) ${layer("f", "x1")} x2 = Mul (f, a2) ${layer("h", "x2")}`;
    expect(rows(`${scaled} y = Sum (x1, x2, h)`)).toEqual(["identity x1", "identity x2"]);
    const leaky = `x1 = LeakyRelu <alpha = 0.1> (x) ${layer("f", "x1")} x2 = LeakyRelu <alpha = 0.1> (f)`;
    expect(rows(`${leaky} ${layer("h", "x2")} y = Sum (x1, x2, h)`)).toEqual([
      ...["identity x1", "identity x2"],
    ]);
  });

  test("a scaled residual is none, with a weight for each side or not", () => {
    expect(rows(`${layer("f", "x")} p = Mul (x, a1) q1 = Mul (f, a2) y = Add (p, q1)`)).toEqual([
      "identity x",
    ]);
    expect(rows(`${block("b", "x")} q1 = Mul (b, a2) y = Add (x, q1)`)).toEqual([
      ...["identity x", "identity x"],
    ]);
    // Two layers in one branch whose results are added are no block.
    const sum = `${layer("f", "x")} ${layer("g1", "x")} s1 = Add (f, g1) t = Relu (s1)`;
    expect(rows(`${sum} p = Mul (x, a1) q1 = Mul (t, a2) y = Add (p, q1)`)).toEqual(["identity x"]);
  });

  test("streams in a list, mixed by numbers: every stream in every sum", () => {
    const start = "h1 = MatMul (x, w) h2 = MatMul (x, u)";
    const read = "r1 = Mul (h1, a1) r2 = Mul (h2, a2) r = Add (r1, r2)";
    const write = (i: number, [a, b, c]: string[]): string =>
      `k${i}1 = Mul (h1, ${a}) k${i}2 = Mul (h2, ${b}) w${i} = Mul (f, ${c})
       s${i}1 = Add (k${i}1, k${i}2) s${i} = Add (s${i}1, w${i})`;
    const end = `${write(1, ["a3", "a4", "a5"])} ${write(2, ["a5", "a6", "a1"])} y = Mul (s1, s2)`;
    expect(rows(`${start} ${read} ${layer("f", "r")} ${end}`)).toEqual(
      multi("h1", "h2", "h1", "h2"),
    );
  });

  test("a value residual: the first layer's values, weighed", () => {
    const attend = (b: string, a: string, value: string): string =>
      `${b}q = MatMul (${a}, w) ${b}k = MatMul (${a}, u) ${b}t = Transpose <perm = [0, 2, 1]> (${b}k)
       ${b}s = MatMul (${b}q, ${b}t) ${b}p = Softmax <axis = -1> (${b}s) ${b}m = MatMul (${b}p, ${value})
       ${b}o = MatMul (${b}m, v) ${b} = Add (${a}, ${b}o)`;
    const first = `v1 = MatMul (x, v) ${attend("b1", "x", "v1")}`;
    const second = "v2 = MatMul (b1, w) l1 = Mul (v1, a1) l2 = Mul (v2, a2) vv = Add (l1, l2)";
    expect(rows(`${first} ${second} ${attend("y", "b1", "vv")}`)).toEqual([
      ...["identity x", ...multi("v1"), "identity b1"],
    ]);
  });
});

test("weighted sums over scales are none: two layers of a BiFPN", () => {
  const model = graph`
    g (float[N,8,16,16] p1, float[N,8,8,8] q1) => (float[N,8,16,16] p5, float[N,8,8,8] q5)
    < float[8,8,3,3] w = {}, float[8,8,3,3] u = {}, float a1 = {}, float a2 = {}, float a3 = {}, float[4] twice = {1, 1, 2, 2} >
    {
      ${[1, 3]
        .map(
          (i) => `
      up${i} = Resize <mode = "nearest"> (q${i}, , twice)
      pa${i} = Mul (p${i}, a1) pb${i} = Mul (up${i}, a2) ps${i} = Add (pa${i}, pb${i}) pr${i} = Relu (ps${i})
      p${i + 2} = Conv <pads = [1, 1, 1, 1]> (pr${i}, w)
      down${i} = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (p${i + 2})
      qa${i} = Mul (q${i}, a3) qb${i} = Mul (down${i}, a1) qs${i} = Add (qa${i}, qb${i}) qr${i} = Relu (qs${i})
      q${i + 2} = Conv <pads = [1, 1, 1, 1]> (qr${i}, u)`,
        )
        .join("\n")}
    }`;
  const found = census(model);
  expect(found.counts).toMatchObject({ total: 3, additiveIdentity: 3, multiStream: 0 });
});

describe("attention over the layers before", () => {
  const unsqueezed = (...names: string[]): string =>
    names.map((name) => `${name}r = Unsqueeze (${name}, rows)`).join(" ");
  const scores = `n = RMSNormalization (st, gamma) sc = MatMul (n, q) sh = Softmax <axis = -2> (sc)`;
  const start = `${layer("f", "x")} ${layer("h", "f")} ${unsqueezed("x", "f", "h")}`;

  test.each([
    ["a product and a sum", `${scores} p = Mul (sh, st) y = ReduceSum <keepdims = 0> (p, rows)`],
    [
      "a product with a matrix",
      `${scores} t = Transpose <perm = [0, 1, 3, 2]> (sh) p = MatMul (t, st) y = Squeeze (p, rows)`,
    ],
    [
      "the stack turned",
      `${scores} t = Transpose <perm = [0, 1, 3, 2]> (st) p = MatMul (t, sh) y = Squeeze (p, last)`,
    ],
    [
      "an Einsum",
      `${scores} o = Squeeze (sh, last) y = Einsum <equation = "ntl,ntld->ntd"> (o, st)`,
    ],
    ["constant weights", "p = MatMul (three, st) y = Squeeze (p, rows)"],
  ])("%s", (_, end) => {
    expect(rows(`${start} st = Concat <axis = -2> (xr, fr, hr) ${end}`)).toEqual(multi("x", "f"));
    const grown = "two1 = Concat <axis = 2> (xr, fr) st = Concat <axis = 2> (two1, hr)";
    expect(rows(`${start} ${grown} ${end}`)).toEqual(multi("x", "f"));
  });

  test("a list with the parts of one softmax", () => {
    const parts = "l1, l2, l3 = Split <axis = -2, num_outputs = 3> (sh)";
    const cut = "c1 = Squeeze (l1, rows) c2 = Squeeze (l2, rows) c3 = Squeeze (l3, rows)";
    const sum = "p1 = Mul (c1, x) p2 = Mul (c2, f) p3 = Mul (c3, h) y = Sum (p1, p2, p3)";
    const stack = "st = Concat <axis = -2> (xr, fr, hr)";
    expect(rows(`${start} ${stack} ${scores} ${parts} ${cut} ${sum}`)).toEqual([
      // The stack from which the softmax comes.
      ...["concat x", ...multi("x", "f")],
    ]);
  });

  test("a mean over branches, and one over channels, are none", () => {
    const branches = `${layer("f", "x")} ${layer("h", "x")} ${unsqueezed("f", "h")}`;
    const stack = "st = Concat <axis = -2> (fr, hr)";
    expect(rows(`${branches} ${stack} p = MatMul (both, st) y = Squeeze (p, rows)`)).toEqual([]);
    const wide = `${layer("f", "x")} st = Concat <axis = -1> (x, f) y = ReduceSum <keepdims = 0> (st, last)`;
    expect(rows(wide)).toEqual(["concat x"]);
  });
});

describe("hyper-connections", () => {
  const F = layer("f", "r");
  const LAST = "float[N,6,4,8] s";
  const FIRST = "float[4,N,6,8] s";
  const out = "y = ReduceMean <keepdims = 0> (s2, rows)";
  const outFirst = "y = ReduceMean <keepdims = 0> (s2, zero)";

  test.each([
    [
      "[…, n, D], products with matrices",
      LAST,
      `r0 = MatMul (read, s) r = Squeeze (r0, rows) ${F} fr = Unsqueeze (f, rows)
       k = MatMul (mix, s) wr = MatMul (write, fr) s2 = Add (k, wr) ${out}`,
    ],
    [
      "[…, n, D], written by a product",
      LAST,
      `r0 = MatMul (read, s) r = Squeeze (r0, rows) ${F} fr = Unsqueeze (f, rows)
       k = MatMul (mix, s) wr = Mul (fr, write) s2 = Add (wr, k) ${out}`,
    ],
    [
      "[…, n, D], spread by the sum",
      LAST,
      `r0 = MatMul (read, s) r = Squeeze (r0, rows) ${F} fr = Unsqueeze (f, rows)
       k = MatMul (mix, s) s2 = Add (k, fr) ${out}`,
    ],
    [
      "[…, n, D], matrices computed from the streams",
      LAST,
      `sn = RMSNormalization (s, gamma) z = Transpose <perm = [0, 1, 3, 2]> (sn)
       g0 = MatMul (sn, z) g1 = Tanh (g0) dyn = Add (g1, mix) r0 = MatMul (read, s) r = Squeeze (r0, rows) ${F}
       fr = Unsqueeze (f, rows) k = MatMul (dyn, s) wr = Mul (fr, write) s2 = Add (wr, k) ${out}`,
    ],
    [
      "[n, …, D], Einsum",
      FIRST,
      `r = Einsum <equation = "i,ibtd->btd"> (read1, s) ${F}
       k = Einsum <equation = "ij,jbtd->ibtd"> (mix, s) wr = Einsum <equation = "i,btd->ibtd"> (write1, f)
       s2 = Add (k, wr) ${outFirst}`,
    ],
    [
      "[n, …, D], Einsum with an ellipsis",
      FIRST,
      `r = Einsum <equation = "i,i...->..."> (read1, s) ${F} fr = Unsqueeze (f, zero)
       k = Einsum <equation = "ij,j...->i..."> (mix, s) wr = Mul (fr, write3) s2 = Add (k, wr) ${outFirst}`,
    ],
    [
      "[n, …, D], reshaped for a product",
      FIRST,
      `sf = Reshape (s, flat) r0 = MatMul (read, sf) size = Shape (x) r = Reshape (r0, size) ${F}
       fr = Unsqueeze (f, zero) k0 = MatMul (mix, sf) whole = Shape (s) k = Reshape (k0, whole)
       wr = Mul (fr, write3) s2 = Add (k, wr) ${outFirst}`,
    ],
    [
      "[n, …, D], pairs",
      FIRST,
      `r = Einsum <equation = "i,ibtd->btd"> (read1, s) ${F} fr = Unsqueeze (f, zero)
       sx = Unsqueeze (s, zero) pp = Mul (pairs, sx) k = ReduceSum <keepdims = 0> (pp, one)
       wr = Mul (fr, write3) s2 = Add (k, wr) ${outFirst}`,
    ],
  ])("%s: one skip for each layer", (_, start, nodes) => {
    // The nearest source is the value that both sides read.
    expect(rows(nodes, { start })).toEqual(multi(nodes.includes("(mix, sf)") ? "sf" : "s"));
  });

  test("a mixer of tokens, and a projection with a small matrix, are none", () => {
    const small = "float[N,6,4] s";
    const projected =
      "k = MatMul (s, mix) b1 = MatMul (s, mix) b2 = Relu (b1) b3 = MatMul (b2, mix)";
    expect(rows(`${projected} s2 = Add (k, b3) y = Relu (s2)`, { start: small })).toEqual([
      "projection s",
    ]);
    // What is pooled over tokens is added to all of them; the matrix mixes channels.
    const context = `p = ReduceMean (s, rows) c1 = MatMul (p, mix) c2 = Relu (c1) c3 = MatMul (c2, mix)`;
    expect(
      rows(`k = MatMul (s, mix) ${context} s2 = Add (k, c3) y = Relu (s2)`, { start: small }),
    ).toEqual(["projection s"]);
    // As many tokens as channels: what is spread over the one is not mixed along the other.
    const square = `k = MatMul (s, mix) ${context} e = Expand (c3, four) s2 = Add (k, e) y = Relu (s2)`;
    expect(rows(square, { start: "float[N,4,4] s" })).toEqual(["projection s"]);
    const mixer = `t = Transpose <perm = [0, 1, 3, 2]> (s) t1 = MatMul (t, mix) t2 = Relu (t1)
      t3 = MatMul (t2, mix) t4 = Transpose <perm = [0, 1, 3, 2]> (t3) s2 = Add (s, t4) ${out}`;
    expect(rows(mixer)).toEqual(["identity s"]);
  });
});
