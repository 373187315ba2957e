// What ops do to a signal, in the words in which skips are defined. By op alone, never by name.

import { type Node, stringAttribute } from "../../graph/graph.ts";
import { MACRO_DOMAIN } from "../../ops/macro.ts";

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
  ...["Attention", "ConvInteger", "MatMulInteger", "DeformConv", "MultiHeadAttention"],
  ...["FusedConv", "FusedMatMul", "FusedGemm", "GroupQueryAttention", "PackedAttention"],
  ...["MatMulNBits", "QAttention", "DynamicQuantizeMatMul", "MatMulIntegerToFloat"],
  ...["DecoderMaskedMultiHeadAttention", "PackedMultiHeadAttention", "SparseAttention"],
  // The product with a matrix of fixed waves; it mixes tokens in the place of attention (FNet).
  ...["Linear", "DFT"],
]);

/** Transforms that keep a projection linear when one operand is an activation. */
const LINEAR = new Set([
  ...["Conv", "ConvTranspose", "Gemm", "MatMul", "FusedConv", "FusedGemm", "FusedMatMul"],
  ...["ConvInteger", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"],
  ...["MatMulNBits", "Linear", "DFT"],
]);

const NONLINEAR = new Set([
  ...["Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "Clip", "Sigmoid", "HardSigmoid"],
  ...["HardSwish", "Tanh", "Erf", "Gelu", "FastGelu", "QuickGelu", "BiasGelu", "Mish", "Swish"],
  ...["Softplus", "Softsign", "ThresholdedRelu", "Softmax", "LogSoftmax", "Exp", "Log", "Sqrt"],
  ...["Pow", "Abs", "Sin", "Cos", "Reciprocal", "Hardmax"],
]);

const NORMS = new Set([
  ...["LayerNormalization", "GroupNormalization", "InstanceNormalization", "RMSNormalization"],
  ...[
    "SimplifiedLayerNormalization",
    "GroupNorm",
    "LpNormalization",
    "MeanVarianceNormalization",
    "LRN",
  ],
]);

const MARKS: ReadonlyMap<string, Mark> = new Map<string, Mark>([
  ["MaxPool", "pooled"],
  ["AveragePool", "pooled"],
  ["GlobalAveragePool", "pooled"],
  ["GlobalMaxPool", "pooled"],
  ["LpPool", "pooled"],
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
  ...["BatchNormalization", "FakeQuantize", "RotaryEmbedding", "ReorderInput", "ReorderOutput"],
  ...["DynamicQuantizeLinear", "BiasAdd"],
]);

const MOVES = new Set(["Transpose", "Cast", "Identity", "ReorderInput", "ReorderOutput"]);

/** Rounding, and the layouts of the runtime: the same value in another form. */
const ROUNDING = new Set([
  ...["QuantizeLinear", "DequantizeLinear", "FakeQuantize", "ReorderInput", "ReorderOutput"],
  ...["Cast", "CastLike"],
]);

/** Affine when all operands but one are constants. */
const AFFINE = new Set(["Mul", "Div", "Add", "Sub", "Sum"]);

/** Standard and macro ops, and the domains in which the runtime writes what it has fused. */
const KNOWN_DOMAINS = new Set([
  ...["", "ai.onnx", MACRO_DOMAIN, "ai.onnx.preview", "com.microsoft", "com.ms.internal.nhwc"],
  "com.microsoft.nchwc",
]);

/** Ops of the runtime that do what a standard op does, in integers or in another layout. */
const SYNONYMS: ReadonlyMap<string, string> = new Map([
  ["NhwcConv", "Conv"],
  ["NhwcFusedConv", "FusedConv"],
  ["NhwcMaxPool", "MaxPool"],
  ["QGemm", "Gemm"],
  ["DynamicQuantizeLSTM", "LSTM"],
  ["QLinearGlobalAveragePool", "GlobalAveragePool"],
]);

/**
 * The word for what a node does, whatever the domain: the standard op for its twin in integers
 * (`QLinearMul`) or in a blocked layout (`com.microsoft.nchwc.Conv`). An op of an unknown domain is its
 * full name: it means nothing, even if it is called `Conv`.
 */
export function wordOf(node: Node): string {
  if (!KNOWN_DOMAINS.has(node.domain)) return `${node.domain}.${node.op}`;
  // The blocked convolution takes a sum and an activation, as the fused one does.
  if (node.domain === "com.microsoft.nchwc" && node.op === "Conv") return "FusedConv";
  const synonym = SYNONYMS.get(node.op);
  if (synonym !== undefined) return synonym;
  return node.op.startsWith("QLinear") ? node.op.slice("QLinear".length) : node.op;
}

/** The role of a node that has `activations` activation operands. */
export function roleOf(node: Node, activations: number): Role {
  const word = wordOf(node);
  if (TRANSFORMS.has(word)) return "transform";
  if (NORMS.has(word)) return "norm";
  if (NONLINEAR.has(word)) return "nonlinear";
  if (activations !== 1) return "other";
  if (MOVING.has(word) || MARKS.has(word) || AFFINE.has(word)) return "transparent";
  // Beside constants only: the channels that ResNet's option A adds.
  return word === "Concat" ? "transparent" : "other";
}

/** Whether a transform is linear in its only activation operand. */
export function isLinear(node: Node, activations: number): boolean {
  return activations === 1 && LINEAR.has(wordOf(node)) && fusedActivation(node) === undefined;
}

/** Whether the census knows what a node does to a signal. */
export function isKnownWord(node: Node): boolean {
  return roleOf(node, 1) !== "other";
}

/** What a transparent node adds to the description of a shortcut. */
export function markOf(node: Node): Mark | undefined {
  const word = wordOf(node);
  if (word === "Mul" || word === "Div") return "scaled";
  return word === "Concat" ? "padded" : MARKS.get(word);
}

/** Whether a node gives its operand on a coarser grid, or brings it back from there. */
export function isRounding(node: Node): boolean {
  return ROUNDING.has(wordOf(node));
}

/** Activation functions, for pre- and post-activation. */
export function isActivation(node: Node): boolean {
  const word = wordOf(node);
  return NONLINEAR.has(word) && word !== "Softmax" && word !== "LogSoftmax";
}

/** The activation function that the runtime has fused with a transform: that of its result. */
export function fusedActivation(node: Node): string | undefined {
  const word = wordOf(node);
  if (word !== "FusedConv" && word !== "FusedGemm") return;
  const activation = stringAttribute(node, "activation", "");
  return NONLINEAR.has(activation) ? activation : undefined;
}

/** Whether a node only moves elements, or rounds them. */
export function isMove(node: Node): boolean {
  return isRounding(node) || MOVES.has(wordOf(node));
}

/** Normalisations, those of a batch included. */
export function isNorm(node: Node): boolean {
  const word = wordOf(node);
  return NORMS.has(word) || word === "BatchNormalization";
}

/** Whether a node can make a picture smaller: a stride, or pooling. */
export function shrinks(node: Node): boolean {
  const word = wordOf(node);
  if (MARKS.get(word) === "pooled") return !word.startsWith("Global") && strided(node);
  return (word === "Conv" || word === "FusedConv" || word === "ConvInteger") && strided(node);
}

/** Whether a node can make a picture larger. */
export function grows(node: Node): boolean {
  const word = wordOf(node);
  if (word === "ConvTranspose") return strided(node);
  return MARKS.get(word) === "resampled" && word !== "SpaceToDepth";
}

function strided(node: Node): boolean {
  const strides = node.attributes.get("strides");
  return strides?.kind === "ints" && strides.value.some((stride) => Number(stride) > 1);
}
