// Losses of scores against labels.

import { int, intAttribute, stringAttribute, type ValueName } from "../graph/graph.ts";
import { float32 } from "../graph/tensor.ts";
import { type Arithmetic, arithmetic } from "./arithmetic.ts";
import {
  castLike,
  castTo,
  countAlong,
  knownShape,
  reduce,
  shapeConstant,
  sizesOf,
} from "./construct.ts";
import type { GradientContext, GradientRule, OpDef, ShapeRule } from "./op.ts";
import { defineOp, perInput, typed } from "./rules.ts";

const shape: ShapeRule = (c) => {
  const scores = c.input(0);
  const reduced = stringAttribute(c.node, "reduction", "mean") !== "none";
  return [typed(scores?.dtype, reduced ? [] : c.input(1)?.shape), scores];
};

/** A loss -Σ u·log p[label] (ONNX NegativeLogLikelihoodLoss-13), seen from its labels. */
interface Labelled extends Arithmetic {
  readonly context: GradientContext;
  /** `[N, classes, …]`: 1 at the label. */
  readonly oneHot: ValueName;
  /** Whether a label counts, false where it is to be ignored; undefined where all do. */
  readonly counted: ValueName | undefined;
  /** Class weight of each label, 0 where ignored: u; undefined for 1 everywhere. */
  readonly weight: ValueName | undefined;
  /** What each label's own loss is multiplied by on the way to the result, times dy. */
  readonly factor: ValueName;
}

function labelled(context: GradientContext, dy: ValueName): Labelled {
  const { node } = context;
  const [scores = "", given = "", weights = ""] = node.inputs;
  const a = arithmetic(context, scores);
  const labels = castTo(context, given, "int64");
  const ignored = intAttribute(node, "ignore_index");
  const counted =
    ignored === undefined
      ? undefined
      : context.emit("Not", [arithmetic(context, labels).equal(labels, ignored)]);
  // An ignored label may be no class at all.
  const safe = counted ? arithmetic(context, labels).where(counted, labels, 0) : labels;
  const ofClass = weights === "" ? undefined : context.emit("Gather", [weights, safe]);
  const weight =
    counted && ofClass ? a.where(counted, ofClass, 0) : (ofClass ?? (counted && a.mask(counted)));
  const zeroOne = context.constant(float32([2], [0, 1]), "zero_one");
  const classes = sizesOf(context, scores, [1]);
  const hot = context.emit("OneHot", [safe, classes, zeroOne], { attributes: { axis: int(1) } });
  const mean = stringAttribute(node, "reduction", "mean") === "mean";
  const factor = mean ? a.div(dy, totalWeight(context, given, weight)) : dy;
  return { ...a, context, oneHot: castLike(context, hot, scores), counted, weight, factor };
}

/** Σ u: by what the sum is divided for the mean. */
function totalWeight(
  context: GradientContext,
  labels: ValueName,
  weight: ValueName | undefined,
): ValueName {
  if (weight !== undefined) {
    return context.emit("ReduceSum", [weight], { attributes: { keepdims: int(0) } });
  }
  const axes = knownShape(context, labels, context.node).map((_, axis) => axis);
  return countAlong(context, labels, axes, context.node.inputs[0] ?? "");
}

/** u·factor, so that it broadcasts over classes: 0 where a label is ignored, though all are and Σ u is 0. */
function share(of: Labelled): ValueName {
  const { context, counted, weight, factor } = of;
  const weighted = weight === undefined ? factor : of.mul(weight, factor);
  const each = counted === undefined ? weighted : of.where(counted, weighted, 0);
  const single = context.typeOf(each)?.shape?.length === 0;
  return single ? each : context.emit("Unsqueeze", [each, shapeConstant(context, [1])]);
}

