import { describe, expect, test } from "vitest";
import { sound } from "../../test/sound.ts";
import { Random } from "../base/random.ts";
import { inferShapes } from "../canonical/infer-shapes.ts";
import { TypedBuilder } from "../canonical/typed-builder.ts";
import { GraphBuilder } from "../graph/build.ts";
import { type Graph, ints, type ValueName } from "../graph/graph.ts";
import { typeOf } from "../graph/query.ts";
import { float32, int64, tensor } from "../graph/tensor.ts";
import { starter } from "../nn/models/starter.ts";
import { buildNet } from "../nn/net.ts";
import { census } from "./census.ts";
import { inferenceMemory } from "./memory.ts";
import { Sketch } from "./sketch.test-helper.ts";

function branch(s: Sketch, x: ValueName, channels = 8, stride = 1): ValueName {
  return s.conv(s.op("Relu", s.conv(x, channels, { stride })), channels);
}

function kinds(graph: Graph): string[] {
  return census(graph).skips.map((skip) => skip.kind);
}

/** Each row: what it is, how it is drawn, and the skips that it has. */
const ROWS: readonly (readonly [string, (s: Sketch) => ValueName, readonly string[]])[] = [
  ["identity", (s) => s.op("Relu", s.op("Add", branch(s, s.x), s.x)), ["identity"]],
  ["identity, operands swapped", (s) => s.op("Add", s.x, branch(s, s.x)), ["identity"]],
  [
    "projection",
    (s) => s.op("Add", branch(s, s.x, 16, 2), s.conv(s.x, 16, { kernel: 1, stride: 2 })),
    ["projection"],
  ],
  [
    "projection of several linear ops",
    (s) =>
      s.op(
        "Add",
        s.op("Relu", s.conv(s.op("Relu", s.conv(s.op("Relu", s.conv(s.x)))))),
        s.conv(s.conv(s.x)),
      ),
    ["projection"],
  ],
  [
    "a branch with an activation is no projection",
    (s) => s.op("Add", s.conv(s.op("Relu", s.conv(s.x))), s.conv(s.op("Relu", s.conv(s.x)))),
    [],
  ],
  ["two parallel convolutions", (s) => s.op("Add", s.conv(s.x), s.conv(s.x)), []],
  ["pooled", (s) => s.op("Add", branch(s, s.x, 8, 2), s.pool(s.x, "AveragePool")), ["pooled"]],
  ["difference", (s) => s.op("Sub", s.x, branch(s, s.x)), ["identity"]],
  ["scaled", (s) => s.op("Add", s.x, s.op("Mul", branch(s, s.x), s.one(0.1))), ["identity"]],
  [
    "RepVGG: two branches and the identity",
    (s) => s.op("Add", s.op("Add", s.conv(s.x), s.conv(s.x, 8, { kernel: 1 })), s.x),
    ["identity"],
  ],
  [
    "three operands of one Sum",
    (s) => s.op("Sum", s.x, branch(s, s.x), branch(s, s.x)),
    ["identity"],
  ],
  [
    "bias",
    (s) =>
      s.op("Add", s.conv(s.x), s.b.initializer("bias", float32([8, 1, 1], new Array(8).fill(1)))),
    [],
  ],
  ["dense link", (s) => s.concat(s.x, branch(s, s.x)), ["concat"]],
  [
    "fire module: two transforming branches",
    (s) => s.concat(s.op("Relu", s.conv(s.x)), s.op("Relu", s.conv(s.x, 8, { kernel: 1 }))),
    [],
  ],
  [
    "inception with a plain identity",
    (s) => s.concat(s.x, branch(s, s.x), s.conv(s.x)),
    ["concat"],
  ],
  [
    "reduction: pool beside two branches",
    (s) => s.concat(s.pool(s.x), branch(s, s.x, 8, 2), s.conv(s.x, 8, { stride: 2 })),
    [],
  ],
  [
    "half of the channels passes by",
    (s) => {
      const [half = "", other = ""] = s.split(s.x);
      return s.concat(half, branch(s, other, 4));
    },
    ["concat"],
  ],
  [
    "halves that change places",
    (s) => {
      const [half = "", other = ""] = s.split(s.x);
      return s.concat(other, half);
    },
    [],
  ],
  ["pool beside one branch", (s) => s.concat(s.pool(s.x), branch(s, s.x, 8, 2)), ["concat"]],
  ["spatial pyramid: nothing is transformed", (s) => s.concat(s.x, s.pool(s.x, "MaxPool", 1)), []],
  [
    "squeeze and excitation",
    (s) =>
      s.op("Mul", s.conv(s.x), s.op("Sigmoid", s.conv(s.op("GlobalAveragePool", s.conv(s.x))))),
    [],
  ],
  [
    "swish",
    (s) => {
      const y = s.conv(s.x);
      return s.op("Mul", y, s.op("Sigmoid", y));
    },
    [],
  ],
  [
    "tanh GELU",
    (s) => {
      const y = s.conv(s.x);
      return s.op("Add", y, s.op("Mul", s.op("Pow", y, s.one(3)), s.one(0.04)));
    },
    [],
  ],
  [
    "layer norm written out",
    (s) => {
      const y = s.conv(s.x);
      return s.op("Sub", y, s.b.emit("ReduceMean", [y, s.b.constant(int64([1], [1]))]));
    },
    [],
  ],
  [
    "squeeze and excitation inside the branch",
    (s) => {
      const f = branch(s, s.x);
      return s.op("Add", s.x, s.op("Mul", f, s.op("Sigmoid", s.conv(f))));
    },
    ["identity"],
  ],
  [
    "gated residual",
    (s) => s.op("Add", s.x, s.op("Mul", s.op("Sigmoid", s.conv(s.x)), branch(s, s.x))),
    ["gated"],
  ],
  [
    "highway",
    (s) => {
      const t = s.op("Sigmoid", s.conv(s.x));
      return s.op(
        "Add",
        s.op("Mul", t, s.op("Relu", s.conv(s.x))),
        s.op("Mul", s.op("Sub", s.one(1), t), s.x),
      );
    },
    ["gated"],
  ],
  [
    "a shortcut weighed by an attention gate, which has a sum of its own",
    (s) => {
      const f = branch(s, s.x);
      const both = s.op("Add", s.conv(s.x, 4), s.conv(f, 4));
      return s.concat(s.op("Mul", s.x, s.op("Sigmoid", s.conv(s.op("Relu", both)))), f);
    },
    ["projection", "gated"],
  ],
  [
    "squeeze and excitation, then a skip around a branch",
    (s) => {
      const f = s.conv(s.x);
      const y = s.op("Mul", f, s.op("Sigmoid", s.conv(f)));
      return s.op("Add", y, branch(s, y));
    },
    ["identity"],
  ],
  [
    "an activation that is a product, then a skip around a branch",
    (s) => {
      const f = s.conv(s.x);
      const y = s.op("Mul", s.op("Tanh", f), f);
      return s.op("Add", y, branch(s, y));
    },
    ["identity"],
  ],
  [
    "an activation that is a product, on a shortcut",
    (s) => s.op("Add", s.op("Mul", s.x, s.op("Tanh", s.x)), branch(s, s.x)),
    [],
  ],
  ["multiplied branches", (s) => s.op("Mul", s.conv(s.x), s.conv(s.x)), []],
  [
    "norm on the shortcut",
    (s) =>
      s.op(
        "Add",
        branch(s, s.x),
        s.op("LayerNormalization", s.x, s.b.initializer("g", float32([8], new Array(8).fill(1)))),
      ),
    ["identity"],
  ],
];

