// Results that the way back reads and that the forward did not ask for: where the maximum of a MaxPool was, the
// log-probabilities of a cross-entropy.

import { inferShapes } from "../../canonical/infer-shapes.ts";
import { withBodies } from "../../canonical/inline.ts";
import type { Graph, Node, ValueName } from "../../graph/graph.ts";
import { NodeNames } from "../../graph/node-names.ts";
import { opOf } from "../../ops/index.ts";
import { dependingInside, dependingOn, type TypeOf } from "./paths.ts";

/**
 * The graph with those results named and typed, on the nodes that depend on `wrt`; the same graph if there is
 * none.
 */
export function withSavedResults(graph: Graph, wrt: Iterable<ValueName>): Graph {
  const named = withNames(graph, wrt);
  return named === graph ? graph : inferShapes(named);
}

function withNames(graph: Graph, wrt: Iterable<ValueName>, outer?: TypeOf): Graph {
  const typeOf: TypeOf = (name) => graph.values.get(name) ?? outer?.(name);
  const dependent = dependingOn(graph.nodes, wrt, typeOf);
  const taken = new NodeNames();
  for (const node of graph.nodes) for (const name of node.outputs) taken.reserve(name);
  const nodes = graph.nodes.map((node) => {
    if (!node.outputs.some((name) => dependent.has(name))) return node;
    const inner = withBodies(node, (body) =>
      withNames(body, dependingInside(node, body, dependent, typeOf), typeOf),
    );
    return withOutputs(inner, missingOf(inner), taken);
  });
  return nodes.every((node, i) => node === graph.nodes[i]) ? graph : { ...graph, nodes };
}

function missingOf(node: Node): readonly number[] {
  const op = opOf(node);
  if (typeof op?.gradient !== "function") return [];
  return op.saves.outputs.filter((i) => (node.outputs[i] ?? "") === "");
}

function withOutputs(node: Node, missing: readonly number[], taken: NodeNames): Node {
  if (missing.length === 0) return node;
  const outputs = [...node.outputs];
  while (outputs.length <= Math.max(...missing)) outputs.push("");
  for (const i of missing) outputs[i] = taken.take(`${node.outputs[0]}.saved${i}`, "");
  return { ...node, outputs };
}
