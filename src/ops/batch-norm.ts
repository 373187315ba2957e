// Normalisation over the batch, with the statistics of the batch or with fixed ones.

import { floatAttribute, intAttribute, type ValueName } from "../graph/graph.ts";
import {
  castLike,
  countAlong,
  expandLike,
  knownShape,
  reduce,
  scalarLike,
  shapeConstant,
} from "./construct.ts";
import type { GradientContext, OpDef, ShapeRule } from "./op.ts";
import { defineOp, perInput, typed } from "./rules.ts";

type Gradients = readonly (ValueName | undefined)[];

const shape: ShapeRule = (c) => [
  c.input(0),
  typed(c.input(3)?.dtype, c.input(3)?.shape),
  typed(c.input(4)?.dtype, c.input(4)?.shape),
];

/** Axes that are no channels. */
function axesOf(context: GradientContext, x: ValueName): readonly number[] {
  const shape = knownShape(context, x, context.node);
  return shape.flatMap((_, axis) => (axis === 1 ? [] : [axis]));
}

/** A vector over channels as a tensor of the type of x that broadcasts against it. */
function overChannels(
  context: GradientContext,
  v: ValueName,
  x: ValueName,
  axes: readonly number[],
): ValueName {
  return context.emit("Unsqueeze", [castLike(context, v, x), shapeConstant(context, axes)]);
}

function perChannel(context: GradientContext, v: ValueName, axes: readonly number[]): ValueName {
  return context.emit("Squeeze", [v, shapeConstant(context, axes)]);
}

function inverseDeviation(context: GradientContext, variance: ValueName): ValueName {
  const epsilon = scalarLike(context, variance, floatAttribute(context.node, "epsilon", 1e-5));
  const deviation = context.emit("Sqrt", [context.emit("Add", [variance, epsilon])]);
  return context.emit("Reciprocal", [deviation]);
}

/**
 * Batch statistics in the forward (training_mode = 1), source: Ioffe and Szegedy 2015, section 3.
 * With d = x - mean, r = 1/√(variance + ε) and means over batch and pixels:
 * dγ = r·Σ dy·d, dβ = Σ dy, dx = γr·(dy - d·r²·mean(dy·d) - mean(dy)).
 * Mean and variance are computed again: small reductions, and nothing more to keep in memory. The variance
 * is that of d, since E[x²] - mean² loses all digits where the mean is large.
 */
function trainingGradient(context: GradientContext, dy: Gradients): Gradients {
  const { node } = context;
  const [x = "", scale = ""] = node.inputs;
  const axes = axesOf(context, x);
  const emit = (op: string, ...inputs: ValueName[]): ValueName => context.emit(op, inputs);
  const total = (v: ValueName): ValueName => reduce(context, "ReduceSum", v, axes, true);
  const count = countAlong(context, x, axes, x);
  const centred = emit("Sub", x, reduce(context, "ReduceMean", x, axes, true));
  const [dResult] = dy;
  const ofStatistics = statisticsGradient(context, dy, { x, centred, axes, count });
  if (dResult === undefined) return [ofStatistics, undefined, undefined, ...ofPast(context, dy)];
  const squares = reduce(context, "ReduceSumSquare", centred, axes, true);
  const r = inverseDeviation(context, emit("Div", squares, count));
  const sum = total(dResult);
  const product = total(emit("Mul", dResult, centred));
  const dx = (): ValueName => {
    const slope = emit("Div", emit("Mul", product, emit("Mul", r, r)), count);
    const pulled = emit("Sub", dResult, emit("Mul", centred, slope));
    const level = emit("Sub", pulled, emit("Div", sum, count));
    const direct = emit("Mul", level, emit("Mul", overChannels(context, scale, x, axes), r));
    return ofStatistics === undefined ? direct : emit("Add", direct, ofStatistics);
  };
  const flat = (v: ValueName, i: number): ValueName =>
    castLike(context, perChannel(context, v, axes), node.inputs[i] ?? "");
  return [
    context.wants(0) ? dx() : undefined,
    context.wants(1) ? flat(emit("Mul", product, r), 1) : undefined,
    context.wants(2) ? flat(sum, 2) : undefined,
    ...ofPast(context, dy),
  ];
}

