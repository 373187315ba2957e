// The same network in the forms in which exporters, quantizers and the runtime write it.

import { describe, expect, test } from "vitest";
import { canonicalize } from "../canonical/canonical.ts";
import type { EmitOptions } from "../graph/build.ts";
import { type Graph, int, ints, string, type ValueName } from "../graph/graph.ts";
import { parseGraph } from "../graph/parse.ts";
import { typeOf } from "../graph/query.ts";
import { float32, tensor } from "../graph/tensor.ts";
import { graph } from "../graph/text.test-helper.ts";
import { census } from "./census.ts";
import { Sketch } from "./sketch.test-helper.ts";

/** Kind, block and activation of each skip. */
function rows(graph: Graph): string[] {
  return census(graph).skips.map(({ kind, block, activation }) => [kind, block, activation].join());
}

/** A convolution as the runtime writes it, with what is fused into it. */
function fused(
  s: Sketch,
  inputs: readonly ValueName[],
  options: { domain: string; activation?: string },
): ValueName {
  const attributes = new Map(
    options.activation ? [["activation", string(options.activation)]] : [],
  );
  const w = s.b.constant(float32([8, 8, 1, 1], new Array(64).fill(1)));
  const [x = "", ...rest] = inputs;
  const op = options.domain.endsWith("nchwc") ? "Conv" : "FusedConv";
  const one: EmitOptions = { domain: options.domain, attributes: Object.fromEntries(attributes) };
  return s.b.emit(op, [x, w, "", ...rest], one);
}

const BLOCKED = "com.microsoft.nchwc";

describe("fused by the runtime", () => {
  test.each(["com.microsoft", BLOCKED])("%s: a sum inside a convolution", (domain) => {
    const s = new Sketch();
    const z = fused(s, [s.x], { domain, activation: "Relu" });
    const y = fused(s, [z, s.x], { domain, activation: "Relu" });
    expect(rows(s.end(y))).toEqual(["identity,additive,post"]);
  });

  test.each(["com.microsoft", BLOCKED])("%s: the projection holds the sum", (domain) => {
    const s = new Sketch();
    const branch = s.conv(s.op("Relu", s.conv(s.x)));
    const y = fused(s, [s.x, branch], { domain, activation: "Relu" });
    expect(rows(s.end(y))).toEqual(["projection,additive,post"]);
  });

  test.each(["com.microsoft", BLOCKED])(
    "%s: a sum inside a convolution is part of a larger one",
    (domain) => {
      const skips = (activation?: string) => {
        const s = new Sketch();
        const scale = s.b.constant(float32([8, 1, 1], new Array(8).fill(2)));
        const options = activation === undefined ? { domain } : { domain, activation };
        const inner = fused(s, [s.x, s.op("Mul", s.x, scale)], options);
        return rows(s.end(s.op("Add", inner, s.x)));
      };
      // k(x) + 2x + x, and the same where an activation parts the sums.
      expect(skips()).toHaveLength(1);
      expect(skips("Relu")).toHaveLength(2);
    },
  );

  test("a recurrent layer whose weights are integers", () => {
    const ones = new Array(16).fill(1).join();
    const lstm = parseGraph(`<ir_version: 10, opset_import: ["" : 20, "com.microsoft" : 1]>
      g (float[5,1,2] x) => (float[5,1,2] y)
      <int8[1,2,8] w = {${ones}}, int8[1,2,8] r = {${ones}}, float[1] s = {1}, int8[1] z = {0}, int64[1] one = {1}> {
        h = com.microsoft.DynamicQuantizeLSTM <hidden_size = 2> (x, w, r, , , , , , s, z, s, z)
        f = Squeeze (h, one)  y = Add (x, f)
      }`);
    expect(rows(lstm)).toEqual(["identity,additive,none"]);
    expect(census(lstm).hazards).toEqual([]);
  });

  test("a convolution with an activation is no projection", () => {
    const s = new Sketch();
    const a = fused(s, [s.x], { domain: BLOCKED, activation: "Relu" });
    const b = s.op("Relu", s.conv(s.op("Relu", s.conv(s.x))));
    expect(rows(s.end(s.op("Add", a, b)))).toEqual([]);
  });

  test("three branches of which one is a fused convolution: the identity is the shortcut", () => {
    const s = new Sketch();
    const small = s.conv(s.x, 8, { kernel: 1 });
    const y = fused(s, [s.x, s.op("Add", small, s.x)], { domain: BLOCKED, activation: "Relu" });
    expect(rows(s.end(y))).toEqual(["identity,additive,post"]);
  });
});

