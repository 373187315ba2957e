// Skips in the bodies of Loop and Scan: of one round, from round to round, and from outside.

import { describe, expect, test } from "vitest";
import type { Graph } from "../graph/graph.ts";
import { graph } from "../graph/text.test-helper.ts";
import { census } from "./census.ts";

/** Source, merge, whether gated, where it starts, and trips of each skip. */
function rows(model: Graph): unknown[] {
  return census(model).skips.map(({ kind, source, merge, recurrence }) => [
    kind,
    source,
    merge,
    recurrence?.gated,
    recurrence?.from,
    recurrence?.trips,
  ]);
}

/** A Loop of the state h, [N, 8]; `nodes` make `h2` from `h`. */
function loop(nodes: string, options: { start?: string; trips?: string } = {}): Graph {
  const { start = "x", trips = "int64 m = {6}" } = options;
  return graph`
    g (float[N,8] x, float[N,8] e, float[5,N,8] xs, bool c) => (float[N,8] y)
    < ${trips}, float[8,8] w = {}, float[8,8] u = {}, float[8,8] v = {}, float one = {1} >
    {
      y = Loop (m, , ${start}) <body = b (int64 i, bool go, float[N,8] h) => (bool go2, float[N,8] h2)
      {
        ${nodes}
        go2 = Identity (go)
      }>
    }`;
}

const RESIDUAL = "a = MatMul (h, w) r = Relu (a) f = MatMul (r, u)";

/** One round of the cell of an LSTM; `x` is what comes in. */
const LSTM = `
  wx = MatMul (x, w) uh = MatMul (h, u) all = Add (wx, uh)
  [cut] p, q, r, s = Split <axis = -1, num_outputs = 4> (all)
  f = Sigmoid (p) i = Sigmoid (q) o = Sigmoid (r) n = Tanh (s)
  fc = Mul (f, c) in = Mul (i, n) [cell] c2 = Add (fc, in)
  t = Tanh (c2) h2 = Mul (o, t)`;

/** The same with one squashing function for the three gates. */
const LSTM_SQUASHED_FIRST = `
  wx = MatMul (x, w) uh = MatMul (h, u) all = Add (wx, uh)
  pqr, s = Split <axis = -1> (all, sizes) gates = Sigmoid (pqr)
  f, i, o = Split <axis = -1, num_outputs = 3> (gates) n = Tanh (s)
  fc = Mul (c, f) in = Mul (n, i) [cell] c2 = Add (in, fc)
  t = Tanh (c2) h2 = Mul (o, t)`;

function lstm(cell: string, form: "Scan" | "Loop"): Graph {
  const known = "float[4,32] w = {}, float[8,32] u = {}";
  const inner =
    form === "Scan"
      ? `b (float[N,8] h, float[N,8] c, float[N,4] x) => (float[N,8] h2, float[N,8] c2, float[N,8] h3)
         { ${cell} h3 = Identity (h2) }`
      : `b (int64 t0, bool go, float[N,8] h, float[N,8] c)
           => (bool go2, float[N,8] h2, float[N,8] c2, float[N,8] h3)
         { x = Gather <axis = 0> (xs, t0) ${cell} h3 = Identity (h2) go2 = Identity (go) }`;
  const call =
    form === "Scan"
      ? `ht, ct, y = Scan (h0, c0, xs) <num_scan_inputs = 1, body = ${inner}>`
      : `ht, ct, y = Loop (m, , h0, c0) <body = ${inner}>`;
  return graph`
    g (float[7,N,4] xs, float[N,8] h0, float[N,8] c0) => (float[7,N,8] y)
    < ${known}, int64 m = {7}, int64[2] sizes = {24, 8} > { ${call} }`;
}

const GRU = `
  wx = MatMul (x, w) uh = MatMul (h, u) zz = Add (wx, uh) z = Sigmoid (zz)
  wn = MatMul (x, w) un = MatMul (h, v) nn = Add (wn, un) n = Tanh (nn)`;

