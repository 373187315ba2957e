// Cases of the rules beside those of their pages: one row each, told or not.

import { describe, expect, test } from "vitest";
import { parseGraph } from "../../graph/parse.ts";
import { lint } from "../lint.ts";

type Row = readonly [what: string, id: string, told: boolean, graph: string];

const SQUARE = "float[2,2] w = {1,2,3,4}, float[2,2] v = {1,0,0,1}, float[2] b = {1,1}";
const NORM = "float[2,2,1,1] k = {1,2,3,4}, float[2] one = {1,1}, float[2] zero = {0,0}";

const BATCH: readonly Row[] = (
  [
    ["a mean over everything", true, "ReduceMean <keepdims = 1> (x)"],
    ["a mean over the features", false, "ReduceMean (x, features)"],
    ["a mean over the batch, counted from the end", true, "ReduceMean (x, batch)"],
    ["a reduction that does nothing", false, "ReduceMean <noop_with_empty_axes = 1> (x)"],
    ["a layer norm over all axes", true, "LayerNormalization <axis = 0> (x, g)"],
    ["a layer norm over the features", false, "LayerNormalization (x, g)"],
    ["a running sum down the batch", true, "CumSum (x, down)"],
    ["a running sum along the features", false, "CumSum (x, along)"],
    ["the largest index of the batch", true, "ArgMax <axis = 0> (x)"],
  ] as const
).map(([what, told, call]): Row => {
  const known = `<int64[1] features = {1}, int64[1] batch = {-2}, float[4] g = {1,1,1,1},
    int64 down = {0}, int64 along = {1}>`;
  const body = `{ a = ${call}  y = Relu (x) }`;
  const graph = `g (float[N,4] x) => (float[N,4] y, float a) ${known} ${body}`;
  return [
    what,
    "batch/mixed-requests",
    told,
    graph.replace("float a", call.startsWith("Arg") ? "int64[?,?] a" : "float[?,?] a"),
  ];
});