test.each(["SkipLayerNormalization", "SkipSimplifiedLayerNormalization"])(
  "%s whose sum is read on: two residuals before their norms",
  (op) => {
    const s = new Sketch(["N", 4, 8]);
    const gamma = s.b.constant(float32([8], new Array(8).fill(1)));
    const mlp = (x: ValueName): ValueName => s.linear(s.op("Relu", s.linear(x)));
    const joined = (a: ValueName, b: ValueName): readonly ValueName[] =>
      s.b.emitAll(op, [a, b, gamma], {
        domain: "com.microsoft",
        outputs: [`${a}.normed`, "", "", `${a}.sum`],
      });
    const first = mlp(s.b.emit("LayerNormalization", [s.x, gamma]));
    const [normed = "", , , sum = ""] = joined(s.x, first);
    const [end = ""] = joined(sum, mlp(normed));
    const graph = s.end(end);
    const found = census(graph).skips.map(({ source, norm, block }) => [source, norm, block]);
    expect(found).toEqual([
      [s.x, "pre", "mlp"],
      [sum, "pre", "mlp"],
    ]);
  },
);

test("an op of an unknown domain means nothing, whatever it is called", () => {
  const s = new Sketch();
  const branch = s.conv(s.op("Relu", s.conv(s.x)));
  const foreign = s.b.emit("Add", [branch, s.x], { domain: "com.example" });
  const graph = s.end(s.conv(foreign));
  expect(rows(graph)).toEqual([]);
  expect(census(graph).hazards.map(({ id }) => id)).toContain("census/unknown-op");
});

/** A value on the grid of unsigned bytes and back. */
function rounded(s: Sketch, x: ValueName, zero: number): ValueName {
  const scale = s.one(0.1);
  const point = s.b.constant(tensor("uint8", [], Uint8Array.of(zero)));
  return s.op("DequantizeLinear", s.op("QuantizeLinear", x, scale, point), scale, point);
}

describe("quantized", () => {
  test("integers carry activations on: a U-Net with pooling and Concat of bytes", () => {
    const s = new Sketch();
    const scale = s.one(0.1);
    const zero = s.b.constant(tensor("uint8", [], Uint8Array.of(128)));
    const w = s.b.initializer("wq", tensor("uint8", [8, 8, 1, 1], new Uint8Array(64)));
    const conv = (x: ValueName): ValueName =>
      s.op("QLinearConv", x, scale, zero, w, scale, zero, scale, zero);
    const first = conv(s.op("QuantizeLinear", s.x, scale, zero));
    const low = conv(s.pool(first));
    const sizes = s.b.constant(float32([4], [1, 1, 2, 2]));
    const up = s.b.emit("Resize", [low, "", sizes]);
    const joined = s.b.emit("Concat", [first, up], { attributes: { axis: int(1) } });
    const y = s.op("DequantizeLinear", joined, scale, zero);
    const [skip] = census(s.end(y)).skips;
    expect(skip).toMatchObject({ kind: "concat", encoderDecoder: true });
  });

  test("a grid without negative numbers is the Relu that the tool left out", () => {
    const parallel = (zero: number): string[] => {
      const s = new Sketch();
      const a = rounded(s, s.conv(s.x), zero);
      const b = rounded(s, s.conv(rounded(s, s.conv(s.x), zero)), zero);
      return census(s.end(s.op("Add", a, b))).skips.map(({ kind }) => kind);
    };
    expect(parallel(0)).toEqual([]);
    expect(parallel(128)).toEqual(["projection"]);
  });

  test("post-activation, where the Relu behind the sum was left out", () => {
    const s = new Sketch();
    const x = rounded(s, s.x, 0);
    const branch = rounded(s, s.conv(rounded(s, s.conv(x), 0)), 128);
    const y = s.conv(rounded(s, s.op("Add", x, branch), 0));
    expect(rows(s.end(y))).toEqual(["identity,additive,post"]);
  });
});

