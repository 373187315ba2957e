// Outputs whose integers a rounding may change: they say which of several candidates is the largest.

import type { Graph } from "../graph/graph.ts";
import { producerOf } from "../graph/query.ts";

/** Ops whose integers say which candidate is largest, and those that hand them on. */
const CHOOSES = new Set(["ArgMax", "ArgMin", "TopK"]);
const PASSES_ON = new Set(["Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten"]);

/** Outputs of a graph in which two candidates may tie. */
export function tiesOf(graph: Graph): ReadonlySet<string> {
  return new Set(
    graph.outputs.flatMap(({ name }) => {
      let node = producerOf(graph, name);
      while (node !== undefined && PASSES_ON.has(node.op)) {
        node = producerOf(graph, node.inputs[0] ?? "");
      }
      return node !== undefined && CHOOSES.has(node.op) ? [name] : [];
    }),
  );
}
