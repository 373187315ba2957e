import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Attribute, type Graph, int, type ValueName } from "../../graph/graph.ts";
import { originalName, originalsOf } from "../../graph/original.ts";
import { float32 } from "../../graph/tensor.ts";
import { graphDiagnostics } from "../../graph/verify.ts";
import { canonicalize } from "../canonical.ts";
import { TypedBuilder } from "../typed-builder.ts";
import { difference, opsOf, Sketch } from "./idioms.test-helper.ts";

type Step = (s: Sketch, x: ValueName) => ValueName;

/** Steps from [2, 3, 4] to [2, 3, 4], idioms and what comes near them. */
const STEPS: Readonly<Record<string, Step>> = {
  swish: (s, x) => s.mul(x, s.op("Sigmoid", [x])),
  gelu: (s, x) =>
    s.mul(s.mul(x, s.add(s.op("Erf", [s.div(x, s.k(Math.SQRT2))]), s.k(1))), s.k(0.5)),
  centre: (s, x) => s.sub(x, s.op("ReduceMean", [x, s.list(-1)])),
  rms: (s, x) =>
    s.div(x, s.op("Sqrt", [s.add(s.op("ReduceMean", [s.mul(x, x), s.list(-1)]), s.k(1e-3))])),
  gain: (s, x) => s.mul(x, s.w(4)),
  offset: (s, x) => s.add(s.w(4), x),
  channels: (s, x) => s.add(s.mul(x, s.w(3, 1)), s.w(3, 1)),
  linear: (s, x) => s.add(s.op("MatMul", [x, s.w(4, 4)]), s.w(4)),
  softmax: (s, x) => {
    const e = s.op("Exp", [s.sub(x, s.op("ReduceMax", [x, s.list(-1)]))]);
    return s.div(e, s.op("ReduceSum", [e, s.list(-1)]));
  },
  scores: (s, x) => {
    const k = s.op("Transpose", [x], { perm: { kind: "ints", value: [0, 2, 1] } });
    return s.op("MatMul", [s.op("Softmax", [s.div(s.op("MatMul", [x, k]), s.k(2))]), x]);
  },
  nothing: (s, x) => s.op("Identity", [s.mul(x, s.k(1))]),
  half: (s, x) => s.mul(x, s.k(0.5)),
  residual: (s, x) => s.add(x, s.op("Tanh", [x])),
};

const walk = fc.array(fc.constantFrom(...Object.keys(STEPS)), { minLength: 1, maxLength: 7 });

/** The steps one after the other; the values after some of them are outputs too. */
function walked(names: readonly string[], shown: number): Graph {
  const s = new Sketch();
  let x = s.input(2, 3, 4);
  const outputs: ValueName[] = [];
  names.forEach((name, i) => {
    x = STEPS[name]?.(s, x) ?? x;
    if (i % shown === 0 || i === names.length - 1) outputs.push(x);
  });
  return s.end(...outputs);
}

/** The same without the ops of our own, which no runtime has. */
const runnable = (graph: Graph): boolean => graph.nodes.every((node) => node.domain === "");

describe("random chains of idioms", () => {
  test("the canonical form is its own, is a graph, and stands for every node once or more", () => {
    fc.assert(
      fc.property(walk, fc.integer({ min: 1, max: 8 }), (names, shown) => {
        const graph = walked(names, shown);
        const found = canonicalize(graph);
        expect(graphDiagnostics(found)).toEqual([]);
        const again = { ...found };
        expect(canonicalize(again)).toBe(again);
        const stood = found.nodes.flatMap((node) => originalsOf(found, node).map(originalName));
        expect(new Set(stood)).toEqual(new Set(graph.nodes.map((node) => node.name)));
        for (const { name, dtype, shape } of graph.outputs) {
          const kept = found.outputs.find((value) => value.name === name);
          expect(kept).toMatchObject({ dtype, shape });
        }
      }),
      { numRuns: 100 },
    );
  });

  test("computes the same on the runtime", async () => {
    await fc.assert(
      fc.asyncProperty(walk, async (names) => {
        const graph = walked(names, 8);
        const found = canonicalize(graph);
        if (runnable(found)) expect(await difference(graph, found)).toBeLessThan(1e-4);
      }),
      { numRuns: 25 },
    );
  });
});