describe("the same sum in other words", () => {
  test("x + g(x)·(h(x) - x) is a highway layer, and its difference no skip", () => {
    const s = new Sketch();
    const gate = s.op("Sigmoid", s.conv(s.x));
    const h = s.op("Relu", s.conv(s.x));
    const y = s.op("Add", s.x, s.op("Mul", gate, s.op("Sub", h, s.x)));
    expect(rows(s.end(y))).toEqual(["gated,highway,none"]);
  });

  test("channels of zeros beside a pooled shortcut are a padding", () => {
    const s = new Sketch();
    const zeros = s.b.initializer("zeros", float32([1, 8, 4, 4], new Array(128).fill(0)));
    const shortcut = s.concat(s.pool(s.x, "AveragePool"), zeros);
    const branch = s.conv(s.op("Relu", s.conv(s.x, 16, { stride: 2 })), 16);
    expect(rows(s.end(s.op("Add", branch, shortcut)))).toEqual(["padded,additive,none"]);
  });

  test("sums of which no shape is known are one merge", () => {
    const s = new Sketch(["N", "C", "H", "W"]);
    const w = s.b.initializer("w", float32([8, 8, 1, 1], new Array(64).fill(1)));
    const layer = (x: ValueName): ValueName => s.op("Relu", s.op("Conv", x, w));
    const [a, b] = [layer(s.x), layer(layer(s.x))];
    const inner = s.op("Add", a, b);
    expect(rows(s.end(s.op("Add", inner, s.x)))).toEqual(["identity,additive,none"]);
  });

  test("pooling behind a norm mixes tokens; the difference inside is a part of it", () => {
    const s = new Sketch();
    const ones = s.b.initializer("ones", float32([8], new Array(8).fill(1)));
    const normed = s.b.emit("InstanceNormalization", [s.x, ones, ones]);
    const pooled = s.b.emit("AveragePool", [normed], {
      attributes: { kernel_shape: ints([3, 3]), pads: ints([1, 1, 1, 1]) },
    });
    const y = s.op("Add", s.x, s.op("Sub", pooled, normed));
    expect(census(s.end(y)).skips.map(({ source }) => source)).toEqual([s.x]);
  });

  test("weighted sums over all earlier streams are told apart from residuals", () => {
    const s = new Sketch();
    const block = (x: ValueName): ValueName => s.op("Add", x, s.conv(s.op("Relu", s.conv(x))));
    const weigh = (x: ValueName): ValueName => s.op("Mul", x, s.one(0.5));
    const one = s.op("Add", weigh(s.x), weigh(block(s.x)));
    const two = s.op("Add", s.op("Add", weigh(s.x), weigh(one)), weigh(block(one)));
    const kinds = census(s.end(s.conv(two))).skips.map(({ kind }) => kind);
    expect(kinds.filter((kind) => kind === "multi-stream")).toHaveLength(3);
    expect(kinds.filter((kind) => kind === "identity")).toHaveLength(2);
  });
});

/** F.pad as PyTorch's older exporter writes it: the list is filled up, turned round and flattened. */
test("the padding of a shortcut of option A is known", () => {
  const model = graph`
    g (float[N,16,32,32] x) => (float[N,32,16,16] y)
    < float[32,16,3,3] w = {}, float[32,32,3,3] u = {} >
    {
      a = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (x, w) r = Relu (a)
      f = Conv <pads = [1, 1, 1, 1]> (r, u)
      zero = Constant <value = int64[1] {0}> () end = Constant <value = int64[1] {9223372036854775807}> ()
      axes = Constant <value = int64[2] {2, 3}> () twos = Constant <value = int64[2] {2, 2}> ()
      starts = Constant <value = int64[2] {0, 0}> ()
      ends = Constant <value = int64[2] {9223372036854775807, 9223372036854775807}> ()
      s = Slice (x, starts, ends, axes, twos)
      given = Constant <value = int64[6] {0, 0, 0, 0, 8, 8}> () two = Constant <value = int64[1] {2}> ()
      rest = ConstantOfShape <value = int64[1] {0}> (two)
      all = Concat <axis = 0> (given, rest)
      pairs = Constant <value = int64[2] {-1, 2}> () table = Reshape (all, pairs)
      last = Constant <value = int64[1] {-1}> () first = Constant <value = int64[1] {-9223372036854775807}> ()
      round = Slice (table, last, first, zero, last)
      turned = Transpose <perm = [1, 0]> (round) flat = Reshape (turned, last) pads = Cast <to = 7> (flat)
      p = Pad <mode = "constant"> (s, pads)
      y = Add (f, p)
    }`;
  expect(rows(model)).toEqual(["padded,additive,none"]);
  const whole = canonicalize(model);
  expect(typeOf(whole, "p")?.shape).toEqual(["N", 32, 16, 16]);
});

test("the runtime's embedding of BERT: an op that is known, and no skip", () => {
  const model = graph`
    <opset_import: ["" : 20, "com.microsoft" : 1]>
    g (int32[N,6] ids, int32[N,6] segments, int32[N,6] mask) => (float[N,6,8] y)
    < float[30,8] words = {}, float[6,8] positions = {}, float[2,8] kinds = {}, float[8] gamma = {}, float[8] beta = {},
      float[8,32] up = {}, float[32,8] down = {} >
    {
      x, end, sum = com.microsoft.EmbedLayerNormalization
        (ids, segments, words, positions, kinds, gamma, beta, mask)
      a = MatMul (x, up) r = Gelu (a) f = MatMul (r, down)
      y = com.microsoft.SkipLayerNormalization (f, x, gamma, beta)
    }`;
  const found = census(model);
  expect(found.hazards).toEqual([]);
  expect(found.skips).toMatchObject([{ source: "x", kind: "identity", block: "mlp", bytes: 192 }]);
});
