import { describe, expect, test } from "vitest";
import { type Graph, int, intAttribute, ints, type ValueName } from "../../graph/graph.ts";
import { originalsOf } from "../../graph/original.ts";
import { float32, tensor } from "../../graph/tensor.ts";
import { canonicalize } from "../canonical.ts";
import { difference, only, opsOf, Sketch } from "./idioms.test-helper.ts";

interface Parts {
  readonly q: ValueName;
  readonly k: ValueName;
  readonly v: ValueName;
}
type Draw = (s: Sketch, parts: Parts) => ValueName;

const SHAPES = { q: [2, 3, 5, 4], k: [2, 3, 6, 4], v: [2, 3, 6, 4] };

function drawn(
  draw: Draw,
  shapes: Readonly<Record<keyof Parts, readonly number[]>> = SHAPES,
): Graph {
  const s = new Sketch();
  const [q, k, v] = [s.input(...shapes.q), s.input(...shapes.k), s.input(...shapes.v)].map((x) =>
    s.op("Sin", [x]),
  );
  return s.end(s.op("Neg", [draw(s, { q: q ?? "", k: k ?? "", v: v ?? "" })]));
}

const turned = (s: Sketch, k: ValueName, perm = [0, 1, 3, 2]): ValueName =>
  s.op("Transpose", [k], { perm: ints(perm) });
const scores: Draw = (s, { q, k }) => s.op("MatMul", [q, turned(s, k)]);
const mixed = (s: Sketch, x: ValueName, v: ValueName, axis = -1): ValueName =>
  s.op("MatMul", [s.op("Softmax", [x], { axis: int(axis) }), v]);
const choice = (s: Sketch): ValueName =>
  s.b.constant(
    tensor(
      "bool",
      [5, 6],
      Uint8Array.from({ length: 30 }, (_, i) => (i % 3 === 0 ? 0 : 1)),
    ),
  );

const STANDARD: readonly (readonly [string, Draw])[] = [
  ["plain", (s, p) => mixed(s, scores(s, p), p.v)],
  ["divided by √d", (s, p) => mixed(s, s.div(scores(s, p), s.k(2)), p.v)],
  ["multiplied after", (s, p) => mixed(s, s.mul(s.k(0.5), scores(s, p)), p.v)],
  ["the query scaled", (s, p) => mixed(s, scores(s, { ...p, q: s.mul(p.q, s.k(0.5)) }), p.v)],
  [
    "query and key scaled by the root",
    (s, { q, k, v }) => {
      const root = s.k(Math.SQRT1_2);
      return mixed(s, scores(s, { q: s.mul(q, root), k: s.mul(k, root), v }), v);
    },
  ],
  [
    "the key scaled behind its transposition",
    (s, { q, k, v }) => mixed(s, s.op("MatMul", [q, s.mul(turned(s, k), s.k(0.5))]), v),
  ],
  ["a mask added", (s, p) => mixed(s, s.add(s.div(scores(s, p), s.k(2)), s.w(1, 1, 5, 6)), p.v)],
  ["a mask added in front", (s, p) => mixed(s, s.add(s.w(5, 6), scores(s, p)), p.v)],
  [
    "a mask that makes the rest -∞",
    (s, p) =>
      mixed(s, s.op("Where", [choice(s), scores(s, p), s.k(Number.NEGATIVE_INFINITY)]), p.v),
  ],
];

