// Normalisation, and the softmax family.

import { floatAttribute, intAttribute, type ValueName } from "../graph/graph.ts";
import { normalizeAxis } from "../graph/shape.ts";
import { scalar } from "../graph/tensor.ts";
import { knownShape, reduce, shapeConstant, staticShape } from "./construct.ts";
import type { GradientContext, OpDef, ShapeRule } from "./op.ts";
import { defineOp, NO_RULE, perInput, sameAsInput, typed } from "./rules.ts";

const batchNormShape: ShapeRule = (c) => [
  c.input(0),
  typed(c.input(3)?.dtype, c.input(3)?.shape),
  typed(c.input(4)?.dtype, c.input(4)?.shape),
];

/** A vector over channels as a tensor that broadcasts against [N, C, …]. */
function overChannels(context: GradientContext, v: ValueName, rank: number): ValueName {
  const channels = staticShape(context, v, context.node)[0] ?? 1;
  const trailing = Array.from({ length: rank - 2 }, () => 1);
  return context.emit("Reshape", [v, shapeConstant(context, [1, channels, ...trailing])]);
}

/**
 * Batch statistics in the forward (training_mode = 1), source: Ioffe and Szegedy 2015, section 3.
 * With d = x - mean, r = 1/√(variance + ε) and means over batch and pixels:
 * dγ = Σ dy·d·r, dβ = Σ dy, dx = γr·(dy - mean(dy) - d·r²·mean(dy·d)).
 * Mean and variance are computed again: two small reductions, and nothing more to keep in memory.
 */
function trainingGradient(context: GradientContext, dy: ValueName): (ValueName | undefined)[] {
  const { node } = context;
  const [x = "", scale = ""] = node.inputs;
  const rank = knownShape(context, x, node).length;
  const axes = [0, ...Array.from({ length: rank - 2 }, (_, i) => i + 2)];
  const mean = (v: ValueName): ValueName => reduce(context, "ReduceMean", v, axes, true);
  const centred = context.emit("Sub", [x, mean(x)]);
  const variance = mean(context.emit("Mul", [centred, centred]));
  const epsilon = context.constant(scalar(floatAttribute(node, "epsilon", 1e-5)), "epsilon");
  const deviation = context.emit("Sqrt", [context.emit("Add", [variance, epsilon])]);
  const r = context.emit("Reciprocal", [deviation]);
  const meanDy = mean(dy);
  const meanDyD = mean(context.emit("Mul", [dy, centred]));
  const slope = context.emit("Mul", [meanDyD, context.emit("Mul", [r, r])]);
  const pulled = context.emit("Sub", [
    context.emit("Sub", [dy, meanDy]),
    context.emit("Mul", [centred, slope]),
  ]);
  const gain = context.emit("Mul", [overChannels(context, scale, rank), r]);
  const count = elementsPerChannel(context, x);
  const flat = (v: ValueName): ValueName => {
    const channels = staticShape(context, scale, node);
    return context.emit("Reshape", [v, shapeConstant(context, channels)]);
  };
  const total = (v: ValueName): ValueName => flat(context.emit("Mul", [v, count]));
  return [
    context.wants(0) ? context.emit("Mul", [pulled, gain]) : undefined,
    context.wants(1) ? total(context.emit("Mul", [meanDyD, r])) : undefined,
    context.wants(2) ? total(meanDy) : undefined,
  ];
}

function elementsPerChannel(context: GradientContext, x: ValueName): ValueName {
  const shape = staticShape(context, x, context.node);
  const count = shape.reduce((product, dim, axis) => (axis === 1 ? product : product * dim), 1);
  return context.constant(scalar(count), "count");
}

