// A graph with its nodes in another order.

import type { Graph, Node } from "../../graph/graph.ts";
import { subgraphs } from "../../graph/graph.ts";
import { captures, indexOf } from "../../graph/query.ts";

/**
 * The graph with its nodes in the order of these names. Nodes that are not named (constants, calls that the
 * planner saw as their bodies) stand just before what first needs them.
 */
export function withOrder(graph: Graph, names: readonly string[]): Graph {
  const { producers } = indexOf(graph);
  const byName = new Map(graph.nodes.map((node) => [node.name, node]));
  const placed = new Set<Node>();
  const roots = names.flatMap((name) => byName.get(name) ?? []);
  for (const root of [...roots, ...graph.nodes]) {
    // Without recursion: a chain may be as long as a file.
    const path = [root];
    for (let node = path.at(-1); node !== undefined; node = path.at(-1)) {
      const missing = placed.has(node)
        ? []
        : readsOf(node).flatMap((name) => {
            const maker = producers.get(name);
            return maker === undefined || placed.has(maker) ? [] : [maker];
          });
      if (missing.length > 0) path.push(...missing);
      else placed.add(path.pop() ?? node);
    }
  }
  return { ...graph, nodes: [...placed] };
}

function readsOf(node: Node): readonly string[] {
  return [...node.inputs, ...subgraphs(node).flatMap((body) => [...captures(body)])];
}
