// The training form of an inference graph: normalisation by the statistics of the batch, and running
// statistics that move along.

import type { Graph, Node, ValueName } from "../graph/graph.ts";
import { int, intAttribute } from "../graph/graph.ts";

/** A graph in training form, with where its statistics are updated. */
export interface TrainingForm {
  readonly graph: Graph;
  /** From each statistic among the initializers to the value that holds the next one. */
  readonly statistics: ReadonlyMap<ValueName, ValueName>;
}

/**
 * Sets every BatchNormalization to `training_mode` (ONNX BatchNormalization-15): it then normalises by
 * the batch and gives running mean and variance (population variance) as further outputs.
 */
export function trainingMode(graph: Graph): TrainingForm {
  const statistics = new Map<ValueName, ValueName>();
  const nodes = graph.nodes.map((node) => {
    if (node.op !== "BatchNormalization" || node.domain !== "") return node;
    return intAttribute(node, "training_mode", 0) === 0 ? inTraining(node, statistics) : node;
  });
  return statistics.size === 0 ? { graph, statistics } : { graph: { ...graph, nodes }, statistics };
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
