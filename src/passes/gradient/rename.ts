// Other names for inner values whose names are wanted for something else.

import { FreshNames } from "../../canonical/fresh-names.ts";
import { withBodies } from "../../canonical/inline.ts";
import type { Graph, Node, ValueName } from "../../graph/graph.ts";

/** The graph with no node or body that makes a value of one of these names; the same graph if none does. */
export function renameValues(graph: Graph, wanted: Iterable<ValueName>): Graph {
  const names = new Set(wanted);
  if (!makesAny(graph, names)) return graph;
  const fresh = new FreshNames(graph);
  const renamed = new Map<ValueName, ValueName>();
  const rename = (name: ValueName): ValueName => {
    if (!names.has(name)) return name;
    const other = renamed.get(name) ?? fresh.value(`${name}.inner`);
    renamed.set(name, other);
    return other;
  };
  return inGraph(graph, rename);
}

function makesAny(graph: Graph, names: ReadonlySet<ValueName>): boolean {
  let found = [...graph.initializers.keys()].some((name) => names.has(name));
  const visit = (node: Node): Node => {
    found ||= node.outputs.some((name) => names.has(name));
    return withBodies(node, (body) => {
      found ||= body.inputs.some(({ name }) => names.has(name)) || makesAny(body, names);
      return body;
    });
  };
  graph.nodes.forEach(visit);
  return found;
}

function inGraph(graph: Graph, rename: (name: ValueName) => ValueName): Graph {
  const value = <V extends { name: ValueName }>(one: V): V => ({ ...one, name: rename(one.name) });
  return {
    ...graph,
    inputs: graph.inputs.map(value),
    outputs: graph.outputs.map(value),
    initializers: new Map([...graph.initializers].map(([name, ref]) => [rename(name), ref])),
    values: new Map([...graph.values].map(([name, one]) => [rename(name), value(one)])),
    nodes: graph.nodes.map((node) => ({
      ...withBodies(node, (body) => inGraph(body, rename)),
      inputs: node.inputs.map(rename),
      outputs: node.outputs.map(rename),
    })),
  };
}
