// The graph as ONNX Runtime has it after its own optimisation, as far as memory is concerned: norms are folded
// into the convolutions before them. Only sizes are right in it: the weights stay as they were. Sums are
// fused too, but with a symbolic batch the runtime was not seen to write over their operand (docs/design/admission.md).
// Source: ConvBNFusion and the NCHWc transformer of onnxruntime, core/optimizer.

import type { Graph, Node, ValueName } from "../../graph/graph.ts";
import { indexOf, usesOf } from "../../graph/query.ts";

/** The graph without the norms that the runtime folds into a convolution. */
export function fusedForRuntime(graph: Graph): Graph {
  const { producers, outputs } = indexOf(graph);
  /** The norm's output, in the place of the convolution's own. */
  const renamed = new Map<Node, ValueName>();
  const gone = new Set<Node>();
  for (const node of graph.nodes) {
    const [input = "", ...parameters] = node.inputs;
    const [output = "", ...statistics] = node.outputs;
    if (node.op !== "BatchNormalization" || node.domain !== "") continue;
    if (statistics.some((name) => name !== "")) continue;
    const conv = producers.get(input);
    if (conv?.op !== "Conv" || conv.domain !== "" || outputs.has(input)) continue;
    if (usesOf(graph, input).length !== 1) continue;
    if (!parameters.every((name) => graph.initializers.has(name))) continue;
    renamed.set(conv, output);
    gone.add(node);
  }
  if (gone.size === 0) return graph;
  const nodes = graph.nodes
    .filter((node) => !gone.has(node))
    .map((node) => {
      const output = renamed.get(node);
      return output === undefined ? node : { ...node, outputs: [output] };
    });
  return { ...graph, nodes };
}
