// Puts one node in the place of those that together are its op. Nodes are tried from the last to the
// first, so that of two ways of writing an op the one with more nodes wins.

import type { Graph, Node, Original, ValueName } from "../../graph/graph.ts";
import { originalName, ownOriginals } from "../../graph/original.ts";
import type { TensorRef } from "../../graph/tensor.ts";
import { withBodies } from "../inline.ts";
import { type Idiom, type Match, type NewConstant, View } from "./view.ts";

/** The graph with every occurrence of an idiom as one node; the same graph if there is none. */
export function collapse(graph: Graph, idiom: Idiom, outer?: View): Graph {
  const view = new View(graph, outer);
  const roots = new Set(idiom.roots);
  const taken = new Set<Node>();
  const replaced = new Map<Node, Node>();
  const added = new Map<ValueName, TensorRef>();
  for (const node of graph.nodes.toReversed()) {
    if (node.domain !== "" || !roots.has(node.op) || taken.has(node)) continue;
    for (const match of idiom.match(view, node)) {
      const nodes = closed(view, node, match);
      if (nodes === undefined) continue;
      for (const one of nodes) taken.add(one);
      replaced.set(node, macroOf(view, node, { match, nodes }, added));
      break;
    }
  }
  const visited = graph.nodes.map((node) =>
    withBodies(replaced.get(node) ?? node, (body) => collapse(body, idiom, view)),
  );
  if (taken.size === 0) {
    return visited.every((node, i) => node === graph.nodes[i])
      ? graph
      : { ...graph, nodes: visited };
  }
  const nodes = visited.filter((_, i) => {
    const before = graph.nodes[i];
    return before !== undefined && (replaced.has(before) || !taken.has(before));
  });
  return changed(graph, nodes, { taken, replaced, added });
}

function changed(
  graph: Graph,
  nodes: readonly Node[],
  change: {
    readonly taken: ReadonlySet<Node>;
    readonly replaced: ReadonlyMap<Node, Node>;
    readonly added: ReadonlyMap<ValueName, TensorRef>;
  },
): Graph {
  const values = new Map(graph.values);
  for (const node of change.taken) {
    if (!change.replaced.has(node)) for (const name of node.outputs) values.delete(name);
  }
  const own = [...change.replaced.values()].find((node) => node.domain !== "")?.domain;
  const opsets =
    own === undefined || graph.opsets.has(own)
      ? graph.opsets
      : new Map([...graph.opsets, [own, 1]]);
  const initializers =
    change.added.size === 0
      ? graph.initializers
      : new Map([...graph.initializers, ...change.added]);
  return { ...graph, nodes, values, opsets, initializers };
}

/**
 * All nodes of a match, in order, if no inner value is read outside or is an output of the graph. So two
 * matches share nodes only where one lies within the other.
 */
function closed({ index }: View, root: Node, match: Match): Node[] | undefined {
  const nodes = new Set([...match.nodes, root]);
  const inner = new Set<ValueName>();
  for (const node of nodes) {
    for (const [i, name] of node.outputs.entries()) {
      if (name === "" || (node === root && i === 0)) continue;
      if (index.outputs.has(name)) return undefined;
      const uses = index.uses.get(name) ?? [];
      if (!uses.every((use) => use.input >= 0 && nodes.has(use.node))) return undefined;
      inner.add(name);
    }
  }
  const reads = (one: ValueName | NewConstant): boolean =>
    typeof one === "string" && inner.has(one);
  if (match.inputs.some(reads)) return undefined;
  const at = (node: Node): number => index.positions.get(node) ?? 0;
  return [...nodes].sort((a, b) => at(a) - at(b));
}

function macroOf(
  view: View,
  root: Node,
  { match, nodes }: { match: Match; nodes: readonly Node[] },
  added: Map<ValueName, TensorRef>,
): Node {
  const inputs = match.inputs.map((input) =>
    typeof input === "string" ? input : addConstant(view, input, added),
  );
  return {
    name: root.name,
    op: match.op,
    domain: match.domain ?? "",
    inputs,
    outputs: root.outputs.slice(0, 1),
    attributes: new Map(Object.entries(match.attributes ?? {})),
    originals: distinct(nodes.flatMap(ownOriginals)),
  };
}

function addConstant(
  { graph, index }: View,
  { ref, stem }: NewConstant,
  added: Map<ValueName, TensorRef>,
): ValueName {
  const isTaken = (name: ValueName): boolean =>
    added.has(name) ||
    index.producers.has(name) ||
    index.inputs.has(name) ||
    index.uses.has(name) ||
    graph.initializers.has(name);
  let name = stem;
  for (let n = 1; isTaken(name); n++) name = `${stem}_${n}`;
  added.set(name, ref);
  return name;
}

/** Originals without repetition: several nodes may come from one call. */
export function distinct(originals: readonly Original[]): readonly Original[] {
  return [...new Map(originals.map((one) => [originalName(one), one])).values()];
}