describe("the core of attention", () => {
  test.each(STANDARD)("%s is Attention, and computes the same", async (_name, draw) => {
    const graph = drawn(draw);
    const found = canonicalize(graph);
    const [attention] = found.nodes.filter((node) => node.op === "Attention");
    expect(found.nodes.map((node) => node.op)).toEqual(["Sin", "Sin", "Sin", "Attention", "Neg"]);
    expect(attention?.domain).toBe("");
    expect(attention && originalsOf(found, attention)).toHaveLength(graph.nodes.length - 4);
    expect(await difference(graph, found)).toBeLessThan(1e-5);
    const again = { ...found };
    expect(canonicalize(again)).toBe(again);
  });

  test("heads merged into the batch are one head", async () => {
    const shapes = { q: [6, 5, 4], k: [6, 5, 4], v: [6, 5, 4] };
    const graph = drawn(
      (s, { q, k, v }) => mixed(s, s.op("MatMul", [q, turned(s, k, [0, 2, 1])]), v),
      shapes,
    );
    const found = canonicalize(graph);
    const attention = only(found, "Attention");
    expect(attention && intAttribute(attention, "q_num_heads", 0)).toBe(1);
    expect(await difference(graph, found)).toBeLessThan(1e-5);
  });

  test("a softmax in float32 between casts", () => {
    const graph = drawn((s, p) => {
      const half = (x: ValueName): ValueName => s.op("Cast", [x], { to: int(10) });
      const narrow = scores(s, { q: half(p.q), k: half(p.k), v: p.v });
      const weights = s.op("Softmax", [s.op("Cast", [narrow], { to: int(1) })]);
      return s.op("MatMul", [half(weights), half(p.v)]);
    });
    const found = canonicalize(graph);
    const attention = only(found, "Attention");
    expect(attention && intAttribute(attention, "softmax_precision", 0)).toBe(1);
    expect(found.nodes.some((node) => node.op === "Softmax")).toBe(false);
  });

  const own: readonly (readonly [string, Draw, Record<string, unknown>])[] = [
    [
      "keys that come transposed",
      (s, { q, k, v }) =>
        mixed(s, s.op("MatMul", [q, s.op("Reshape", [k, s.list(2, 3, 4, 6)])]), v),
      { transposed: int(1) },
    ],
    [
      "a mask that makes what is true small",
      (s, p) => mixed(s, s.op("Where", [choice(s), s.k(-1e9), scores(s, p)]), p.v),
      { mask: { kind: "string", value: "drop" } },
    ],
    [
      "a guard against rows that are masked altogether",
      (s, p) => {
        const weights = s.op("Softmax", [s.add(scores(s, p), s.w(5, 6))]);
        const guarded = s.op("Where", [s.op("IsNaN", [weights]), s.k(0), weights]);
        return s.op("MatMul", [guarded, p.v]);
      },
      { nan_to_zero: int(1) },
    ],
    [
      "a finite mask value",
      (s, p) => mixed(s, s.op("Where", [choice(s), scores(s, p), s.k(-65504)]), p.v),
      { masked: { kind: "float", value: -65504 } },
    ],
  ];
  test.each(own)("%s is the op of our own", (_name, draw, attributes) => {
    const graph = drawn(draw);
    const found = canonicalize(graph);
    const attention = only(found, "Attention");
    expect(attention?.domain).toBe("skipway");
    expect(Object.fromEntries(attention?.attributes ?? [])).toMatchObject(attributes);
    const type = found.values.get(attention?.outputs[0] ?? "");
    expect(type?.shape).toEqual([2, 3, 5, 4]);
    const again = { ...found };
    expect(canonicalize(again)).toBe(again);
  });

  const apart = (shape: readonly number[], mask: readonly number[]): Graph =>
    drawn(
      (s, { q, k, v }) => {
        const whole = s.op("MatMul", [s.mul(q, s.k(0.5)), turned(s, k, [0, 2, 1])]);
        const masked = s.add(s.op("Reshape", [whole, s.list(...shape)]), s.w(...mask));
        return mixed(s, s.op("Reshape", [masked, s.list(6, 5, 4)]), v);
      },
      { q: [6, 5, 4], k: [6, 4, 4], v: [6, 4, 4] },
    );

  test("heads in the batch, taken apart for the mask", () => {
    const found = only(canonicalize(apart([2, 3, 5, 4], [2, 1, 5, 4])), "Attention");
    expect(found?.domain).toBe("skipway");
    expect(found && intAttribute(found, "heads", 0)).toBe(3);
    // Taken apart across the axes of queries and keys, they are other scores.
    expect(opsOf(apart([2, 3, 4, 5], [2, 1, 4, 5]))).not.toContain("skipway.Attention");
  });

  const near: readonly (readonly [string, Draw])[] = [
    ["softmax over the queries", (s, p) => mixed(s, scores(s, p), p.v, 2)],
    [
      "scaled after the mask",
      (s, p) => mixed(s, s.mul(s.add(scores(s, p), s.w(5, 6)), s.w(5, 6)), p.v),
    ],
    [
      "a small number for what is masked",
      (s, p) => mixed(s, s.op("Where", [choice(s), scores(s, p), s.k(-1)]), p.v),
    ],
    ["no softmax", (s, p) => s.op("MatMul", [s.op("Sigmoid", [scores(s, p)]), p.v])],
    [
      "a softmax of one value",
      (s, p) => mixed(s, s.op("Pad", [p.q, s.list(0, 0, 0, 0, 0, 0, 0, 2)]), p.v),
    ],
  ];
  test.each(near)("%s is left as it is", (_name, draw) => {
    const graph = drawn(draw);
    expect(opsOf(graph)).not.toContain("Attention");
    expect(opsOf(graph)).not.toContain("skipway.Attention");
    expect(opsOf(graph)).toHaveLength(graph.nodes.length);
  });

  test("weights that are an output keep the nodes apart", () => {
    const s = new Sketch();
    const [q, k] = [s.input(2, 3, 4, 4), s.input(2, 3, 4, 4)];
    const weights = s.op("Softmax", [scores(s, { q, k, v: k })]);
    expect(opsOf(s.end(s.op("MatMul", [weights, k]), weights))).not.toContain("Attention");
  });
});