/** What flows into x from running statistics: past · momentum + that of the batch · (1 - momentum). */
function statisticsGradient(
  context: GradientContext,
  [, dMean, dVariance]: Gradients,
  of: { x: ValueName; centred: ValueName; axes: readonly number[]; count: ValueName },
): ValueName | undefined {
  if (!context.wants(0)) return undefined;
  const fresh = 1 - floatAttribute(context.node, "momentum", 0.9);
  const share = (d: ValueName, factor: number): ValueName => {
    const spread = overChannels(context, d, of.x, of.axes);
    const scaled = context.emit("Mul", [spread, scalarLike(context, of.x, factor)]);
    return context.emit("Div", [scaled, of.count]);
  };
  const ofMean = dMean && expandLike(context, share(dMean, fresh), of.x);
  if (dVariance === undefined) return ofMean;
  const ofVariance = context.emit("Mul", [of.centred, share(dVariance, 2 * fresh)]);
  return ofMean === undefined ? ofVariance : context.emit("Add", [ofMean, ofVariance]);
}

/** Gradients of the running statistics that come in. */
function ofPast(context: GradientContext, [, dMean, dVariance]: Gradients): Gradients {
  const momentum = floatAttribute(context.node, "momentum", 0.9);
  return [dMean, dVariance].map((d, i) =>
    d === undefined || !context.wants(3 + i)
      ? undefined
      : context.emit("Mul", [d, scalarLike(context, d, momentum)]),
  );
}

/**
 * Fixed statistics: y = γr·(x - mean) + β, so dx = γr·dy, dγ = r·Σ dy·(x - mean), dβ = Σ dy,
 * dmean = -γr·Σ dy, dvariance = -½·γr³·Σ dy·(x - mean).
 */
function inferenceGradient(context: GradientContext, dy: ValueName): Gradients {
  const { node } = context;
  const [x = "", scale = "", bias = "", mean = "", variance = ""] = node.inputs;
  const axes = axesOf(context, x);
  const emit = (op: string, ...inputs: ValueName[]): ValueName => context.emit(op, inputs);
  const own = (v: ValueName): ValueName => castLike(context, v, x);
  const r = inverseDeviation(context, own(variance));
  const gain = emit("Mul", own(scale), r);
  const total = (v: ValueName): ValueName => reduce(context, "ReduceSum", v, axes, false);
  const needed = (...inputs: number[]): boolean => inputs.some((i) => context.wants(i));
  const sum = needed(2, 3) ? total(dy) : "";
  const product = needed(1, 4)
    ? total(emit("Mul", dy, emit("Sub", x, overChannels(context, mean, x, axes))))
    : "";
  const half = scalarLike(context, x, -0.5);
  const cube = (): ValueName => emit("Mul", emit("Mul", gain, emit("Mul", r, r)), half);
  const given = (i: number, like: ValueName, build: () => ValueName): ValueName | undefined =>
    context.wants(i) ? castLike(context, build(), like) : undefined;
  return [
    given(0, x, () => emit("Mul", dy, overChannels(context, gain, x, axes))),
    given(1, scale, () => emit("Mul", product, r)),
    given(2, bias, () => sum),
    given(3, mean, () => emit("Neg", emit("Mul", sum, gain))),
    given(4, variance, () => emit("Mul", product, cube())),
  ];
}

/** Normalisation over the batch. */
export const batchNormalization: OpDef = defineOp("BatchNormalization", {
  shape,
  cost: perInput(2),
  saves: { inputs: [0, 1], outputs: [] },
  gradient: (context, dy) => {
    if (intAttribute(context.node, "training_mode", 0) !== 0) return trainingGradient(context, dy);
    return dy[0] === undefined ? [] : inferenceGradient(context, dy[0]);
  },
});