describe("the state is the shortcut", () => {
  test("h' = h + f(h): once, with the number of rounds", () => {
    const model = loop(`${RESIDUAL} [merge] h2 = Add (h, f)`);
    expect(rows(model)).toEqual([["recurrent", "h", "merge", false, "state", 6]]);
    expect(census(model).counts).toMatchObject({ total: 1, recurrent: 1, gated: 0 });
  });

  test("h' = f(h): none", () => {
    expect(rows(loop(`${RESIDUAL} h2 = Identity (f)`))).toEqual([]);
  });

  test.each(["Scan", "Loop"] as const)("the cell of an LSTM in a %s is gated", (form) => {
    const expected = [["recurrent", "c", "cell", true, "state", 7]];
    expect(rows(lstm(LSTM, form))).toEqual(expected);
    expect(rows(lstm(LSTM_SQUASHED_FIRST, form))).toEqual(expected);
  });

  test.each([
    ["(1 - z)·n + z·h", "k = Sub (one, z) a = Mul (k, n) b = Mul (z, h) [cell] h2 = Add (a, b)"],
    ["n + z·(h - n)", "d = Sub (h, n) a = Mul (z, d) [cell] h2 = Add (n, a)"],
    ["n - z·(n - h)", "d = Sub (n, h) a = Mul (z, d) [cell] h2 = Sub (n, a)"],
    ["h + z·(n - h)", "d = Sub (n, h) a = Mul (z, d) [cell] h2 = Add (h, a)"],
  ])("the cell of a GRU as %s", (_, end) => {
    const expected = [["recurrent", "h", "cell", true, "state", 6]];
    expect(rows(loop(`${GRU} ${end}`))).toEqual(expected);
  });

  test("a state to which something is added that does not come from it: none", () => {
    expect(rows(loop("f = MatMul (x, w) h2 = Add (h, f)", { start: "e" }))).toEqual([]);
    // A linear recurrence: the decay comes from what comes in.
    const decay = "x0 = Gather <axis = 0> (xs, i) z = Sigmoid (x0) a = Mul (h, z)";
    expect(rows(loop(`${decay} f = MatMul (x0, w) h2 = Add (a, f)`, { start: "e" }))).toEqual([]);
  });

  test("sums over rounds, caches and cells without a gate are none", () => {
    const model = graph`
      g (float[7,N,8] xs, float[N,8] h0, float[N,8] s0, float[N,1,8] k0) => (float[N,8] y)
      < float[8,8] w = {}, float[8,8] u = {}, int64 m = {7}, int64[1] axis = {1} >
      {
        ht, y, k = Loop (m, , h0, s0, k0) <body = b (int64 t, bool go, float[N,8] h, float[N,8] s, float[N,T,8] k1)
          => (bool go2, float[N,8] h2, float[N,8] s2, float[N,T2,8] k2)
        {
          x = Gather <axis = 0> (xs, t)
          wx = MatMul (x, w) uh = MatMul (h, u) a = Add (wx, uh) h2 = Tanh (a)
          s2 = Add (s, h2)
          row = Unsqueeze (h2, axis) k2 = Concat <axis = 1> (k1, row)
          go2 = Identity (go)
        }>
      }`;
    expect(rows(model)).toEqual([]);
  });
});

describe("the source lies outside", () => {
  test("h' = f(h) + e, in every round", () => {
    const expected = [["recurrent", "e", "merge", false, "outside", 6]];
    expect(rows(loop(`${RESIDUAL} [merge] h2 = Add (f, e)`))).toEqual(expected);
  });

  test("h' = h + f(h) + e has two sources", () => {
    const found = rows(loop(`${RESIDUAL} s = Add (h, f) [merge] h2 = Add (s, e)`));
    expect(found).toHaveLength(2);
    expect(found).toContainEqual(["recurrent", "h", "merge", false, "state", 6]);
    expect(found).toContainEqual(["recurrent", "e", "merge", false, "outside", 6]);
  });

  test("one step of a sequence in each round, or a layer of it: none", () => {
    const step = "s = Gather <axis = 0> (xs, i)";
    expect(rows(loop(`${RESIDUAL} ${step} h2 = Add (f, s)`))).toEqual([]);
    expect(rows(loop(`${RESIDUAL} s = MatMul (e, v) h2 = Add (f, s)`))).toEqual([]);
  });

  test("a step that keeps its axis, and keys of attention to which the state is added: none", () => {
    const model = (nodes: string): Graph => graph`
      g (float[1,N,8] x, float[5,N,8] xs) => (float[1,N,8] y)
      < int64 m = {5}, int64[1] one = {1}, int64[1] zero = {0}, float[8,8] w = {}, float[8,1] v = {} >
      {
        y = Loop (m, , x) <body = b (int64 i, bool go, float[1,N,8] h) => (bool go2, float[1,N,8] h2)
        { a = MatMul (h, w) r = Relu (a) ${nodes} go2 = Identity (go) }>
      }`;
    const from = "from = Unsqueeze (i, zero) to = Add (from, one)";
    expect(rows(model(`${from} s = Slice (xs, from, to, zero) h2 = Add (r, s)`))).toEqual([]);
    const scores = "k = Add (xs, r) t = Tanh (k) l = MatMul (t, v) p = Softmax <axis = 0> (l)";
    const read = "q = Mul (p, xs) c = ReduceSum (q, zero) u = MatMul (c, w) h2 = Tanh (u)";
    expect(rows(model(`${scores} ${read}`))).toEqual([]);
  });

  test("a skip that begins and ends in one round", () => {
    const step = "s = Gather <axis = 0> (xs, i) a = MatMul (s, w) r = Relu (a) b = MatMul (r, u)";
    const found = rows(loop(`${step} k = Add (s, b) m1 = MatMul (h, v) [merge] h2 = Add (m1, k)`));
    expect(found).toEqual([["recurrent", "s", "merge", false, "round", 6]]);
  });

  test("a value that every round hands on as it is", () => {
    const model = graph`
      g (float[N,8] x, float[N,8] e0) => (float[N,8] y)
      < float[8,8] w = {}, int64 m = {3} >
      {
        y, et = Loop (m, , x, e0) <body = b (int64 i, bool go, float[N,8] h, float[N,8] e)
          => (bool go2, float[N,8] h2, float[N,8] e2)
        { a = MatMul (h, w) r = Relu (a) [merge] h2 = Add (r, e) e2 = Identity (e) go2 = Identity (go) }>
      }`;
    expect(rows(model)).toEqual([["recurrent", "e", "merge", false, "state", 3]]);
  });
});

