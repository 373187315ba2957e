// What keeps requests from being put into one batch: results that depend on the neighbours, and a batch size
// that is written into the file.

import { diagnostic } from "../../base/diagnostic.ts";
import { canonicalize } from "../../canonical/canonical.ts";
import { isFloat } from "../../graph/dtype.ts";
import { type Graph, intAttribute, intsAttribute } from "../../graph/graph.ts";
import { typeOf } from "../../graph/query.ts";
import { normalizeAxis } from "../../graph/shape.ts";
import { batchSymbol } from "../memory.ts";
import { everyNode, placeOf, type Standing } from "../standing.ts";
import { axesOf, integersOf } from "./nodes.ts";
import type { Finding, Rule } from "./rule.ts";

/** Normalisation by the statistics of the batch (Ioffe and Szegedy 2015, algorithm 1) in a model that is run. */
export const trainingBatchNorm: Rule = {
  id: "batch/training-norm",
  title: "a BatchNormalization normalises by the batch at hand",
  check: ({ canonical }) =>
    [...everyNode(canonical)].filter(normalisesByBatch).map((at) =>
      diagnostic({
        id: "batch/training-norm",
        severity: "warning",
        where: placeOf(at),
        text: "BatchNormalization is in training mode: each answer depends on what else is in the batch",
        fix: "Export the model in inference mode, so that running mean and variance are used.",
      }),
    ),
};

function normalisesByBatch({ node, graph }: Standing): boolean {
  if (node.op !== "BatchNormalization" || node.domain !== "") return false;
  const opset = graph.opsets.get("") ?? Number.POSITIVE_INFINITY;
  if (opset >= 14) return intAttribute(node, "training_mode", 0) !== 0;
  // Before, further outputs said so; before 7, an attribute.
  if (opset >= 7) return node.outputs.filter((name) => name !== "").length > 1;
  return intAttribute(node, "is_test", 0) === 0;
}

/** Reductions, softmax and the like along the axis of the batch. */
export const mixedRequests: Rule = {
  id: "batch/mixed-requests",
  title: "an op computes along the axis of the batch",
  check: ({ graph }) => {
    const symbol = batchSymbol(graph);
    // Without it at the first axis of an output, the symbol may be a length as well.
    if (symbol === undefined || !graph.outputs.some(({ shape }) => shape?.[0] === symbol))
      return [];
    // Examined with the symbol kept: the graph that is run has a number in its place.
    return [...everyNode(canonicalize(graph))].flatMap((at) => mixing(at, symbol));
  },
};

function mixing(at: Standing, symbol: string): Finding[] {
  const { node, graph } = at;
  const type = typeOf(graph, node.inputs[0] ?? "");
  const shape = type?.shape;
  const axis = shape?.indexOf(symbol) ?? -1;
  if (type === undefined || !isFloat(type.dtype) || shape === undefined || axis < 0) return [];
  const axes = axesAlong(at, shape.length);
  if (axes === undefined || !axes.includes(axis)) return [];
  return [
    diagnostic({
      id: "batch/mixed-requests",
      severity: "warning",
      where: placeOf(at),
      text: `${node.op} computes along axis ${axis}, the batch: each answer depends on what else is in it`,
      fix: "Name the axis that is meant, or serve this model with batch size 1.",
    }),
  ];
}

/** The axes along which a node mixes elements; undefined where it does not, or where that is not known. */
function axesAlong(at: Standing, rank: number): readonly number[] | undefined {
  const { node, graph } = at;
  const all = Array.from({ length: rank }, (_, i) => i);
  const from = (axis: number): number[] => all.slice(normalizeAxis(axis, rank) ?? rank);
  const one = (axis: number): number[] => all.filter((i) => i === normalizeAxis(axis, rank));
  if (node.op.startsWith("Reduce")) {
    const axes = axesOf(at);
    return axes?.length === 0 ? all : axes?.flatMap(one);
  }
  switch (node.op) {
    case "Softmax":
    case "LogSoftmax":
    case "Hardmax":
      // Before operator set 13 all axes from the named one on were one.
      return (graph.opsets.get("") ?? 13) < 13
        ? from(intAttribute(node, "axis", 1))
        : one(intAttribute(node, "axis", -1));
    case "LayerNormalization":
    case "SimplifiedLayerNormalization":
    case "RMSNormalization":
      return from(intAttribute(node, "axis", -1));
    case "MeanVarianceNormalization":
      // The default counts the batch in.
      return (intsAttribute(node, "axes") ?? [0, 2, 3]).flatMap(one);
    case "TopK":
    case "LpNormalization":
      return one(intAttribute(node, "axis", -1));
    case "ArgMax":
    case "ArgMin":
      return one(intAttribute(node, "axis", 0));
    case "CumSum":
      return integersOf(graph, node.inputs[1])?.flatMap(one);
    default:
      return undefined;
  }
}

/** A number where the size of the batch should be a symbol. */
export const fixedBatch: Rule = {
  id: "batch/fixed-size",
  title: "the batch size is written into the file",
  check: ({ graph }) => {
    const symbol = batchSymbol(graph);
    return symbol === undefined ? fixedInputs(graph) : fixedReshapes(graph, symbol);
  },
};

const FREE = "Export with a symbolic first axis; the server can then put requests together.";

function fixedInputs(graph: Graph): Finding[] {
  const fixed = graph.inputs.find(
    ({ name, shape }) =>
      !graph.initializers.has(name) && (shape?.length ?? 0) > 1 && typeof shape?.[0] === "number",
  );
  if (fixed === undefined) return [];
  return [
    diagnostic({
      id: "batch/fixed-size",
      severity: "warning",
      where: `input ${fixed.name}`,
      text: `the batch size is fixed at ${fixed.shape?.[0]}: every run takes as many examples, no more and no fewer`,
      fix: FREE,
    }),
  ];
}

function fixedReshapes(graph: Graph, symbol: string): Finding[] {
  return [...everyNode(canonicalize(graph))].flatMap((at) => {
    const { node } = at;
    const target = node.op === "Reshape" ? integersOf(at.graph, node.inputs[1]) : undefined;
    const [first = 0] = target ?? [];
    const shape = typeOf(at.graph, node.inputs[0] ?? "")?.shape;
    // An entry of -1 elsewhere takes the batch up; the server would have to undo it.
    if (shape?.[0] !== symbol || first <= 0 || target?.includes(-1)) return [];
    return [
      diagnostic({
        id: "batch/fixed-size",
        severity: "warning",
        where: placeOf(at),
        text: `Reshape to [${target}] has room for one batch size alone, though the input has any`,
        fix: `Give the target 0 or -1 in its first place. ${FREE}`,
      }),
    ];
  });
}