/** The graph with a pair of QuantizeLinear and DequantizeLinear between every float value and its readers. */
function rounded(graph: Graph): Graph {
  const b = new GraphBuilder({ ...graph, nodes: [] });
  const scale = b.initializer("scale", float32([], [0.1]));
  const zero = b.initializer("zero", tensor("uint8", [], Uint8Array.of(128)));
  const read = new Map<ValueName, ValueName>();
  const round = (name: ValueName): void => {
    if (name === "" || typeOf(graph, name)?.dtype !== "float32") return;
    const [low = ""] = b.emit("QuantizeLinear", [name, scale, zero]).outputs;
    read.set(name, b.emit("DequantizeLinear", [low, scale, zero]).outputs[0] ?? name);
  };
  for (const { name } of graph.inputs) round(name);
  for (const node of graph.nodes) {
    b.append({ ...node, inputs: node.inputs.map((name) => read.get(name) ?? name) });
    node.outputs.forEach(round);
  }
  for (const value of graph.outputs) b.output(value);
  return b.finish(graph.name, graph.opsets);
}

describe("census", () => {
  test.each(ROWS)("%s", (_name, draw, expected) => {
    const s = new Sketch();
    expect(kinds(s.end(draw(s)))).toEqual(expected);
  });

  test.each(ROWS)("%s, with every value rounded to 8 bits", (_name, draw, expected) => {
    const s = new Sketch();
    expect(kinds(sound(rounded(s.end(draw(s)))))).toEqual(expected);
  });

  test("a sum in two nodes is one merge, rounded between them or not", () => {
    const s = new Sketch();
    const graph = s.end(s.op("Add", s.op("Add", s.x, branch(s, s.x)), branch(s, s.x)));
    for (const one of [graph, rounded(graph)]) expect(kinds(one)).toEqual(["identity"]);
  });

  test("U-Net: an encoder and its decoder lie between", () => {
    const s = new Sketch();
    const down = s.op("Relu", s.conv(s.pool(s.x), 16));
    const up = s.b.emit("Resize", [down, "", s.b.constant(float32([4], [1, 1, 2, 2]))]);
    const found = census(s.end(s.conv(s.concat(s.x, up))));
    expect(found.counts).toMatchObject({ total: 1, concat: 1, encoderDecoder: 1 });
    expect(found.skips[0]).toMatchObject({ block: "unet", encoderDecoder: true });
  });

  test("a dense block of n layers has n(n+1)/2 links, in both ways of writing it", () => {
    const chained = new Sketch();
    let x = chained.x;
    for (let i = 0; i < 4; i++) x = chained.concat(x, branch(chained, x));
    const flat = new Sketch();
    const parts = [flat.x];
    let all = flat.x;
    for (let i = 0; i < 4; i++) {
      parts.push(branch(flat, all));
      all = flat.concat(...parts);
    }
    const graphs = [chained.end(x), flat.end(all)];
    for (const found of [...graphs, ...graphs.map(rounded)].map((one) => census(one))) {
      expect(found.counts.concat).toBe(4);
      expect(found.denseLinks).toBe(10);
      expect(new Set(found.skips.map((skip) => skip.block))).toEqual(new Set(["dense"]));
    }
  });

  test("transformer: attention and MLP, pre-norm; the mask and the embeddings are no skips", () => {
    const b = new TypedBuilder();
    const tokens = b.input("tokens", "int64", ["N", 6]);
    const weight = (name: string, ...shape: number[]): ValueName =>
      b.initializer(name, { dtype: "float32", shape, data: { kind: "absent" } });
    const norm = (x: ValueName, name: string): ValueName =>
      b.emit("LayerNormalization", [x, weight(name, 8)]);
    const words = b.emit("Gather", [weight("words", 50, 8), tokens]);
    const x = b.emit("Add", [words, weight("positions", 6, 8)]);
    const n = norm(x, "n1");
    const [q, k, v] = ["q", "k", "v"].map((name) => b.emit("MatMul", [n, weight(name, 8, 8)]));
    const kt = b.emit("Transpose", [k ?? ""], { attributes: { perm: ints([0, 2, 1]) } });
    const scores = b.emit("Add", [b.emit("MatMul", [q ?? "", kt]), weight("mask", 6, 6)]);
    const mixed = b.emit("MatMul", [b.emit("Softmax", [scores]), v ?? ""]);
    const x1 = b.emit("Add", [x, b.emit("MatMul", [mixed, weight("o", 8, 8)])]);
    const hidden = b.emit("Gelu", [b.emit("MatMul", [norm(x1, "n2"), weight("up", 8, 32)])]);
    const x2 = b.emit("Add", [x1, b.emit("MatMul", [hidden, weight("down", 32, 8)])]);
    b.output({ name: x2, dtype: "float32", shape: undefined });
    const found = census(inferShapes(b.finish("gpt", new Map([["", 20]]))));
    expect(found.skips.map(({ block, norm: order }) => [block, order])).toEqual([
      ["attention", "pre"],
      ["mlp", "pre"],
    ]);
  });

  test("a norm and an activation written out: told as what they are, in the nodes of the file", () => {
    const b = new TypedBuilder();
    const x = b.input("x", "float32", ["N", 6, 8]);
    const weight = (name: string, ...shape: number[]): ValueName =>
      b.initializer(name, { dtype: "float32", shape, data: { kind: "absent" } });
    const k = (value: number): ValueName => b.constant(float32([], [value]));
    const op = (name: string, type: string, ...inputs: ValueName[]): ValueName =>
      b.emit(type, inputs, { name });
    const last = b.constant(int64([1], [-1]));
    const d = op("centre", "Sub", x, op("mean", "ReduceMean", x, last));
    const v = op("variance", "ReduceMean", op("square", "Pow", d, k(2)), last);
    const n = op("norm", "Div", d, op("root", "Sqrt", op("plus", "Add", v, k(1e-5))));
    const up = op("up", "MatMul", op("gain", "Mul", n, weight("gamma", 8)), weight("w1", 8, 32));
    const act = op("act", "Mul", up, op("gate", "Sigmoid", up));
    const y = op("merge", "Add", op("down", "MatMul", act, weight("w2", 32, 8)), x);
    b.output({ name: y, dtype: "float32", shape: undefined });
    const graph = inferShapes(b.finish("mlp", new Map([["", 20]])));
    const [skip, ...more] = census(graph).skips;
    expect(more).toEqual([]);
    expect(skip).toMatchObject({ block: "mlp", norm: "pre", span: 2, source: "x", merge: "merge" });
    const inner = ["mean", "centre", "square", "variance", "plus", "root", "norm", "gain"];
    expect(skip?.nodes.main).toEqual([...inner, "up", "gate", "act", "down"]);
    expect(skip?.distance).toBe(graph.nodes.length);
    // The last that reads x before the merge is the node inside the norm, not the whole norm.
    expect(skip?.aliveOnlyForSkip).toEqual({ from: "centre", until: "merge" });
    const memory = inferenceMemory(graph);
    expect(memory.timeline).toHaveLength(graph.nodes.length);
  });

  test("parallel attention and MLP: one skip with two branches, in any association", () => {
    for (const left of [true, false]) {
      const s = new Sketch(["N", 6, 8]);
      const a = s.linear(s.op("Gelu", s.linear(s.x, 16)), 8);
      const m = s.linear(s.op("Gelu", s.linear(s.x, 16)), 8);
      const y = left ? s.op("Add", s.op("Add", s.x, a), m) : s.op("Add", s.x, s.op("Add", a, m));
      expect(census(s.end(y)).skips.map((skip) => skip.block)).toEqual(["parallel"]);
    }
  });

  test("fused forms give the same census as what they were fused from", () => {
    const weight = (b: TypedBuilder, name: string, ...shape: number[]): ValueName =>
      b.initializer(name, { dtype: "float32", shape, data: { kind: "absent" } });
    const mlp = (b: TypedBuilder, x: ValueName): ValueName => {
      const up = b.emit("Gelu", [b.emit("MatMul", [x, weight(b, "up", 8, 32)])]);
      return b.emit("MatMul", [up, weight(b, "down", 32, 8)]);
    };
    const build = (fused: boolean): Graph => {
      const b = new TypedBuilder();
      const x = b.input("x", "float32", ["N", 6, 8]);
      const gamma = weight(b, "gamma", 8);
      const y = fused
        ? b.emit("SkipLayerNormalization", [mlp(b, x), x, gamma], { domain: "com.microsoft" })
        : b.emit("LayerNormalization", [b.emit("Add", [mlp(b, x), x]), gamma]);
      b.output({ name: y, dtype: "float32", shape: undefined });
      return inferShapes(
        b.finish(
          "g",
          new Map([
            ["", 20],
            ["com.microsoft", 1],
          ]),
        ),
      );
    };
    const facts = (graph: Graph) =>
      census(graph).skips.map(({ kind, source, block, norm }) => ({ kind, source, block, norm }));
    expect(facts(build(true))).toEqual(facts(build(false)));
    expect(facts(build(true))).toHaveLength(1);
  });

  test("a branch of an If that passes the value on is a conditional skip", () => {
    const s = new Sketch();
    s.b.input("gate", "bool", []);
    const then = new TypedBuilder();
    then.initializer("w", { dtype: "float32", shape: [8, 8, 1, 1], data: { kind: "absent" } });
    then.output({ name: then.emit("Conv", [s.x, "w"]), dtype: "float32", shape: undefined });
    const other = new TypedBuilder();
    other.output({ name: other.emit("Identity", [s.x]), dtype: "float32", shape: undefined });
    const y = s.b.emit("If", ["gate"], {
      attributes: {
        then_branch: { kind: "graph", value: then.finish("then", new Map()) },
        else_branch: { kind: "graph", value: other.finish("else", new Map()) },
      },
    });
    expect(census(s.end(y)).counts).toMatchObject({ total: 1, conditional: 1 });
  });

  test("the starter has fifteen identity skips of two transforms each", () => {
    const input = { name: "image", shape: [1, 8, 8] };
    const graph = buildNet(starter({ skips: true }), { input, output: "y", seed: 1 });
    const found = census(graph, { batch: 4 });
    expect(found.counts).toMatchObject({ total: 15, additiveIdentity: 15 });
    for (const skip of found.skips) {
      expect(skip).toMatchObject({ span: 2, bytes: 4 * 16 * 8 * 8 * 4, activation: "post" });
      expect(skip.aliveOnlyForSkip).toBeDefined();
      // All blocks are alike: their moments of most memory tie.
      expect(skip.atPeak).toBe(true);
    }
    const plain = buildNet(starter({ skips: false }), { input, output: "y", seed: 1 });
    expect(census(plain).counts.total).toBe(0);
  });

  test("names mean nothing: the same census after renaming every value and node", () => {
    const input = { name: "image", shape: [1, 8, 8] };
    const graph = buildNet(starter({ skips: true }), { input, output: "y", seed: 1 });
    const random = new Random(5);
    const names = new Map<string, string>();
    const rename = (name: string): string => {
      if (name === "") return name;
      const known = names.get(name) ?? `v${random.integer(2 ** 31)}_${names.size}`;
      names.set(name, known);
      return known;
    };
    const renamed: Graph = {
      ...graph,
      inputs: graph.inputs.map((value) => ({ ...value, name: rename(value.name) })),
      outputs: graph.outputs.map((value) => ({ ...value, name: rename(value.name) })),
      initializers: new Map([...graph.initializers].map(([name, ref]) => [rename(name), ref])),
      values: new Map([...graph.values].map(([n, v]) => [rename(n), { ...v, name: rename(n) }])),
      nodes: graph.nodes.map((node, i) => ({
        ...node,
        name: `node${i}`,
        inputs: node.inputs.map(rename),
        outputs: node.outputs.map(rename),
      })),
    };
    const facts = (g: Graph) =>
      census(g).skips.map(({ kind, span, bytes, distance, block }) => ({
        kind,
        span,
        bytes,
        distance,
        block,
      }));
    expect(facts(renamed)).toEqual(facts(graph));
  });

  test("what cannot be looked into is said, never a silent zero", () => {
    const b = new TypedBuilder();
    b.input("x", "float32", [2]);
    b.output({
      name: b.emit("torch_nn_Block", ["x"], { domain: "pkg" }),
      dtype: "float32",
      shape: undefined,
    });
    const found = census(b.finish("functions", new Map([["", 20]])));
    expect(found.hazards.map((one) => one.id)).toEqual(["census/unknown-op"]);
  });

  test("a normalisation on the shortcut is a hazard", () => {
    const s = new Sketch();
    const gamma = s.b.initializer("g", float32([8], new Array(8).fill(1)));
    const y = s.op("Add", branch(s, s.x), s.op("LayerNormalization", s.x, gamma));
    expect(census(s.end(y)).hazards.map((one) => one.id)).toEqual(["skip/norm-on-shortcut"]);
  });
});
