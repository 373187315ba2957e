// Normalisation, the softmax family, and the losses built on it.

import {
  floatAttribute,
  intAttribute,
  intsAttribute,
  stringAttribute,
} from "../../src/graph/graph.ts";
import {
  type Array64,
  array,
  axisOf,
  filled,
  flatten,
  forEachIndex,
  reshaped,
  sizeOf,
  stridesOf,
} from "./array.ts";
import { joined } from "./elementwise.ts";
import { type Call, type Kernel, type Kernels, operand } from "./kernel.ts";
import { logSumExp, reduceAlong, total } from "./reduce.ts";

const mean = (values: readonly number[]): number => total(values) / values.length;

/** Mean of squared distances to the mean. */
const variance = (values: readonly number[]): number => {
  const middle = mean(values);
  return mean(values.map((v) => (v - middle) ** 2));
};

/** log softmax along one axis; before operator set 13 along all axes from `axis` on. */
function logSoftmaxOf(call: Call, x: Array64): Array64 {
  const old = call.opset < 13;
  const axis = axisOf(intAttribute(call.node, "axis", old ? 1 : -1), x.shape.length);
  const axes = old ? x.shape.map((_, i) => i).slice(axis) : [axis];
  return joined([x, reduceAlong(x, axes, logSumExp)], (v = 0, log = 0) => v - log);
}

function softmax(call: Call): Array64[] {
  const log = logSoftmaxOf(call, operand(call, 0));
  return [{ ...log, values: log.values.map(Math.exp) }];
}

/** A list over channels as an array that broadcasts against [N, C, …]. */
function overChannels(v: Array64, rank: number): Array64 {
  return reshaped(v, [1, v.values.length, ...Array.from({ length: rank - 2 }, () => 1)]);
}

function batchNorm(call: Call): Array64[] {
  const x = operand(call, 0);
  const rank = x.shape.length;
  const [scale, bias] = [1, 2].map((i) => overChannels(operand(call, i), rank));
  const [runningMean, runningVariance] = [operand(call, 3), operand(call, 4)];
  const epsilon = floatAttribute(call.node, "epsilon", 1e-5);
  const axes = x.shape.map((_, axis) => axis).filter((axis) => axis !== 1);
  const training = intAttribute(call.node, "training_mode", 0) !== 0;
  const centre = training ? reduceAlong(x, axes, mean) : overChannels(runningMean, rank);
  const width = training ? reduceAlong(x, axes, variance) : overChannels(runningVariance, rank);
  const y = joined(
    [x, centre, width, scale ?? x, bias ?? x],
    (v = 0, m = 0, s = 0, g = 0, b = 0) => ((v - m) / Math.sqrt(s + epsilon)) * g + b,
  );
  if (!training) return [y];
  const momentum = floatAttribute(call.node, "momentum", 0.9);
  const blended = (old: Array64, now: Array64): Array64 => ({
    ...old,
    values: old.values.map((v, i) => v * momentum + (now.values[i] ?? Number.NaN) * (1 - momentum)),
  });
  return [y, blended(runningMean, centre), blended(runningVariance, width)];
}

/** Mean and reciprocal deviation over some axes, and the array normalised by them. */
export function standardised(
  x: Array64,
  axes: readonly number[],
  epsilon: number,
): readonly [Array64, Array64, Array64] {
  const centre = reduceAlong(x, axes, mean);
  const scatter = reduceAlong(x, axes, variance);
  const inverse = { ...scatter, values: scatter.values.map((v) => 1 / Math.sqrt(v + epsilon)) };
  return [joined([x, centre, inverse], (v = 0, m = 0, r = 0) => (v - m) * r), centre, inverse];
}

function layerNorm(call: Call): Array64[] {
  const x = operand(call, 0);
  const axis = axisOf(intAttribute(call.node, "axis", -1), x.shape.length);
  const axes = x.shape.map((_, i) => i).slice(axis);
  const [normal, centre, inverse] = standardised(
    x,
    axes,
    floatAttribute(call.node, "epsilon", 1e-5),
  );
  return [affine(normal, operand(call, 1), call.inputs[2]), centre, inverse];
}

/** Scaled and, if there is a bias, moved. */
export function affine(x: Array64, scale: Array64, bias: Array64 | undefined): Array64 {
  const scaled = joined([x, scale], (v = 0, g = 0) => v * g);
  return bias === undefined ? scaled : joined([scaled, bias], (v = 0, b = 0) => v + b);
}

/** The array over the root of its mean square along some axes, and the reciprocal of that root. */
export function powerNormalised(
  x: Array64,
  axes: readonly number[],
  epsilon: number,
): readonly [Array64, Array64] {
  const power = reduceAlong(x, axes, (values) => mean(values.map((v) => v * v)));
  const inverse = { ...power, values: power.values.map((v) => 1 / Math.sqrt(v + epsilon)) };
  return [joined([x, inverse], (v = 0, r = 0) => v * r), inverse];
}

function rmsNorm(call: Call): Array64[] {
  const x = operand(call, 0);
  const axis = axisOf(intAttribute(call.node, "axis", -1), x.shape.length);
  const axes = x.shape.map((_, i) => i).slice(axis);
  const [normal, inverse] = powerNormalised(x, axes, floatAttribute(call.node, "epsilon", 1e-5));
  return [affine(normal, operand(call, 1), undefined), inverse];
}

