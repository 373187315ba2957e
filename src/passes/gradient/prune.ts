// What nothing reads: nodes and constants that were needed on the way to the gradients, and are not for them.

import type { Graph, ValueName } from "../../graph/graph.ts";
import { readBy } from "./paths.ts";

/**
 * The graph without nodes that lead to no output, and without initializers that nothing reads, save those to be
 * kept. The same graph if there are none.
 */
export function withoutUnread(graph: Graph, kept: ReadonlySet<ValueName>): Graph {
  const read = new Set(graph.outputs.map(({ name }) => name));
  const needed = graph.nodes.toReversed().filter((node) => {
    if (!node.outputs.some((name) => read.has(name))) return false;
    for (const name of readBy(node)) read.add(name);
    return true;
  });
  const inputs = new Set(graph.inputs.map(({ name }) => name));
  const initializers = new Map(
    [...graph.initializers].filter(
      ([name]) => read.has(name) || kept.has(name) || inputs.has(name),
    ),
  );
  const same =
    needed.length === graph.nodes.length && initializers.size === graph.initializers.size;
  if (same) return graph;
  const made = new Set(needed.flatMap(({ outputs }) => outputs));
  const values = new Map(
    [...graph.values].filter(
      ([name]) => made.has(name) || inputs.has(name) || initializers.has(name),
    ),
  );
  return { ...graph, nodes: needed.toReversed(), initializers, values };
}
