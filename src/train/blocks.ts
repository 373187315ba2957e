// Which values stand at the entry of each block of a network, to watch gradients there.

import type { Graph, ValueName } from "../graph/graph.ts";

/** A block by its name, and the value that goes into it. */
export interface BlockInput {
  readonly block: string;
  readonly value: ValueName;
}

/**
 * The blocks of a network in order: the parts `block.….weight` of the naming of weights that hold at
 * least two weights of two or more axes.
 */
export function blockInputs(graph: Graph): BlockInput[] {
  const sizes = new Map<string, number>();
  const blockOf = (name: ValueName): string => name.split(".", 1)[0] ?? "";
  for (const [name, ref] of graph.initializers) {
    if (ref.shape.length < 2 || !name.includes(".")) continue;
    sizes.set(blockOf(name), (sizes.get(blockOf(name)) ?? 0) + 1);
  }
  const found = new Map<string, ValueName>();
  for (const node of graph.nodes) {
    const weight = node.inputs.find(
      (name) => (graph.initializers.get(name)?.shape.length ?? 0) > 1,
    );
    const block = weight === undefined ? "" : blockOf(weight);
    if ((sizes.get(block) ?? 0) < 2 || found.has(block)) continue;
    const value = node.inputs.find((name) => name !== "" && !graph.initializers.has(name));
    if (value !== undefined) found.set(block, value);
  }
  return [...found].map(([block, value]) => ({ block, value }));
}
