// Results that the way back reads and that the forward did not ask for: where the maximum of a MaxPool was, the
// log-probabilities of a cross-entropy, the states that the rounds of a Loop got.

import { FreshNames } from "../../canonical/fresh-names.ts";
import { inferShapes } from "../../canonical/infer-shapes.ts";
import { withBodies } from "../../canonical/inline.ts";
import type { Graph, Node, ValueName } from "../../graph/graph.ts";
import { opOf } from "../../ops/index.ts";
import { dependingInside, dependingOn, type TypeOf } from "./paths.ts";
import { roundsOf } from "./rounds.ts";
import { withToldStates } from "./told-states.ts";

/**
 * The graph with those results named and typed, on the nodes that depend on `wrt`; the same graph if there is
 * none.
 */
export function withSavedResults(graph: Graph, wrt: Iterable<ValueName>): Graph {
  const named = withNames(graph, wrt, new FreshNames(graph));
  return named === graph ? graph : inferShapes(named);
}

function withNames(
  graph: Graph,
  wrt: Iterable<ValueName>,
  names: FreshNames,
  outer?: TypeOf,
): Graph {
  const typeOf: TypeOf = (name) => graph.values.get(name) ?? outer?.(name);
  const dependent = dependingOn(graph.nodes, wrt, typeOf);
  const nodes = graph.nodes.map((node) => {
    if (!node.outputs.some((name) => dependent.has(name))) return node;
    const inner = withBodies(node, (body) =>
      withNames(body, dependingInside(node, body, dependent, typeOf), names, typeOf),
    );
    const rounds = roundsOf(inner);
    if (rounds !== undefined) return withToldStates(rounds, names);
    return withOutputs(inner, missingOf(inner), names);
  });
  return nodes.every((node, i) => node === graph.nodes[i]) ? graph : { ...graph, nodes };
}

function missingOf(node: Node): readonly number[] {
  const op = opOf(node);
  if (typeof op?.gradient !== "function") return [];
  return op.saves.outputs.filter((i) => (node.outputs[i] ?? "") === "");
}

function withOutputs(node: Node, missing: readonly number[], names: FreshNames): Node {
  if (missing.length === 0) return node;
  const outputs = [...node.outputs];
  while (outputs.length <= Math.max(...missing)) outputs.push("");
  for (const i of missing) outputs[i] = names.value(`${node.outputs[0]}.saved${i}`);
  return { ...node, outputs };
}
