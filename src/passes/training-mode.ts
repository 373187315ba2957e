// The training form of an inference graph: normalisation by the statistics of the batch, running
// statistics that move along, and random layers at work.

import type { Graph, Node, ValueName } from "../graph/graph.ts";
import { int, intAttribute } from "../graph/graph.ts";
import { indexOf } from "../graph/query.ts";
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

/**
 * The way back, for models that were exported while they were trained: every BatchNormalization normalises by
 * its running statistics, which stay what they are, and every Dropout lets all pass. The same graph if there
 * is none of them.
 */
export function inferenceMode(graph: Graph): Graph {
  if (!graph.nodes.some(isTraining)) return graph;
  const { uses, outputs } = indexOf(graph);
  const isRead = (name: ValueName): boolean => outputs.has(name) || uses.has(name);
  return { ...graph, nodes: graph.nodes.flatMap((node) => inInference(node, isRead)) };
}

/** Nodes of the standard that may behave otherwise while a network is trained. */
function isTraining(node: Node): boolean {
  if (node.domain !== "") return false;
  if (node.op === "Dropout") return (node.inputs[2] ?? "") !== "";
  return node.op === "BatchNormalization" && intAttribute(node, "training_mode", 0) !== 0;
}

function inInference(node: Node, isRead: (name: ValueName) => boolean): readonly Node[] {
  if (!isTraining(node)) return [node];
  if (node.op === "Dropout") return [{ ...node, inputs: node.inputs.slice(0, 2) }];
  const [y = "", ...next] = node.outputs;
  const attributes = new Map([...node.attributes, ["training_mode", int(0)]]);
  const kept = next.flatMap((name, i): Node[] =>
    isRead(name) ? [handedOn(node, node.inputs[3 + i] ?? "", name)] : [],
  );
  return [{ ...node, outputs: [y], attributes }, ...kept];
}

function handedOn(node: Node, input: ValueName, output: ValueName): Node {
  const { originals: _of, remarks: _said, ...plain } = node;
  const name = `${node.name}/${output}`;
  return {
    ...plain,
    name,
    op: "Identity",
    inputs: [input],
    outputs: [output],
    attributes: new Map(),
  };
}

function inTraining(node: Node, statistics: Map<ValueName, ValueName>): Node {
  const [x = "", scale = "", bias = "", mean = "", variance = ""] = node.inputs;
  const [y = ""] = node.outputs;
  const next = (name: ValueName): ValueName => {
    // Of layers that share their statistics, the last one's count.
    const before = statistics.get(name);
    const moved = before === undefined ? `${name}.next` : `${before}'`;
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
