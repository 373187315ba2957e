// Questions about a graph, answered from an index that is built once per graph and kept beside it.

import type { Graph, Node, Value, ValueName, ValueType } from "./graph.ts";
import { subgraphs } from "./graph.ts";

/** One place where a value is read. `input` is -1 where a graph inside the node captures it. */
export interface Use {
  readonly node: Node;
  readonly input: number;
}

/** Who makes and who reads each value. */
export interface GraphIndex {
  readonly producers: ReadonlyMap<ValueName, Node>;
  readonly uses: ReadonlyMap<ValueName, readonly Use[]>;
  /** Position of each node in topological order. */
  readonly positions: ReadonlyMap<Node, number>;
  readonly inputs: ReadonlyMap<ValueName, Value>;
  readonly outputs: ReadonlySet<ValueName>;
}

const cache = new WeakMap<Graph, GraphIndex>();

/** The index of a graph. O(nodes) the first time, then free. */
export function indexOf(graph: Graph): GraphIndex {
  const known = cache.get(graph);
  if (known !== undefined) return known;
  const producers = new Map<ValueName, Node>();
  const uses = new Map<ValueName, Use[]>();
  const positions = new Map<Node, number>();
  const use = (name: ValueName, node: Node, input: number): void => {
    const list = uses.get(name);
    if (list === undefined) uses.set(name, [{ node, input }]);
    else list.push({ node, input });
  };
  graph.nodes.forEach((node, position) => {
    positions.set(node, position);
    for (const name of node.outputs) if (name !== "") producers.set(name, node);
    node.inputs.forEach((name, input) => {
      if (name !== "") use(name, node, input);
    });
    for (const body of subgraphs(node)) for (const name of captures(body)) use(name, node, -1);
  });
  const index: GraphIndex = {
    producers,
    uses,
    positions,
    inputs: new Map(graph.inputs.map((value) => [value.name, value])),
    outputs: new Set(graph.outputs.map((value) => value.name)),
  };
  cache.set(graph, index);
  return index;
}

/** Values of the outer scope that a body reads. */
export function captures(body: Graph): Set<ValueName> {
  const own = new Set<ValueName>(body.initializers.keys());
  for (const value of body.inputs) own.add(value.name);
  for (const node of body.nodes) for (const name of node.outputs) own.add(name);
  const found = new Set<ValueName>();
  const read = (name: ValueName): void => {
    if (name !== "" && !own.has(name)) found.add(name);
  };
  for (const node of body.nodes) {
    node.inputs.forEach(read);
    for (const inner of subgraphs(node)) captures(inner).forEach(read);
  }
  for (const value of body.outputs) read(value.name);
  return found;
}

/** All nodes of a graph and of the bodies in it, each before those of its own bodies. */
export function nodesWithin(graph: Graph): readonly Node[] {
  return graph.nodes.flatMap((node) => [node, ...subgraphs(node).flatMap(nodesWithin)]);
}

/** The node that makes a value, or undefined for graph inputs and initializers. */
export function producerOf(graph: Graph, name: ValueName): Node | undefined {
  return indexOf(graph).producers.get(name);
}

/** Where a value is read. */
export function usesOf(graph: Graph, name: ValueName): readonly Use[] {
  return indexOf(graph).uses.get(name) ?? [];
}

/** Type and shape of any value of the graph, as far as the graph itself says. */
export function typeOf(graph: Graph, name: ValueName): ValueType | undefined {
  const known = graph.values.get(name) ?? indexOf(graph).inputs.get(name);
  if (known !== undefined) return known;
  const weight = graph.initializers.get(name);
  return weight ?? graph.outputs.find((value) => value.name === name);
}
