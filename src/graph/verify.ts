// Is this a graph at all? Run on what comes out of a file and after every pass.

import { type Diagnostic, diagnostic } from "../base/diagnostic.ts";
import type { Graph, ValueName } from "./graph.ts";
import { subgraphs } from "./graph.ts";

/**
 * Every violation of static single assignment: a name made twice, read before it is made, or an
 * output that nobody makes. `outer` holds the names that an enclosing graph provides.
 */
export function graphDiagnostics(
  graph: Graph,
  outer: ReadonlySet<ValueName> = new Set(),
): Diagnostic[] {
  const found: Diagnostic[] = [];
  const defined = new Set<ValueName>(outer);
  for (const name of graph.initializers.keys()) defined.add(name);
  for (const value of graph.inputs) defined.add(value.name);
  const made = new Set<ValueName>([...graph.inputs.map((value) => value.name)]);
  for (const node of graph.nodes) {
    for (const name of node.inputs) {
      if (name !== "" && !defined.has(name)) found.push(missing(node.name, name));
    }
    for (const body of subgraphs(node)) found.push(...graphDiagnostics(body, defined));
    for (const name of node.outputs) {
      if (name === "") continue;
      if (made.has(name) || graph.initializers.has(name)) found.push(twice(node.name, name));
      made.add(name);
      defined.add(name);
    }
  }
  for (const value of graph.outputs) {
    if (!defined.has(value.name)) found.push(missing("graph outputs", value.name));
  }
  return found;
}

function missing(where: string, name: ValueName): Diagnostic {
  return diagnostic({
    id: "graph/undefined-value",
    severity: "error",
    where,
    text: `reads "${name}", which no node before it makes and which is no input or initializer`,
    fix: "Export the model again: nodes must be in topological order and every name defined.",
  });
}

function twice(where: string, name: ValueName): Diagnostic {
  return diagnostic({
    id: "graph/duplicate-value",
    severity: "error",
    where,
    text: `makes "${name}", which is made already: every value has one producer`,
    fix: "Give the outputs of the two nodes different names.",
  });
}
