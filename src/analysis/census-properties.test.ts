// What holds for the census of every graph: it finds what was planted, whatever the graph is written like,
// and it answers.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { SkipwayError } from "../base/errors.ts";
import { inferShapes } from "../canonical/infer-shapes.ts";
import { type Graph, NO_ATTRIBUTES, type Node, type Value } from "../graph/graph.ts";
import { RandomGraphs } from "../graph/random-graphs.test-helper.ts";
import { graph } from "../graph/text.test-helper.ts";
import { graphDiagnostics } from "../graph/verify.ts";
import { census } from "./census.ts";
import { type Block, blocksOf, kindsOf, planted, recipes } from "./planted.test-helper.ts";
import * as rewrites from "./rewrites.test-helper.ts";

const RUNS = { numRuns: 12 };

function kinds(graph: Graph): string[] {
  return census(graph)
    .skips.map(({ kind }) => kind)
    .toSorted();
}

/** What says nothing of names and places. */
function facts(graph: Graph): string[] {
  return census(graph)
    .skips.map((one) => {
      const { kind, block, activation, norm, sign, scaled, span, bytes, gamma, projection } = one;
      const { loop: _name, ...recurrence } = one.recurrence ?? { loop: "" };
      const all = [kind, block, activation, norm, sign, scaled, span, bytes, gamma, projection];
      return JSON.stringify([...all, recurrence, one.encoderDecoder]);
    })
    .toSorted();
}

/** The recipe without the shortcut of its i-th block. */
function without(recipe: readonly Block[], i: number): Block[] {
  let left = i;
  const change = (one: Block): Block => {
    const plant = left-- === 0 ? "none" : one.plant;
    return { ...one, plant, inner: one.inner === undefined ? undefined : change(one.inner) };
  };
  return recipe.map(change);
}

describe("planted skips", () => {
  test("those and no others are found", () => {
    fc.assert(
      fc.property(recipes, (recipe) => {
        expect(kinds(planted(recipe))).toEqual(kindsOf(recipe));
      }),
      { numRuns: 40 },
    );
  });

  test("without its shortcut, one is gone and the others stay", () => {
    fc.assert(
      fc.property(recipes, fc.nat(), (recipe, pick) => {
        const blocks = blocksOf(recipe);
        const less = without(recipe, pick % blocks.length);
        expect(kinds(planted(less))).toEqual(kindsOf(less));
        const removed = blocks[pick % blocks.length]?.plant === "none" ? 0 : 1;
        expect(kindsOf(less)).toHaveLength(kindsOf(recipe).length - removed);
      }),
      RUNS,
    );
  });

  test.each(Object.entries(rewrites))("the same, %s", (_name, rewrite) => {
    fc.assert(
      fc.property(recipes, fc.gen(), (recipe, g) => {
        const graph = planted(recipe);
        const chance = (below: number): number => g(fc.nat, { max: below - 1 });
        const changed = inferShapes(rewrite(graph, chance));
        expect(graphDiagnostics(changed)).toEqual([]);
        expect(facts(changed)).toEqual(facts(graph));
      }),
      RUNS,
    );
  });
});

/** Forms that recipes do not have, and how many skips each has. */
const WRITTEN: readonly (readonly [string, Graph, number])[] = [
  [
    "the cell of an LSTM",
    graph`
      g (float[7,N,4] xs, float[N,8] h0, float[N,8] c0) => (float[N,8] y)
      < float[4,32] w = {}, float[8,32] u = {} >
      {
        ht, y = Scan (h0, c0, xs) <num_scan_inputs = 1, body = b (float[N,8] h, float[N,8] c, float[N,4] x)
          => (float[N,8] h2, float[N,8] c2)
        {
          wx = MatMul (x, w) uh = MatMul (h, u) all = Add (wx, uh)
          p, q, r, s = Split <axis = -1, num_outputs = 4> (all)
          f = Sigmoid (p) i = Sigmoid (q) o = Sigmoid (r) n = Tanh (s)
          fc = Mul (f, c) in = Mul (i, n) c2 = Add (fc, in) t = Tanh (c2) h2 = Mul (o, t)
        }>
      }`,
    1,
  ],
  [
    "a value from outside and a state in one sum",
    graph`
      g (float[N,8] x, float[N,8] e) => (float[N,8] y) < float[8,8] w = {}, int64 m = {4} >
      {
        y = Loop (m, , x) <body = b (int64 i, bool go, float[N,8] h) => (bool go2, float[N,8] h2)
        { a = MatMul (h, w) r = Relu (a) s = Sum (h, r, e) h2 = Identity (s) go2 = Identity (go) }>
      }`,
    2,
  ],
  [
    "hyper-connections",
    graph`
      g (float[N,6,4,8] s) => (float[N,6,4,8] y)
      < float[4,4] mix = {}, float[1,4] read = {}, float[4,1] write = {}, float[8,8] w = {}, int64[1] rows = {-2} >
      {
        r0 = MatMul (read, s) r = Squeeze (r0, rows) a = MatMul (r, w) f = Relu (a) fr = Unsqueeze (f, rows)
        k = MatMul (mix, s) wr = Mul (fr, write) y = Add (k, wr)
      }`,
    1,
  ],
  [
    "attention over the layers before",
    graph`
      g (float[N,6,8] x) => (float[N,6,8] y)
      < float[8,8] w = {}, float[8,8] u = {}, float[8,1] q = {}, float[8] gamma = {}, int64[1] rows = {-2} >
      {
        a = MatMul (x, w) f = Relu (a) b = MatMul (f, u) h = Relu (b)
        xr = Unsqueeze (x, rows) fr = Unsqueeze (f, rows) hr = Unsqueeze (h, rows)
        st = Concat <axis = -2> (xr, fr, hr) n = LayerNormalization (st, gamma) sc = MatMul (n, q)
        sh = Softmax <axis = -2> (sc) p = Mul (sh, st) y = ReduceSum <keepdims = 0> (p, rows)
      }`,
    2,
  ],
];