test("every idiom of a long chain is found", () => {
  const s = new Sketch();
  let x = s.input(2, 3);
  for (let i = 0; i < 1500; i++) x = s.op("Sin", [s.mul(x, s.op("Sigmoid", [x]))]);
  const found = canonicalize(s.end(x));
  expect(found.nodes).toHaveLength(3000);
  expect(found.nodes.filter((node) => node.op === "Swish")).toHaveLength(1500);
});

test("idioms in a body are found, with constants from around it", () => {
  const outer = new Sketch();
  const x = outer.input(2, 3);
  outer.b.input("go", "bool", []);
  const half = outer.k(0.5);
  const root = outer.k(Math.SQRT2);
  const one = outer.k(1);
  const branch = (draw: (b: TypedBuilder) => ValueName): Attribute => {
    const b = new TypedBuilder(undefined, 24);
    b.output({ name: draw(b), dtype: "float32", shape: undefined });
    return { kind: "graph", value: b.finish("branch", new Map()) };
  };
  const gelu = branch((b) => {
    const erf = b.emit("Erf", [b.emit("Div", [x, root], { name: "inner" })]);
    return b.emit("Mul", [b.emit("Mul", [x, b.emit("Add", [erf, one])], { name: "m" }), half], {
      name: "o",
    });
  });
  const plain = branch((b) => b.emit("Neg", [x], { name: "n" }));
  const y = outer.op("If", ["go"], { then_branch: gelu, else_branch: plain });
  const found = canonicalize(outer.end(y));
  const body = found.nodes[0]?.attributes.get("then_branch");
  expect(body?.kind === "graph" && body.value.nodes.map((node) => node.op)).toEqual(["Gelu"]);
});

test("what a body reads keeps its name", () => {
  const outer = new Sketch();
  const same = outer.op("Identity", [outer.op("Sin", [outer.input(2, 3)])]);
  outer.b.input("go", "bool", []);
  const branch = (op: string): Attribute => {
    const b = new TypedBuilder(undefined, 24);
    b.output({ name: b.emit(op, [same]), dtype: "float32", shape: undefined });
    return { kind: "graph", value: b.finish("branch", new Map()) };
  };
  const chosen = outer.op("If", ["go"], { then_branch: branch("Neg"), else_branch: branch("Cos") });
  const graph = canonicalize(outer.end(outer.add(chosen, same)));
  expect(graphDiagnostics(graph)).toEqual([]);
  expect(graph.nodes.map((node) => node.op)).toContain("Identity");
});

describe("what is fused already", () => {
  const fused: readonly (readonly [string, string, number])[] = [
    ["LayerNormalization", "", 1],
    ["SimplifiedLayerNormalization", "", 1],
    ["SkipLayerNormalization", "com.microsoft", 2],
    ["Gelu", "com.microsoft", 0],
    ["FastGelu", "com.microsoft", 0],
    ["QuickGelu", "com.microsoft", 0],
    ["BiasGelu", "com.microsoft", 1],
    ["RotaryEmbedding", "com.microsoft", 2],
    ["MultiHeadAttention", "com.microsoft", 2],
    ["Attention", "com.microsoft", 2],
    ["Gelu", "", 0],
    ["Swish", "", 0],
    ["Attention", "", 2],
  ];
  test.each(fused)("%s of domain '%s' is left alone", (op, domain, weights) => {
    const s = new Sketch();
    const x = s.op("Sin", [s.input(2, 3, 4)]);
    const more = Array.from({ length: weights }, () => s.w(4));
    const y = s.b.emit(op, [x, ...more], { domain });
    const graph = canonicalize(s.end(y), { idioms: false });
    expect(canonicalize(graph)).toBe(graph);
  });
});

test("a name that is taken is not given to a new constant", () => {
  const s = new Sketch();
  s.b.initializer("ones", float32([1], [5]));
  const x = s.op("Sin", [s.input(2, 4)]);
  const mean = (v: ValueName): ValueName =>
    s.op("ReduceMean", [v, s.list(-1)], { keepdims: int(1) });
  const y = s.div(x, s.op("Sqrt", [s.add(mean(s.mul(x, x)), s.k(1e-3))]));
  const graph = s.end(y, s.add(x, "ones"));
  expect(opsOf(graph)).toContain("RMSNormalization");
  expect(graphDiagnostics(canonicalize(graph))).toEqual([]);
  expect(canonicalize(graph).initializers.get("ones")).toEqual(float32([1], [5]));
});
