// Ways to bring paths together besides Add and Concat: fused into layers, chosen, averaged, stacked, and
// through bodies and sequences.

import { describe, expect, test } from "vitest";
import { TypedBuilder } from "../canonical/typed-builder.ts";
import { type Graph, int, type ValueName } from "../graph/graph.ts";
import { parseGraph } from "../graph/parse.ts";
import { float32, int64, type TensorRef } from "../graph/tensor.ts";
import { graph } from "../graph/text.test-helper.ts";
import { census } from "./census.ts";
import { Sketch } from "./sketch.test-helper.ts";

/** Kind and block of each skip. */
function rows(graph: Graph): string[] {
  return census(graph).skips.map(({ kind, block }) => `${kind},${block}`);
}

const table = (): Sketch => new Sketch(["N", 8]);
const square: TensorRef = { dtype: "float32", shape: [8, 8], data: { kind: "absent" } };

test("a sum inside a Gemm", () => {
  const s = table();
  const w = s.b.initializer("w", square);
  const y = s.b.emit("Gemm", [s.op("Relu", s.linear(s.x)), w, s.x]);
  expect(rows(s.end(y))).toEqual(["identity,mlp"]);
});

test("a bias of a Gemm is no sum, nor is one sum before another layer's", () => {
  const s = table();
  const [w, bias] = [
    s.b.initializer("w", square),
    s.b.constant(float32([8], new Array(8).fill(1))),
  ];
  const sum = s.op("Add", s.x, s.b.emit("Gemm", [s.x, w, bias]));
  const y = s.b.emit("Gemm", [sum, w, s.op("Relu", s.linear(s.x))]);
  expect(census(s.end(y)).skips.map(({ source, span }) => [source, span])).toEqual([[s.x, 1]]);
});

test("a mean is a scaled sum", () => {
  const s = table();
  const y = s.op("Mean", s.op("Relu", s.linear(s.x)), s.x);
  expect(census(s.end(y)).skips).toMatchObject([{ kind: "identity", scaled: true }]);
});

test.each([
  [1, ["identity,mlp"]],
  [2, ["concat,concat"]],
] as const)("operands stacked along axis 1 and summed over axis %i", (over, expected) => {
  const s = table();
  const axes = s.b.constant(int64([1], [1]));
  const stack = [s.op("Relu", s.linear(s.x)), s.x].map((one) => s.op("Unsqueeze", one, axes));
  const joined = s.concat(...stack);
  expect(rows(s.end(s.op("ReduceSum", joined, s.b.constant(int64([1], [over])))))).toEqual(
    expected,
  );
});

test("an element-by-element choice between a value and what a layer makes of it is conditional", () => {
  const s = table();
  const c = s.b.input("c", "bool", ["N", 1]);
  expect(rows(s.end(s.op("Where", c, s.op("Relu", s.linear(s.x)), s.x)))).toEqual([
    "conditional,conditional",
  ]);
});

test("a mask that Where lays over a value is no choice between paths", () => {
  const s = table();
  const c = s.b.input("c", "bool", ["N", 8]);
  const y = s.op("Where", c, s.op("Relu", s.linear(s.x)), s.one(0));
  expect(rows(s.end(s.linear(y)))).toEqual([]);
});

/** lerp(x, h, g) as PyTorch writes it; `half` is where it changes its end. */
function interpolated(half: number): Graph {
  const s = table();
  const h = s.op("Relu", s.linear(s.x));
  const g = s.op("Sigmoid", s.linear(s.x));
  const way = s.op("Sub", h, s.x);
  const near = s.op("Add", s.x, s.op("Mul", g, way));
  const far = s.op("Sub", h, s.op("Mul", way, s.op("Sub", s.one(1), g)));
  return s.end(s.op("Where", s.op("Less", g, s.one(half)), near, far));
}

test("an interpolation from the nearer end is one highway layer", () => {
  expect(rows(interpolated(0.5))).toEqual(["gated,highway"]);
  expect(rows(interpolated(0.25))).not.toEqual(["gated,highway"]);
});

/** The outer x through a layer and an activation. */
function body(op: string): Graph {
  const b = new TypedBuilder();
  b.initializer("w", square);
  const y = b.emit(op, [b.emit("MatMul", ["x", "w"])]);
  b.output({ name: y, dtype: "float32", shape: undefined });
  return b.finish(op, new Map());
}

test("a branch whose layers lie in the bodies of an If", () => {
  const s = table();
  s.b.input("c", "bool", []);
  const inside = s.b.emit("If", ["c"], {
    attributes: {
      then_branch: { kind: "graph", value: body("Relu") },
      else_branch: { kind: "graph", value: body("Tanh") },
    },
  });
  const found = census(s.end(s.op("Add", s.x, inside))).skips;
  expect(found).toMatchObject([{ kind: "identity", source: s.x, span: 1 }]);
});