describe.each(WRITTEN)("%s", (_name, given, count) => {
  const model = inferShapes(given);

  test.each(Object.entries(rewrites))("the same, %s", (_how, rewrite) => {
    expect(census(model).skips).toHaveLength(count);
    fc.assert(
      fc.property(fc.gen(), (g) => {
        const chance = (below: number): number => g(fc.nat, { max: below - 1 });
        const changed = inferShapes(rewrite(model, chance));
        expect(graphDiagnostics(changed)).toEqual([]);
        expect(facts(changed)).toEqual(facts(model));
      }),
      RUNS,
    );
  });
});

describe("any graph", () => {
  /** A graph that a census reads, or refuses as input. */
  function answers(graph: Graph): void {
    try {
      const found = census(graph);
      expect(found.counts.total).toBe(found.skips.length);
    } catch (error) {
      if (!(error instanceof SkipwayError) || error.code !== "input") throw error;
    }
  }

  test("of whatever a graph can hold: an answer", () => {
    fc.assert(
      fc.property(fc.gen(), (g) => answers(new RandomGraphs(g).model())),
      { numRuns: 50 },
    );
  });

  test("of known ops in any order, with any operands and bodies: an answer", () => {
    fc.assert(
      fc.property(fc.gen(), (g) => answers(wild(g, 2))),
      { numRuns: 40 },
    );
  });
});

const OPS = [
  ...[
    "Add",
    "Sub",
    "Mul",
    "Sum",
    "Mean",
    "Div",
    "Concat",
    "Where",
    "MatMul",
    "Gemm",
    "Conv",
    "Einsum",
  ],
  ...[
    "Relu",
    "Sigmoid",
    "Softmax",
    "Split",
    "Transpose",
    "Reshape",
    "Unsqueeze",
    "ReduceSum",
    "Identity",
  ],
  ...[
    "Cast",
    "Gather",
    "Slice",
    "QuantizeLinear",
    "DequantizeLinear",
    "LayerNormalization",
    "Attention",
  ],
  ...[
    "If",
    "Loop",
    "Scan",
    "SequenceConstruct",
    "ConcatFromSequence",
    "SplitToSequence",
    "Shape",
    "Pad",
  ],
];

/** Ops with operands, attributes and bodies that may not suit them. */
function wild(g: fc.GeneratorValue, depth: number, outer: readonly string[] = []): Graph {
  const id = g(fc.nat, { max: 2 ** 30 });
  const shape = (): Value["shape"] =>
    g(fc.option, fc.array(fc.constantFrom(1, 2, 8, "N", "?"), { maxLength: 4 }), {
      nil: undefined,
    });
  const inputs = Array.from(
    { length: 3 },
    (_, i): Value => ({
      name: `${depth}.${id}.x${i}`,
      dtype: g(fc.constantFrom, "float32", "int64", "bool"),
      shape: shape(),
    }),
  );
  const weight = `${depth}.${id}.w`;
  const known = ["", weight, ...outer, ...inputs.map(({ name }) => name)];
  const nodes = Array.from({ length: g(fc.nat, { max: 12 }) }, (_, i): Node => {
    const op = g(fc.constantFrom, ...OPS);
    const body = (): [string, { kind: "graph"; value: Graph }] => [
      g(fc.constantFrom, "body", "then_branch", "else_branch"),
      { kind: "graph", value: wild(g, depth - 1, known.slice(1)) },
    ];
    const numbers = (): [string, { kind: "int"; value: number }][] =>
      ["axis", "num_scan_inputs", "to", "perm"].map((name) => [
        name,
        { kind: "int", value: g(fc.integer, { min: -3, max: 10 }) },
      ]);
    const bodies = depth > 0 && ["If", "Loop", "Scan"].includes(op) ? [body(), body()] : [];
    const node: Node = {
      name: `${depth}.${id}.n${i}`,
      op,
      domain: "",
      inputs: g(fc.array, fc.constantFrom(...known), { maxLength: 5 }),
      outputs: Array.from({ length: g(fc.nat, { max: 3 }) }, (_, k) => `${depth}.${id}.v${i}.${k}`),
      attributes: new Map([...NO_ATTRIBUTES, ...numbers(), ...bodies]),
    };
    known.push(...node.outputs);
    return node;
  });
  const outputs = g(fc.array, fc.constantFrom(...known.slice(1)), { maxLength: 4 });
  return {
    name: "wild",
    inputs,
    outputs: outputs.map((name) => ({ name, dtype: "float32", shape: undefined })),
    nodes,
    initializers: new Map([
      [weight, { dtype: "float32", shape: [8, 8], data: { kind: "absent" } }],
    ]),
    values: new Map(),
    opsets: new Map([["", g(fc.constantFrom, 7, 13, 20)]]),
    metadata: new Map(),
  };
}