const ROWS: readonly Row[] = [
  ...BATCH,
  [
    "a length that no output begins with is no batch",
    "batch/mixed-requests",
    false,
    "g (float[T,4] x) => (float[4] y) <int64[1] axes = {0}> { y = ReduceMean <keepdims = 0> (x, axes) }",
  ],
  [
    "a Reshape to the size at export",
    "batch/fixed-size",
    true,
    "g (float[N,4] x) => (float[?,2,2] y) <int64[3] to = {1,2,2}> { y = Reshape (x, to) }",
  ],
  [
    "a Reshape that leaves the first axis open",
    "batch/fixed-size",
    false,
    "g (float[N,4] x) => (float[?,2,2] y) <int64[3] to = {-1,2,2}> { y = Reshape (x, to) }",
  ],
  [
    "Dropout in training mode",
    "random/unseeded",
    true,
    "g (float[N,4] x) => (float[N,4] y) <float p = {0.5}, bool t = {1}> { y = Dropout (x, p, t) }",
  ],
  [
    "Dropout in inference",
    "random/unseeded",
    false,
    "g (float[N,4] x) => (float[N,4] y) <float p = {0.5}> { y = Dropout (x, p) }",
  ],
  [
    "random numbers in a branch of an If",
    "random/unseeded",
    true,
    `g (bool c, float[N,4] x) => (float[N,4] y) { y = If (c) <
      then_branch = t () => (float[N,4] a) { a = RandomNormalLike (x) },
      else_branch = e () => (float[N,4] d) { d = Identity (x) }> }`,
  ],
  [
    "a zero layer with an offset at the end of a branch",
    "skip/dead-branch",
    false,
    `g (float[N,2] x) => (float[N,2] y) <float[2,2] z = {0,0,0,0}, ${SQUARE}>
      { h = Gemm (x, w)  r = Relu (h)  f = Gemm (r, z, b)  y = Add (x, f) }`,
  ],
  [
    "a zero layer behind one with an offset",
    "skip/dead-branch",
    true,
    `g (float[N,2] x) => (float[N,2] y) <float[2,2] z = {0,0,0,0}, ${SQUARE}>
      { h = Gemm (x, w)  r = Relu (h)  f = MatMul (r, z)  y = Add (x, f) }`,
  ],
  [
    "a zero in the middle of a branch, with an offset behind it",
    "skip/dead-branch",
    false,
    `g (float[N,2] x) => (float[N,2] y) <float[2,2] z = {0,0,0,0}, ${SQUARE}>
      { h = MatMul (x, z)  r = Relu (h)  f = Gemm (r, w, b)  y = Add (x, f) }`,
  ],
  [
    "the zero layer of a dead branch is told once, as that",
    "weights/zero-layer",
    false,
    `g (float[N,2] x) => (float[N,2] y) <float[2,2] z = {0,0,0,0}, ${SQUARE}>
      { h = Gemm (x, w)  r = Relu (h)  f = MatMul (r, z)  y = Add (x, f) }`,
  ],
  ...[
    ["the value and what a layer makes of it", false, "c = com.microsoft.FusedConv (x, k, , x)"],
    [
      "the value twice beside a layer",
      true,
      "c = com.microsoft.FusedConv (x, k, , x)  d = Add (c, x)",
    ],
  ].map(
    ([what, told, nodes]): Row => [
      `in one node: ${what}`,
      "skip/repeated",
      told === true,
      `g (float[N,2,4,4] x) => (float[N,2,4,4] y) <${NORM}> { ${nodes}  y = Relu (${told ? "d" : "c"}) }`,
    ],
  ),
  [
    "a layer, the norm of the value as a convolution, and the value once",
    "skip/repeated",
    false,
    `g (float[N,2,4,4] x) => (float[N,2,4,4] y) <${NORM}, float[2,1,1,1] s = {2,3}>
      { a = Conv (x, k)  b = com.microsoft.FusedConv (x, k, , a)
        y = com.microsoft.FusedConv <group = 2> (x, s, , b) }`,
  ],
  [
    "a recurrent layer that starts from zeros",
    "weights/zero-layer",
    false,
    `g (float[T,1,2] x) => (float[T,1,1,1] y)
      <float[1,3,2] w = {1,2,3,4,5,6}, float[1,3,1] r = {1,2,3}, float[1,6] b = {0,0,0,0,0,0}, float[1,1,1] h = {0}>
      { y = GRU <hidden_size = 1> (x, w, r, b, , h) }`,
  ],
  [
    "a recurrent layer without weights",
    "weights/zero-layer",
    true,
    `g (float[T,1,2] x) => (float[T,1,1,1] y)
      <float[1,3,2] w = {0,0,0,0,0,0}, float[1,3,1] r = {1,2,3}>
      { y = GRU <hidden_size = 1> (x, w, r) }`,
  ],
  [
    "a layer whose bias of two axes is zero",
    "weights/zero-layer",
    false,
    `g (float[N,2] x) => (float[N,2] y) <${SQUARE}, float[1,2] zeros = {0,0}>
      { y = Gemm (x, w, zeros) }`,
  ],
  [
    "one mask of two attentions",
    "weights/shared",
    false,
    `g (float[1,1,2,2] q) => (float[1,1,2,2] y) <float[2,2] mask = {0,-1e9,0,0}>
      { a = Attention (q, q, q, mask)  y = Attention (a, a, a, mask) }`,
  ],
  [
    "a mask of minus infinity",
    "weights/not-finite",
    false,
    `g (float[1,1,2,2] q) => (float[1,1,2,2] y) <float[2,2] mask = {0,-inf,0,0}>
      { y = Attention (q, q, q, mask) }`,
  ],
  [
    "a negative variance",
    "weights/not-finite",
    true,
    `g (float[N,2,4,4] x) => (float[N,2,4,4] y) <${NORM}, float[2] bad = {1,-1}>
      { h = Conv (x, k)  y = BatchNormalization (h, one, zero, zero, bad) }`,
  ],
  [
    "a layer whose result is an output beside its norm",
    "fusion/norm-apart",
    true,
    `g (float[N,2,4,4] x) => (float[N,2,4,4] y, float[N,2,4,4] h) <${NORM}>
      { h = Conv (x, k)  y = BatchNormalization (h, one, zero, zero, one) }`,
  ],
  [
    "a norm at the start of a branch",
    "fusion/norm-apart",
    false,
    `g (float[N,2,4,4] x) => (float[N,2,4,4] y) <${NORM}>
      { h = Conv (x, k)  n = BatchNormalization (h, one, zero, zero, one)
        r = Relu (n)  f = Conv (r, k)  y = Add (h, f) }`,
  ],
  [
    "a cache that gets longer",
    "memory/inner-output",
    false,
    `g (float[1,2] x, float[3,2] past) => (float[?,2] y, float[4,2] present) <${SQUARE}>
      { present = Concat <axis = 0> (past, x)  h = MatMul (present, w)  t = Transpose (present)
        s = MatMul (h, t)  a = MatMul (s, present)  y = Relu (a) }`,
  ],
  [
    "a shortcut that takes every second row",
    "skip/lossy-shortcut",
    true,
    `g (float[1,2,4,4] x) => (float[1,2,2,2] y)
      <float[2,2,1,1] k = {1,2,3,4}, int64[2] s = {0,0}, int64[2] e = {9,9}, int64[2] a = {2,3}, int64[2] st = {2,2}>
      { h = Conv <strides = [2, 2]> (x, k)  r = Relu (h)  i = Slice (x, s, e, a, st)  y = Add (r, i) }`,
  ],
  [
    "low-rank adapters beside a layer",
    "skip/needless-projection",
    false,
    `g (float[N,2] x) => (float[N,2] y) <float[2,1] d = {1,2}, float[1,2] u = {1,2}, ${SQUARE}>
      { p = MatMul (x, d)  q = MatMul (p, u)  s = MatMul (x, w)  y = Add (q, s) }`,
  ],
];

describe.each(ROWS)("%s (%s)", (_what, id, told, graph) => {
  test(told ? "is told" : "is not told", () => {
    const ids = lint(parseGraph(`<ir_version: 10, opset_import: ["" : 20]> ${graph}`)).map(
      (one) => one.id,
    );
    if (told) expect(ids).toContain(id);
    else expect(ids).not.toContain(id);
  });
});
