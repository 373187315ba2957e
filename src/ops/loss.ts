// Losses.

import { int, intAttribute, stringAttribute, type ValueName } from "../graph/graph.ts";
import { float32, int64, scalar } from "../graph/tensor.ts";
import { noGradient, staticShape } from "./construct.ts";
import type { GradientContext, OpDef, ShapeRule } from "./op.ts";
import { defineOp, NO_RULE, perInput, typed } from "./rules.ts";

const shape: ShapeRule = (c) => {
  const scores = c.input(0);
  const reduced = stringAttribute(c.node, "reduction", "mean") !== "none";
  return [typed(scores?.dtype, reduced ? [] : c.input(1)?.shape), scores];
};

/**
 * d(scores) = (softmax(scores) - onehot(labels)) · dy / n for the mean over n labels (Bishop 2006,
 * equation 4.109).
 */
function crossEntropyGradient(context: GradientContext, dy: ValueName): ValueName {
  const { node } = context;
  const [scores = "", labels = "", weights = ""] = node.inputs;
  const reduction = stringAttribute(node, "reduction", "mean");
  const ignored = intAttribute(node, "ignore_index") !== undefined;
  if (reduction === "none" || weights !== "" || ignored) {
    throw noGradient(
      node,
      "class weights, ignored labels and reduction none are not supported yet",
    );
  }
  const sizes = staticShape(context, scores, node);
  const classes = sizes[1] ?? 1;
  const count = sizes.reduce((a, b) => a * b, 1) / classes;
  const logProbability = node.outputs[1] ?? "";
  const log =
    logProbability === ""
      ? context.emit("LogSoftmax", [scores], { attributes: { axis: int(1) } })
      : logProbability;
  const depth = context.constant(int64([], [classes]), "classes");
  const offOn = context.constant(float32([2], [0, 1]), "off_on");
  const target = context.emit("OneHot", [labels, depth, offOn], { attributes: { axis: int(1) } });
  const error = context.emit("Sub", [context.emit("Exp", [log]), target]);
  const share = reduction === "mean" ? 1 / count : 1;
  return context.emit("Mul", [
    error,
    context.emit("Mul", [dy, context.constant(scalar(share), "share")]),
  ]);
}

const softmaxCrossEntropyLoss = defineOp("SoftmaxCrossEntropyLoss", {
  shape,
  cost: perInput(6),
  saves: { inputs: [1], outputs: [1] },
  gradient: (context, [dy]) =>
    dy === undefined ? [undefined, undefined] : [crossEntropyGradient(context, dy), undefined],
});

const negativeLogLikelihoodLoss = defineOp("NegativeLogLikelihoodLoss", {
  shape: (c) => shape(c).slice(0, 1),
  cost: perInput(1),
  saves: { inputs: [1], outputs: [] },
  gradient: NO_RULE,
});

/** All ops of this family. */
export const losses: readonly OpDef[] = [softmaxCrossEntropyLoss, negativeLogLikelihoodLoss];