test("a network whose layers are the rounds of a Scan over its weights", () => {
  const model = graph`
    g (float[N,8] x) => (float[N,8] y)
    < float[12,8,8] ws = {}, float[12,8] bs = {}, float[12,8,8] us = {} >
    {
      y = Scan (x, ws, bs, us) <num_scan_inputs = 3,
        body = b (float[N,8] h, float[8,8] w, float[8] bias, float[8,8] u) => (float[N,8] h2)
        { a = MatMul (h, w) c = Add (a, bias) r = Relu (c) f = MatMul (r, u) p = MatMul (h, u) [merge] h2 = Add (p, f) }>
    }`;
  const { skips, notSkips } = census(model);
  expect(rows(model)).toEqual([["recurrent", "h", "merge", false, "state", 12]]);
  expect(skips[0]?.projection).toEqual([{ op: "MatMul", kernel: [], stride: [] }]);
  expect(notSkips.map(({ reason }) => reason)).toEqual(["a bias: the other operand is a constant"]);
});

describe("the number of rounds", () => {
  const body = (condition: string): string => `${RESIDUAL} h2 = Add (h, f) ${condition}`;
  const counted = (options: { most: string; condition: string; start?: string }): Graph => graph`
    g (float[N,8] x, bool c, int64 k) => (float[N,8] y)
    < int64 m = {${options.most}}, int64 zero = {0}, int64 two = {2}, int64 ten = {10}, bool yes = {1},
      float[8,8] w = {}, float[8,8] u = {} >
    {
      n, y = Loop (m, yes, ${options.start ?? "zero"}, x) <body = b (int64 i, bool go, int64 n1, float[N,8] h)
        => (bool go2, int64 n2, float[N,8] h2)
      { n2 = Add (n1, two) ${body(options.condition)} }>
    }`;
  const trips = (model: Graph): unknown => census(model).skips[0]?.recurrence?.trips;
  const LARGEST = "9223372036854775807";

  test.each([
    ["the count", { most: "6", condition: "go2 = Identity (go)" }, 6],
    [
      "a counter that comes to its end first",
      { most: LARGEST, condition: "go2 = Less (n2, ten)" },
      5,
    ],
    ["the count before the counter", { most: "3", condition: "go2 = Less (n2, ten)" }, 3],
    ["the number of the round", { most: LARGEST, condition: "go2 = Less (i, ten)" }, 11],
    ["a condition from outside", { most: "6", condition: "go2 = Identity (c)" }, undefined],
    [
      "a counter from outside",
      { most: LARGEST, condition: "go2 = Less (n2, ten)", start: "k" },
      undefined,
    ],
    ["no end", { most: LARGEST, condition: "go2 = Identity (go)" }, undefined],
  ] as const)("%s", (_, options, expected) => {
    expect(trips(counted(options))).toBe(expected);
  });
});