/** Gradient of the class weights: what multiplies u in each label's loss, summed over the labels of a class. */
function weightsGradient(of: Labelled, log: ValueName): ValueName {
  const { context, oneHot, counted, factor } = of;
  const { node } = context;
  // Not a product: the log of a class that is not the label's may be -∞.
  const atLabel = of.where(of.greater(oneHot, 0), log, 0);
  const own = of.of("Neg", reduce(context, "ReduceSum", atLabel, [1], false));
  const mean = stringAttribute(node, "reduction", "mean") === "mean";
  const slope = of.mul(mean ? of.sub(own, lossOf(of, own)) : own, factor);
  const each = counted === undefined ? slope : of.where(counted, slope, 0);
  const spread = context.emit("Unsqueeze", [each, shapeConstant(context, [1])]);
  const rank = knownShape(context, log, node).length;
  const others = Array.from({ length: rank }, (_, axis) => axis).filter((axis) => axis !== 1);
  return reduce(context, "ReduceSum", of.mul(oneHot, spread), others, false);
}

/** The mean loss itself: the first output, which a file may leave out. */
function lossOf(of: Labelled, own: ValueName): ValueName {
  const { context, weight } = of;
  const told = context.node.outputs[0] ?? "";
  if (told !== "") return told;
  const sum = context.emit("ReduceSum", [of.mul(own, weight ?? 1)], {
    attributes: { keepdims: int(0) },
  });
  return of.div(sum, totalWeight(context, context.node.inputs[1] ?? "", weight));
}

/**
 * dscores = (softmax(scores) - onehot(labels))·u·dy / n for the mean over n labels (Bishop 2006, equation
 * 4.109), n being Σ u; and through the log probabilities dlog - softmax(scores)·Σ dlog. A mean over labels that
 * are all ignored is 0/0, and its gradient is 0, as PyTorch 2.15 has it.
 */
const crossEntropyGradient: GradientRule = (context, [dy, dLog]) => {
  const { node } = context;
  const scores = node.inputs[0] ?? "";
  const told = node.outputs[1] ?? "";
  const log =
    told === "" ? context.emit("LogSoftmax", [scores], { attributes: { axis: int(1) } }) : told;
  const a = arithmetic(context, scores);
  const of = dy === undefined ? undefined : labelled(context, dy);
  const terms: ValueName[] = [];
  if (context.wants(0)) {
    const softmax = a.of("Exp", log);
    if (of !== undefined) terms.push(a.mul(a.sub(softmax, of.oneHot), share(of)));
    if (dLog !== undefined) {
      const total = reduce(context, "ReduceSum", dLog, [1], true);
      terms.push(a.sub(dLog, a.mul(softmax, total)));
    }
  }
  const dScores = terms.length > 1 ? context.emit("Sum", terms) : terms[0];
  return [dScores, undefined, of && context.wants(2) ? weightsGradient(of, log) : undefined];
};

/** dlog = -onehot(labels)·u·dy / n. */
const logLikelihoodGradient: GradientRule = (context, [dy]) => {
  if (dy === undefined) return [];
  const of = labelled(context, dy);
  const log = context.node.inputs[0] ?? "";
  return [
    context.wants(0) ? of.mul(of.oneHot, of.of("Neg", share(of))) : undefined,
    undefined,
    context.wants(2) ? weightsGradient(of, log) : undefined,
  ];
};

const softmaxCrossEntropyLoss = defineOp("SoftmaxCrossEntropyLoss", {
  shape,
  cost: perInput(6),
  saves: { inputs: [1], outputs: [1] },
  gradient: crossEntropyGradient,
});

const negativeLogLikelihoodLoss = defineOp("NegativeLogLikelihoodLoss", {
  shape: (c) => shape(c).slice(0, 1),
  cost: perInput(1),
  saves: { inputs: [1], outputs: [] },
  gradient: logLikelihoodGradient,
});

/** All ops of this family. */
export const losses: readonly OpDef[] = [softmaxCrossEntropyLoss, negativeLogLikelihoodLoss];