type Turn = (s: Sketch, x: ValueName) => ValueName;

const slice = (
  s: Sketch,
  x: ValueName,
  ...[start, end, step]: [number, number, number?]
): ValueName =>
  s.op("Slice", [
    x,
    s.list(start),
    s.list(end),
    s.list(-1),
    ...(step === undefined ? [] : [s.list(step)]),
  ]);
const joined = (s: Sketch, a: ValueName, b: ValueName): ValueName =>
  s.op("Concat", [a, b], { axis: int(-1) });
const neg = (s: Sketch, x: ValueName): ValueName => s.op("Neg", [x]);

function turning(turn: Turn, sign: "Add" | "Sub" = "Add"): Graph {
  const s = new Sketch();
  const x = s.op("Sin", [s.input(2, 3, 4, 8)]);
  return s.end(s.op(sign, [s.mul(x, s.w(4, 8)), s.mul(turn(s, x), s.w(4, 8))]));
}

describe("rotary embedding", () => {
  const firing: readonly (readonly [string, number, Turn])[] = [
    [
      "halves by slices",
      0,
      (s, x) => joined(s, neg(s, slice(s, x, 4, 2 ** 40)), slice(s, x, 0, 4)),
    ],
    [
      "halves by a split",
      0,
      (s, x) => {
        const [a = "", b = ""] = s.b.emitAll("Split", [x, s.list(4, 4)], {
          outputCount: 2,
          attributes: { axis: int(3) },
        });
        return joined(s, neg(s, b), a);
      },
    ],
    [
      "interleaved",
      1,
      (s, x) => {
        const odd = s.op("Unsqueeze", [neg(s, slice(s, x, 1, 8, 2)), s.list(-1)]);
        const even = s.op("Unsqueeze", [slice(s, x, 0, 8, 2), s.list(-1)]);
        return s.op("Reshape", [joined(s, odd, even), s.list(2, 3, 4, 8)]);
      },
    ],
  ];
  test.each(firing)("%s", (_name, interleaved, turn) => {
    const graph = turning(turn);
    const found = canonicalize(graph);
    expect(opsOf(graph)).toEqual(["Sin", "skipway.RotaryEmbedding"]);
    const macro = only(found, "RotaryEmbedding");
    expect(macro && intAttribute(macro, "interleaved", -1)).toBe(interleaved);
    expect(macro?.inputs).toHaveLength(3);
    expect(macro && originalsOf(found, macro)).toHaveLength(graph.nodes.length - 1);
  });

  test("half by half, with cos and sin half as wide", () => {
    const s = new Sketch();
    const x = s.op("Sin", [s.input(2, 3, 4, 8)]);
    const [a, b, cos, sin] = [slice(s, x, 0, 4), slice(s, x, 4, 8), s.w(4, 4), s.w(4, 4)];
    const left = s.sub(s.mul(a, cos), s.mul(b, sin));
    expect(opsOf(s.end(joined(s, left, s.add(s.mul(b, cos), s.mul(sin, a)))))).toEqual([
      "Sin",
      "skipway.RotaryEmbedding",
    ]);
  });

  const near: readonly (readonly [string, Turn])[] = [
    ["nothing is negated", (s, x) => joined(s, slice(s, x, 4, 8), slice(s, x, 0, 4))],
    [
      "the wrong half is negated",
      (s, x) => joined(s, slice(s, x, 4, 8), neg(s, slice(s, x, 0, 4))),
    ],
    ["halves in their places", (s, x) => joined(s, neg(s, slice(s, x, 0, 4)), slice(s, x, 4, 8))],
    ["not halves", (s, x) => joined(s, neg(s, slice(s, x, 2, 8)), slice(s, x, 0, 2))],
    [
      "of another value",
      (s, x) => joined(s, neg(s, slice(s, s.op("Cos", [x]), 4, 8)), slice(s, x, 0, 4)),
    ],
  ];
  test.each(near)("%s: left as it is", (_name, turn) => {
    const graph = turning(turn);
    expect(opsOf(graph)).toHaveLength(graph.nodes.length);
  });
});

