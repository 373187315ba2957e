// The training form of an inference graph: normalisation by the statistics of the batch, running
// statistics that move along, and random layers at work.

import type { Graph, Node, ValueName } from "../graph/graph.ts";
import { int, intAttribute } from "../graph/graph.ts";
import { withMasks } from "./random-mask.ts";

/** A graph in training form, with where its statistics are updated. */
export interface TrainingForm {
  readonly graph: Graph;
  /** From each statistic among the initializers to the value that holds the next one. */
  readonly statistics: ReadonlyMap<ValueName, ValueName>;
  /** The input that counts steps, an int64 scalar; undefined where nothing is random. */
  readonly step: ValueName | undefined;
}

/** How random layers are put to work. */
export interface RandomOptions {
  /** The same seed and step give the same masks. */
  readonly seed: number;
  /** Name of the further input; nothing in the graph may have it. */
  readonly step: ValueName;
}

/**
 * Sets every BatchNormalization to `training_mode` (ONNX BatchNormalization-15): it then normalises by
 * the batch and gives running mean and variance (population variance) as further outputs. Every Dropout
 * becomes a mask that depends on seed, node and step.
 */
export function trainingMode(graph: Graph, random: RandomOptions): TrainingForm {
  const statistics = new Map<ValueName, ValueName>();
  const nodes = graph.nodes.map((node) => {
    if (node.op !== "BatchNormalization" || node.domain !== "") return node;
    return intAttribute(node, "training_mode", 0) === 0 ? inTraining(node, statistics) : node;
  });
  return { ...withMasks(statistics.size === 0 ? graph : { ...graph, nodes }, random), statistics };
}

function inTraining(node: Node, statistics: Map<ValueName, ValueName>): Node {
  const [x = "", scale = "", bias = "", mean = "", variance = ""] = node.inputs;
  const [y = ""] = node.outputs;
  const next = (name: ValueName): ValueName => {
    const moved = `${name}.next`;
    statistics.set(name, moved);
    return moved;
  };
  return {
    ...node,
    inputs: [x, scale, bias, mean, variance],
    outputs: [y, next(mean), next(variance)],
    attributes: new Map([...node.attributes, ["training_mode", int(1)]]),
  };
}
