// Ops of ONNX Runtime's own domain, from its page of contrib operators: ops of the standard with what is
// fused into them.

import { floatAttribute, stringAttribute } from "../../src/graph/graph.ts";
import { type Array64, filled } from "./array.ts";
import { convolutions } from "./conv.ts";
import { joined } from "./elementwise.ts";
import { type Call, type Kernel, type Kernels, operand } from "./kernel.ts";
import { matmul } from "./matmul.ts";
import { affine, powerNormalised, standardised } from "./norm.ts";
import { erf, sigmoid, tanhGelu } from "./scalar.ts";

function add(a: Array64, b: Array64 | undefined): Array64 {
  return b === undefined ? a : joined([a, b], (x = 0, y = 0) => x + y);
}

function applied(x: Array64, f: (v: number) => number): Array64 {
  return { ...x, values: x.values.map(f) };
}

/** Layer normalisation of input + skip + bias; the fourth output is that sum. */
function skipLayerNorm(call: Call): Array64[] {
  const sum = add(add(operand(call, 0), operand(call, 1)), call.inputs[4]);
  const epsilon = floatAttribute(call.node, "epsilon", 1e-12);
  const [normal, mean, inverse] = standardised(sum, [-1], epsilon);
  return [affine(normal, operand(call, 2), call.inputs[3]), mean, inverse, sum];
}

function skipRmsNorm(call: Call): (Array64 | undefined)[] {
  const sum = add(add(operand(call, 0), operand(call, 1)), call.inputs[3]);
  const [normal, inverse] = powerNormalised(sum, [-1], floatAttribute(call.node, "epsilon", 1e-12));
  return [affine(normal, operand(call, 2), undefined), undefined, inverse, sum];
}

/** Rows of up to three tables, summed and normalised; how many ids a mask keeps; the sum. */
function embedLayerNorm(call: Call): Array64[] {
  const [ids, segments, words, places, kinds, scale, bias, mask, positions] = call.inputs;
  if (ids === undefined || words === undefined || places === undefined || scale === undefined) {
    throw new Error("an embedding without tables");
  }
  const width = words.shape[1] ?? 0;
  const [batch = 0, length = 0] = ids.shape;
  const row = (table: Array64, at: number, d: number): number =>
    table.values[at * width + d] ?? NaN;
  const sum = filled(words.dtype, [batch, length, width], (flat) => {
    const [token, d] = [Math.floor(flat / width), flat % width];
    const place = positions?.values[token] ?? token % length;
    const kind = segments && kinds ? row(kinds, segments.values[token] ?? NaN, d) : 0;
    return row(words, ids.values[token] ?? NaN, d) + row(places, place, d) + kind;
  });
  const [normal] = standardised(sum, [-1], floatAttribute(call.node, "epsilon", 1e-12));
  const kept = filled("int32", [batch], (b) => {
    const own = Array.from(mask?.values.slice(b * length, (b + 1) * length) ?? []);
    return own.reduce((total, v) => total + v, 0);
  });
  return [affine(normal, scale, bias), kept, sum];
}

/** A convolution or product, then the sum of a skip, then an activation. */
function fused(kernel: Kernel | undefined, skip: number | undefined): Kernel {
  return (call) => {
    const [y] = kernel?.(call) ?? [];
    if (y === undefined) throw new Error(`${call.node.op} is fused around nothing`);
    const whole = skip === undefined ? y : add(y, call.inputs[skip]);
    return [applied(whole, activationOf(call))];
  };
}

function activationOf(call: Call): (x: number) => number {
  const { node } = call;
  const list = node.attributes.get("activation_params");
  const [first, second] = list?.kind === "floats" ? list.value : [];
  const alpha = floatAttribute(node, "activation_alpha", first ?? 0.01);
  switch (stringAttribute(node, "activation", "")) {
    case "":
      return (x) => x;
    case "Relu":
      return (x) => Math.max(x, 0);
    case "Tanh":
      return Math.tanh;
    case "Sigmoid":
      return sigmoid;
    case "LeakyRelu":
      return (x) => (x < 0 ? alpha * x : x);
    case "Clip":
      return (x) => Math.min(Math.max(x, first ?? Number.NaN), second ?? Number.NaN);
    case "HardSigmoid":
      return (x) => Math.min(Math.max((first ?? 0.2) * x + (second ?? 0.5), 0), 1);
    default:
      throw new Error(`${node.op} with another activation`);
  }
}

const gelu = (x: number): number => 0.5 * x * (1 + erf(x / Math.SQRT2));

const ops: Kernels = {
  SkipLayerNormalization: skipLayerNorm,
  SkipSimplifiedLayerNormalization: skipRmsNorm,
  EmbedLayerNormalization: embedLayerNorm,
  Gelu: (call) => [applied(operand(call, 0), gelu)],
  BiasGelu: (call) => [applied(add(operand(call, 0), call.inputs[1]), gelu)],
  FastGelu: (call) => [applied(add(operand(call, 0), call.inputs[1]), tanhGelu)],
  QuickGelu: (call) => {
    const alpha = floatAttribute(call.node, "alpha", 1.702);
    return [applied(operand(call, 0), (x) => x * sigmoid(alpha * x))];
  },
  FusedConv: fused(convolutions["Conv"], 3),
  FusedGemm: fused(matmul["Gemm"], undefined),
};

/** All ops of this family, by domain and type. */
export const contrib: Kernels = Object.fromEntries(
  Object.entries(ops).map(([type, kernel]) => [`com.microsoft/${type}`, kernel]),
);