describe("products and sums with constants", () => {
  const image = [2, 4, 3, 3];
  const norms: readonly (readonly [string, readonly number[], Turn])[] = [
    ["gain and offset", image, (s, x) => s.add(s.mul(x, s.w(4, 1, 1)), s.w(4, 1, 1))],
    [
      "a batch norm step by step",
      image,
      (s, x) =>
        s.add(s.mul(s.div(s.sub(x, s.w(4, 1, 1)), s.w(1, 4, 1, 1)), s.w(4, 1, 1)), s.w(4, 1, 1)),
    ],
    ["a vector and a scalar", [2, 4], (s, x) => s.sub(s.mul(s.w(4), x), s.k(0.5))],
  ];
  test.each(norms)("%s is a batch norm, and computes the same", async (_name, shape, draw) => {
    const s = new Sketch();
    const graph = s.end(s.op("Neg", [draw(s, s.op("Sin", [s.input(...shape)]))]));
    const found = canonicalize(graph);
    expect(opsOf(graph)).toEqual(["Sin", "BatchNormalization", "Neg"]);
    expect(await difference(graph, found)).toBeLessThan(1e-5);
    const again = { ...found };
    expect(canonicalize(again)).toBe(again);
  });

  const near: readonly (readonly [string, readonly number[], Turn])[] = [
    ["a factor alone", image, (s, x) => s.mul(x, s.w(4, 1, 1))],
    ["scalars alone", image, (s, x) => s.add(s.mul(x, s.k(2)), s.k(3))],
    ["not by channels", image, (s, x) => s.add(s.mul(x, s.w(3)), s.w(3))],
    ["divided by x", image, (s, x) => s.add(s.div(s.w(4, 1, 1), x), s.w(4, 1, 1))],
  ];
  test.each(near)("%s is none", (_name, shape, draw) => {
    const s = new Sketch();
    const graph = s.end(draw(s, s.op("Sin", [s.input(...shape)])));
    expect(opsOf(graph)).toHaveLength(graph.nodes.length);
  });

  test("a bias after a product with weights: Gemm with two axes, Linear with more", async () => {
    const layer = (shape: readonly number[]): Graph => {
      const s = new Sketch();
      const x = s.op("Sin", [s.input(...shape)]);
      return s.end(s.op("Neg", [s.add(s.w(3), s.op("MatMul", [x, s.w(4, 3)]))]));
    };
    expect(opsOf(layer([2, 5, 4]))).toEqual(["Sin", "skipway.Linear", "Neg"]);
    const flat = layer([2, 4]);
    expect(opsOf(flat)).toEqual(["Sin", "Gemm", "Neg"]);
    expect(await difference(flat, canonicalize(flat))).toBeLessThan(1e-5);
  });

  test("a sum of another width, or after a product of activations, is no bias", () => {
    const s = new Sketch();
    const [a, b] = [s.input(2, 5, 4), s.input(2, 4, 3)].map((x) => s.op("Sin", [x]));
    const product = s.op("MatMul", [a ?? "", b ?? ""]);
    const narrow = s.add(s.op("MatMul", [a ?? "", s.w(4, 3)]), s.w(1));
    const graph = s.end(s.add(product, s.w(3)), narrow);
    expect(opsOf(graph)).toHaveLength(graph.nodes.length);
  });
});

describe("fake quantization", () => {
  const pair = (other: number, axis = 1): Graph => {
    const s = new Sketch();
    const x = s.op("Sin", [s.input(2, 3)]);
    const zero = s.b.constant(tensor("int8", [], Uint8Array.of(3)));
    const q = s.op("QuantizeLinear", [x, s.b.constant(float32([], [0.5])), zero]);
    const scale = s.b.initializer("other", float32([], [other]));
    return s.end(s.op("Neg", [s.op("DequantizeLinear", [q, scale, zero], { axis: int(axis) })]));
  };

  test("a pair with one scale and zero point", () => {
    expect(opsOf(pair(0.5))).toEqual(["Sin", "skipway.FakeQuantize", "Neg"]);
    const found = canonicalize(pair(0.5));
    expect(found.opsets.get("skipway")).toBe(1);
    expect(found.values.get(only(found, "FakeQuantize")?.outputs[0] ?? "")).toMatchObject({
      dtype: "float32",
      shape: [2, 3],
    });
  });

  test("another scale or axis is no pair", () => {
    expect(opsOf(pair(0.25))).toEqual(["Sin", "QuantizeLinear", "DequantizeLinear", "Neg"]);
    expect(opsOf(pair(0.5, 0))).toEqual(["Sin", "QuantizeLinear", "DequantizeLinear", "Neg"]);
  });
});
