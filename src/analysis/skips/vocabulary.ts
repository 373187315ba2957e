// What ops do to a signal, in the words in which skips are defined. By op alone, never by name.

import { type Node, stringAttribute } from "../../graph/graph.ts";

/**
 * `transform`: learned weights, or activations mixed with activations. `linear`: a transform whose
 * result is linear in its one activation operand. `transparent`: moves, scales or shifts by constants,
 * does not mix channels. `norm`: data-dependent normalisation. `nonlinear`: element by element.
 */
export type Role = "transform" | "transparent" | "norm" | "nonlinear" | "other";

/** What a transparent step does beside passing on, for the kind of the skip. */
export type Mark = "pooled" | "padded" | "resampled" | "scaled" | "negated" | "sliced" | "norm";

const TRANSFORMS = new Set([
  ...["Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum", "RNN", "LSTM", "GRU"],
  ...["Attention", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", "DeformConv"],
  ...["FusedConv", "FusedMatMul", "FusedGemm", "MultiHeadAttention", "GroupQueryAttention"],
  ...["MatMulNBits", "QAttention", "QGemm", "DynamicQuantizeMatMul", "NhwcFusedConv"],
  "Linear",
]);

/** Transforms that keep a projection linear when one operand is an activation. */
const LINEAR = new Set([
  ...["Conv", "ConvTranspose", "Gemm", "MatMul", "QLinearConv", "QLinearMatMul"],
  ...["FusedMatMul", "MatMulNBits", "QGemm", "Linear"],
]);

const NONLINEAR = new Set([
  ...["Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "Clip", "Sigmoid", "HardSigmoid"],
  ...["HardSwish", "Tanh", "Erf", "Gelu", "FastGelu", "QuickGelu", "BiasGelu", "Mish", "Swish"],
  ...["Softplus", "Softsign", "ThresholdedRelu", "Softmax", "LogSoftmax", "Exp", "Log", "Sqrt"],
  ...["Pow", "Abs", "Sin", "Cos", "Reciprocal", "Hardmax"],
]);

const NORMS = new Set([
  ...["LayerNormalization", "GroupNormalization", "InstanceNormalization", "RMSNormalization"],
  ...["SimplifiedLayerNormalization", "LpNormalization", "MeanVarianceNormalization", "LRN"],
]);

const MARKS: ReadonlyMap<string, Mark> = new Map<string, Mark>([
  ["MaxPool", "pooled"],
  ["AveragePool", "pooled"],
  ["GlobalAveragePool", "pooled"],
  ["GlobalMaxPool", "pooled"],
  ["LpPool", "pooled"],
  ["QLinearAveragePool", "pooled"],
  ["Resize", "resampled"],
  ["Upsample", "resampled"],
  ["DepthToSpace", "resampled"],
  ["SpaceToDepth", "resampled"],
  ["Pad", "padded"],
  ["Neg", "negated"],
  ["Slice", "sliced"],
  ["Split", "sliced"],
]);

const MOVING = new Set([
  ...["Identity", "Cast", "CastLike", "Dropout", "Reshape", "Transpose", "Flatten", "Squeeze"],
  ...["Unsqueeze", "Expand", "Tile", "QuantizeLinear", "DequantizeLinear", "Gather"],
  ...["BatchNormalization", "FakeQuantize", "RotaryEmbedding"],
]);

const ROUNDING = new Set(["QuantizeLinear", "DequantizeLinear", "FakeQuantize"]);

/** Affine when all operands but one are constants. */
const AFFINE = new Set(["Mul", "Div", "Add", "Sub", "Sum"]);

/** The role of a node that has `activations` activation operands. */
export function roleOf(node: Node, activations: number): Role {
  if (TRANSFORMS.has(node.op)) return "transform";
  if (NORMS.has(node.op)) return "norm";
  if (NONLINEAR.has(node.op)) return "nonlinear";
  if (activations !== 1) return "other";
  if (MOVING.has(node.op) || MARKS.has(node.op) || AFFINE.has(node.op)) return "transparent";
  return "other";
}

/** Whether a transform is linear in its only activation operand. */
export function isLinear(node: Node, activations: number): boolean {
  return activations === 1 && LINEAR.has(node.op);
}

/** What a transparent node adds to the description of a shortcut. */
export function markOf(node: Node): Mark | undefined {
  if (node.op === "Mul" || node.op === "Div") return "scaled";
  return MARKS.get(node.op);
}

/** Whether a node gives its operand on a coarser grid, or brings it back from there. */
export function isRounding(node: Node): boolean {
  return ROUNDING.has(node.op);
}

/** Activation functions, for pre- and post-activation. */
export function isActivation(node: Node): boolean {
  return NONLINEAR.has(node.op) && node.op !== "Softmax" && node.op !== "LogSoftmax";
}

/** The activation function that the runtime has fused with a transform: that of its result. */
export function fusedActivation(node: Node): string | undefined {
  if (node.op !== "FusedConv" && node.op !== "FusedGemm" && node.op !== "NhwcFusedConv") return;
  const activation = stringAttribute(node, "activation", "");
  return NONLINEAR.has(activation) ? activation : undefined;
}

/** Whether a node only moves elements, or rounds them. */
export function isMove(node: Node): boolean {
  return (
    isRounding(node) || node.op === "Transpose" || node.op === "Cast" || node.op === "Identity"
  );
}

/** Normalisations, those of a batch included. */
export function isNorm(node: Node): boolean {
  return NORMS.has(node.op) || node.op === "BatchNormalization";
}

/** Whether a node can make a picture smaller: a stride, or pooling. */
export function shrinks(node: Node): boolean {
  if (MARKS.get(node.op) === "pooled") return !node.op.startsWith("Global") && strided(node);
  return (
    (node.op === "Conv" || node.op === "QLinearConv" || node.op === "FusedConv") && strided(node)
  );
}

/** Whether a node can make a picture larger. */
export function grows(node: Node): boolean {
  if (node.op === "ConvTranspose") return strided(node);
  return MARKS.get(node.op) === "resampled" && node.op !== "SpaceToDepth";
}

function strided(node: Node): boolean {
  const strides = node.attributes.get("strides");
  return strides?.kind === "ints" && strides.value.some((stride) => Number(stride) > 1);
}