/** [a, f(b)] of the halves of x, by Split and Concat or by sequences. */
function halves(form: "plain" | "sequences"): Graph {
  const s = new Sketch();
  const [first = "", second = ""] = form === "plain" ? s.split(s.x) : parts(s);
  const branch = s.op("Relu", s.conv(second, 4));
  const attributes = { axis: int(1) };
  if (form === "plain") return s.end(s.concat(first, branch));
  const list = s.op("SequenceConstruct", first, branch);
  return s.end(s.b.emit("ConcatFromSequence", [list], { attributes }));
}

function parts(s: Sketch): ValueName[] {
  const attributes = { axis: int(1) };
  const size = s.b.constant(int64([], [4]));
  const list = s.b.emit("SplitToSequence", [s.x, size], { attributes });
  return [0, -1].map((at) => s.op("SequenceAt", list, s.b.constant(int64([], [at]))));
}

test("sequences are a Split and a Concat", () => {
  expect(rows(halves("sequences"))).toEqual(["concat,partial"]);
  expect(rows(halves("sequences"))).toEqual(rows(halves("plain")));
});

test("skips over the same weights are one group, others are in none", () => {
  const s = table();
  const shared = s.b.initializer("shared", square);
  const block = (x: ValueName): ValueName =>
    s.op("Add", x, s.op("Relu", s.op("MatMul", x, shared)));
  const twice = block(block(s.x));
  const y = s.op("Add", twice, s.op("Relu", s.linear(twice)));
  const groups = census(s.end(y)).skips.map(({ weightGroup }) => weightGroup);
  expect(groups).toEqual(["w1", "w1", undefined]);
});

describe("sums in the branches of an If", () => {
  const layers = "a = MatMul (x, w) r = Relu (a) f = MatMul (r, u)";
  /** y = If(c) {`open`} {`shut`}, with `before` in front. */
  function either(open: string, shut: string, before = ""): string[] {
    return rows(graph`
      g (float[N,8] x, bool c) => (float[N,8] y)
      < float[8,8] w = {}, float[8,8] u = {}, float[8,1] v = {}, float scale = {1.25} >
      {
        ${before}
        y = If (c) <then_branch = t () => (float[N,8] t1) { ${open} },
                    else_branch = e () => (float[N,8] e1) { ${shut} }>
      }`);
  }

  test("stochastic depth, scaled: the If and the sum", () => {
    const expected = ["conditional,conditional", "identity,mlp"];
    const sum = `${layers} s = Mul (f, scale) t1 = Add (x, s)`;
    expect(either(sum, "e1 = Identity (x)")).toEqual(expected);
    expect(either(`${layers} t1 = Add (x, f)`, "e1 = Mul (x, scale)")).toEqual(expected);
  });

  test("a gate that is computed before the If is a gate inside", () => {
    const gate = "l = MatMul (x, v) p = Sigmoid (l)";
    const sum = `${layers} s = Mul (p, f) t1 = Add (x, s)`;
    expect(either(sum, "e1 = Identity (x)", gate)).toEqual([
      ...["conditional,conditional", "gated,mlp"],
    ]);
  });

  test("the branch begins before the If", () => {
    const open = "f = MatMul (r, u) t1 = Add (x, f)";
    const expected = ["conditional,conditional", "identity,mlp"];
    expect(either(open, "e1 = Identity (x)", "a = MatMul (x, w) r = Relu (a)")).toEqual(expected);
  });

  test("sums in both branches, none that hands x on", () => {
    const other = "b = MatMul (x, u) k = Tanh (b) e1 = Add (x, k)";
    expect(either(`${layers} t1 = Add (x, f)`, other)).toEqual(["identity,mlp", "identity,mlp"]);
    expect(either(`${layers} t1 = Identity (f)`, "e1 = MatMul (x, u)")).toEqual([]);
  });
});

test("a transform of Fourier mixes tokens, as its matrix does", () => {
  const fourier =
    parseGraph(`<ir_version: 10, opset_import: ["" : 20]> g (float[N,4,8] x) => (float[N,4,8] y)
    <int64[1] last = {3}, int64 tokens = {1}, int64 real = {0}> {
      z = Unsqueeze (x, last)  f = DFT (z, , tokens)  r = Gather <axis = 3> (f, real)  y = Add (x, r)
    }`);
  expect(rows(fourier)).toEqual(["identity,additive"]);
});