/** Fixed statistics: y = γr·x + (β - γr·mean), so dx = γr·dy, dγ = Σ dy·(x - mean)·r, dβ = Σ dy. */
function inferenceGradient(context: GradientContext, dy: ValueName): (ValueName | undefined)[] {
  const { node } = context;
  const [x = "", scale = "", , mean = "", variance = ""] = node.inputs;
  const rank = knownShape(context, x, node).length;
  const axes = [0, ...Array.from({ length: rank - 2 }, (_, i) => i + 2)];
  const epsilon = context.constant(scalar(floatAttribute(node, "epsilon", 1e-5)), "epsilon");
  const r = context.emit("Reciprocal", [
    context.emit("Sqrt", [context.emit("Add", [variance, epsilon])]),
  ]);
  const gain = (): ValueName => overChannels(context, context.emit("Mul", [scale, r]), rank);
  const centred = (): ValueName => context.emit("Sub", [x, overChannels(context, mean, rank)]);
  const sum = (v: ValueName): ValueName => reduce(context, "ReduceSum", v, axes, false);
  return [
    context.wants(0) ? context.emit("Mul", [dy, gain()]) : undefined,
    context.wants(1)
      ? context.emit("Mul", [sum(context.emit("Mul", [dy, centred()])), r])
      : undefined,
    context.wants(2) ? sum(dy) : undefined,
  ];
}

const batchNormalization = defineOp("BatchNormalization", {
  shape: batchNormShape,
  cost: perInput(2),
  saves: { inputs: [0, 1], outputs: [] },
  gradient: (context, [dy]) => {
    if (dy === undefined) return [];
    const training = intAttribute(context.node, "training_mode", 0) !== 0;
    return training ? trainingGradient(context, dy) : inferenceGradient(context, dy);
  },
});

/** dx = y·(dy - Σ dy·y) along the axis. */
const softmax = defineOp("Softmax", {
  shape: sameAsInput,
  cost: perInput(5),
  saves: { inputs: [], outputs: [0] },
  gradient: (context, [dy]) => {
    if (dy === undefined) return [undefined];
    const y = context.node.outputs[0] ?? "";
    const axis = intAttribute(context.node, "axis", -1);
    const along = reduce(context, "ReduceSum", context.emit("Mul", [dy, y]), [axis], true);
    return [context.emit("Mul", [y, context.emit("Sub", [dy, along])])];
  },
});

/** dx = dy - exp(y)·Σ dy along the axis. */
const logSoftmax = defineOp("LogSoftmax", {
  shape: sameAsInput,
  cost: perInput(5),
  saves: { inputs: [], outputs: [0] },
  gradient: (context, [dy]) => {
    if (dy === undefined) return [undefined];
    const y = context.node.outputs[0] ?? "";
    const axis = intAttribute(context.node, "axis", -1);
    const along = reduce(context, "ReduceSum", dy, [axis], true);
    const share = context.emit("Mul", [context.emit("Exp", [y]), along]);
    return [context.emit("Sub", [dy, share])];
  },
});

const unsupported = (type: string, saves: readonly number[] = [0]): OpDef =>
  defineOp(type, {
    shape: sameAsInput,
    cost: perInput(5),
    saves: { inputs: saves, outputs: [] },
    gradient: NO_RULE,
  });

/** The normalised axes are 1 in mean and inverse deviation, which are float32 (ONNX LayerNormalization-17). */
const layerNormalization = defineOp("LayerNormalization", {
  shape: (c) => {
    const x = c.input(0);
    const axis = x?.shape && normalizeAxis(intAttribute(c.node, "axis", -1), x.shape.length);
    const kept = axis === undefined ? undefined : x?.shape?.map((dim, i) => (i < axis ? dim : 1));
    return [x, typed("float32", kept), typed("float32", kept)];
  },
  cost: perInput(5),
  saves: { inputs: [0, 1], outputs: [] },
  gradient: NO_RULE,
});

/** All ops of this family. */
export const norms: readonly OpDef[] = [
  batchNormalization,
  softmax,
  logSoftmax,
  layerNormalization,
  unsupported("RMSNormalization", [0, 1]),
  unsupported("MeanVarianceNormalization"),
  unsupported("Hardmax"),
  unsupported("InstanceNormalization", [0, 1]),
  unsupported("GroupNormalization", [0, 1]),
  unsupported("LpNormalization"),
  unsupported("LRN"),
];
