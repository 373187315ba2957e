// What takes memory while a graph runs: one storage for each value that is no view of another, who fills it and
// who reads it.

import type { Graph, Node, ValueName } from "../../graph/graph.ts";
import { indexOf, typeOf } from "../../graph/query.ts";
import { valueBytes } from "../../ops/rules.ts";

/** Memory of one value and of all views of it. Nodes are told by their position in the graph. */
export interface Storage {
  readonly value: ValueName;
  readonly bytes: number;
  /** The node that fills it; -1 for an input of the graph. */
  readonly producer: number;
  /** The nodes that read it, through views too; ascending. */
  readonly readers: readonly number[];
  /** An output of the graph: it lives to the end. */
  readonly kept: boolean;
}

const VIEWS = new Set(["Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"]);

/** All storages of a graph whose batch is bound, and the number of values whose size is not known. */
export function storagesOf(graph: Graph): {
  readonly storages: readonly Storage[];
  readonly unknown: number;
} {
  const index = indexOf(graph);
  const owners = new Map<ValueName, ValueName>();
  const made = new Map<ValueName, { bytes: number; producer: number }>();
  let unknown = 0;
  const take = (name: ValueName, producer: number): void => {
    const bytes = valueBytes(typeOf(graph, name));
    if (bytes === undefined) unknown++;
    made.set(name, { bytes: bytes ?? 0, producer });
  };
  const ownerOf = (name: ValueName): ValueName => owners.get(name) ?? name;
  for (const value of graph.inputs) if (!graph.initializers.has(value.name)) take(value.name, -1);
  graph.nodes.forEach((node, position) => {
    for (const [i, name] of node.outputs.entries()) {
      if (name === "") continue;
      const viewed = i === 0 ? viewOf(graph, node) : undefined;
      if (viewed !== undefined) owners.set(name, ownerOf(viewed));
      else if ((index.uses.get(name)?.length ?? 0) > 0 || index.outputs.has(name)) {
        take(name, position);
      }
    }
  });
  const readers = new Map<ValueName, Set<number>>();
  for (const [name, uses] of index.uses) {
    const owner = ownerOf(name);
    const all = readers.get(owner) ?? new Set();
    for (const use of uses) all.add(index.positions.get(use.node) ?? 0);
    readers.set(owner, all);
  }
  const kept = new Set([...index.outputs].map(ownerOf));
  return {
    unknown,
    storages: [...made].map(([value, { bytes, producer }]) => ({
      value,
      bytes,
      producer,
      readers: [...(readers.get(value) ?? [])].sort((a, b) => a - b),
      kept: kept.has(value),
    })),
  };
}

/** The value that a node's output is a view of; views of weights take no activation memory. */
function viewOf(graph: Graph, node: Node): ValueName | undefined {
  const [input = ""] = node.inputs;
  return VIEWS.has(node.op) && input !== "" && !graph.initializers.has(input) ? input : undefined;
}