function instanceNorm(call: Call): Array64[] {
  const x = operand(call, 0);
  const axes = x.shape.map((_, axis) => axis).slice(2);
  const [normal] = standardised(x, axes, floatAttribute(call.node, "epsilon", 1e-5));
  const rank = x.shape.length;
  return [
    affine(normal, overChannels(operand(call, 1), rank), overChannels(operand(call, 2), rank)),
  ];
}

/** Scale and bias are of groups before operator set 21, of channels from there on. */
function groupNorm(call: Call): Array64[] {
  const x = operand(call, 0);
  const [batch = 0, channels = 0, ...spatial] = x.shape;
  const groups = intAttribute(call.node, "num_groups", 1);
  const [scale, bias] = [operand(call, 1), operand(call, 2)];
  const apart = reshaped(x, [batch, groups, sizeOf([channels, ...spatial]) / groups]);
  const [normal] = standardised(apart, [2], floatAttribute(call.node, "epsilon", 1e-5));
  const rank = x.shape.length;
  const wide = (v: Array64): Array64 =>
    overChannels(
      filled(v.dtype, [channels], (c) => {
        const at = v.values.length === channels ? c : Math.floor(c / (channels / groups));
        return v.values[at] ?? Number.NaN;
      }),
      rank,
    );
  return [affine(reshaped(normal, x.shape), wide(scale), wide(bias))];
}

function lpNorm(call: Call): Array64[] {
  const x = operand(call, 0);
  const p = intAttribute(call.node, "p", 2);
  const norm = reduceAlong(x, [intAttribute(call.node, "axis", -1)], (values) =>
    p === 1 ? total(values.map(Math.abs)) : Math.sqrt(total(values.map((v) => v * v))),
  );
  // A line of zeros stays one.
  return [joined([x, norm], (v = 0, n = 0) => (n === 0 ? 0 : v / n))];
}

/** Each channel divided by a power of the squares of its neighbours (Krizhevsky et al. 2012, section 3.3). */
function lrn(call: Call): Array64[] {
  const x = operand(call, 0);
  const size = intAttribute(call.node, "size", 1);
  const alpha = floatAttribute(call.node, "alpha", 1e-4);
  const beta = floatAttribute(call.node, "beta", 0.75);
  const bias = floatAttribute(call.node, "bias", 1);
  const channels = x.shape[1] ?? 0;
  const strides = stridesOf(x.shape);
  const values = new Float64Array(x.values.length);
  forEachIndex(x.shape, (index, flat) => {
    const c = index[1] ?? 0;
    const first = Math.max(0, c - Math.floor((size - 1) / 2));
    const last = Math.min(channels - 1, c + Math.ceil((size - 1) / 2));
    let squares = 0;
    for (let i = first; i <= last; i++) {
      squares += (x.values[flatten(index.with(1, i), strides)] ?? Number.NaN) ** 2;
    }
    values[flat] = (x.values[flat] ?? Number.NaN) / (bias + (alpha / size) * squares) ** beta;
  });
  return [{ ...x, values }];
}

function meanVarianceNorm(call: Call): Array64[] {
  const x = operand(call, 0);
  const axes = intsAttribute(call.node, "axes") ?? [0, 2, 3];
  const centre = reduceAlong(x, axes, mean);
  const width = reduceAlong(x, axes, variance);
  // The function of the specification adds this to the deviation, not to the variance.
  return [joined([x, centre, width], (v = 0, m = 0, s = 0) => (v - m) / (Math.sqrt(s) + 1e-9))];
}

/** The loss of log probabilities [N, C, …] against labels [N, …]. */
function negativeLogLikelihood(call: Call, log: Array64): Array64 {
  const labels = operand(call, 1);
  const [, , weights] = call.inputs;
  const ignored = intAttribute(call.node, "ignore_index");
  const strides = stridesOf(log.shape);
  const losses = new Float64Array(labels.values.length);
  const share = new Float64Array(labels.values.length);
  forEachIndex(labels.shape, (index, flat) => {
    const label = labels.values[flat] ?? 0;
    if (label === ignored) return;
    const [n = 0, ...rest] = index;
    share[flat] = weights?.values[label] ?? 1;
    losses[flat] =
      -(log.values[flatten([n, label, ...rest], strides)] ?? Number.NaN) * (share[flat] ?? 0);
  });
  const sum = total(Array.from(losses));
  const reduction = stringAttribute(call.node, "reduction", "mean");
  if (reduction === "none") return array(log.dtype, labels.shape, losses);
  if (reduction === "sum") return array(log.dtype, [], [sum]);
  return array(log.dtype, [], [sum / total(Array.from(share))]);
}

function crossEntropy(call: Call): Array64[] {
  const scores = operand(call, 0);
  const log = joined([scores, reduceAlong(scores, [1], logSumExp)], (v = 0, l = 0) => v - l);
  return [negativeLogLikelihood(call, log), log];
}

const logSoftmax: Kernel = (call) => [logSoftmaxOf(call, operand(call, 0))];

/** All ops of this family. */
export const norm: Kernels = {
  Softmax: softmax,
  LogSoftmax: logSoftmax,
  BatchNormalization: batchNorm,
  LayerNormalization: layerNorm,
  RMSNormalization: rmsNorm,
  // ONNX Runtime has this one, unlisted, in the standard domain.
  SimplifiedLayerNormalization: rmsNorm,
  InstanceNormalization: instanceNorm,
  GroupNormalization: groupNorm,
  LpNormalization: lpNorm,
  LRN: lrn,
  MeanVarianceNormalization: meanVarianceNorm,
  SoftmaxCrossEntropyLoss: crossEntropy,
  NegativeLogLikelihoodLoss: (call) => [negativeLogLikelihood(call, operand(call, 0))],
};
