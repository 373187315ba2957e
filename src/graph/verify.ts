// Is this a graph at all? Run on what comes out of a file and after every pass.
//
// `graph/undefined-value`, `graph/unsorted`, `graph/cycle` and `graph/duplicate-value` are errors. `graph/shadowed-value` is a warning: the
// specification forbids it, and ONNX Runtime refuses it of outputs of nodes, but what is meant is clear.

import { type Diagnostic, diagnostic } from "../base/diagnostic.ts";
import type { Graph, GraphFunction, Node, ValueName } from "./graph.ts";
import { subgraphs } from "./graph.ts";
import { Order } from "./order.ts";
import { Scope } from "./scope.ts";

/**
 * Every violation of static single assignment: a name made twice, read before it is made, or an output
 * that nobody makes; and names of bodies that hide one around them.
 */
export function graphDiagnostics(graph: Graph): Diagnostic[] {
  const found: Diagnostic[] = [];
  checkGraph(graph, undefined, found);
  return found;
}

/** The same of a function's nodes, which see the inputs of the function and nothing else. */
export function functionDiagnostics(name: string, called: GraphFunction): Diagnostic[] {
  const found: Diagnostic[] = [];
  const scope = new Scope<true>();
  const where = `function ${clipName(name)}`;
  for (const input of called.inputs) {
    if (scope.owns(input)) found.push(twice(where, input));
    scope.set(input, true);
  }
  checkNodes(called.nodes, scope, found);
  for (const output of called.outputs) {
    if (!scope.has(output)) found.push(missing(where, output));
  }
  return found;
}

/** A name of the user's file, short enough for a message. */
export function clipName(name: string): string {
  return name.length > NAME_MAX ? `${name.slice(0, NAME_MAX)}…` : name;
}

/** Longer names would hide what a message says. */
const NAME_MAX = 200;

function checkGraph(graph: Graph, outer: Scope<true> | undefined, found: Diagnostic[]): void {
  const scope = new Scope(outer);
  const where = outer === undefined ? "graph inputs" : `inputs of body ${clipName(graph.name)}`;
  for (const { name } of graph.inputs) {
    if (scope.owns(name)) found.push(twice(where, name));
    if (scope.hides(name)) found.push(shadowed(where, name));
    scope.set(name, true);
  }
  for (const name of graph.initializers.keys()) {
    if (!scope.owns(name) && scope.hides(name)) found.push(shadowed(`initializer ${name}`, name));
    if (!scope.owns(name)) scope.set(name, true);
  }
  checkNodes(graph.nodes, scope, found);
  for (const { name } of graph.outputs) {
    if (!scope.has(name)) found.push(missing("graph outputs", name));
  }
}

function checkNodes(nodes: readonly Node[], scope: Scope<true>, found: Diagnostic[]): void {
  // Only for graphs with a fault.
  let order: Order | undefined;
  for (const node of nodes) {
    for (const name of node.inputs) {
      if (name === "" || scope.has(name)) continue;
      order ??= new Order(nodes);
      found.push(tooEarly(node, name, order) ?? missing(node.name, name));
    }
    for (const body of subgraphs(node)) checkGraph(body, scope, found);
    for (const name of node.outputs) {
      if (name === "") continue;
      if (scope.owns(name)) found.push(twice(node.name, name));
      else if (scope.hides(name)) found.push(shadowed(node.name, name));
      scope.set(name, true);
    }
  }
}

/** A value that is made, but not before it is read. */
function tooEarly(node: Node, name: ValueName, order: Order): Diagnostic | undefined {
  const maker = order.makerOf(name);
  if (maker === undefined) return undefined;
  const reads = `reads "${clipName(name)}" of node ${clipName(maker.name)}`;
  if (order.inCircle(node, maker)) {
    return diagnostic({
      id: "graph/cycle",
      severity: "error",
      where: clipName(node.name),
      text: `${reads}, which waits for what this node makes: they stand in a circle`,
      fix: "Break the circle; a value that comes back is written with Loop or Scan.",
    });
  }
  return diagnostic({
    id: "graph/unsorted",
    severity: "error",
    where: clipName(node.name),
    text: `${reads}, which stands after it: nodes must be in the order in which they run`,
    fix: "Export the model again, or sort its nodes topologically.",
  });
}

function missing(where: string, name: ValueName): Diagnostic {
  return diagnostic({
    id: "graph/undefined-value",
    severity: "error",
    where: clipName(where),
    text: `reads "${clipName(name)}", which no node makes and which is no input or initializer`,
    fix: "Export the model again: every name that is read must be defined.",
  });
}

function twice(where: string, name: ValueName): Diagnostic {
  return diagnostic({
    id: "graph/duplicate-value",
    severity: "error",
    where: clipName(where),
    text: `makes "${clipName(name)}", which is made already: every value has one producer`,
    fix: "Give the outputs of the two nodes different names.",
  });
}

/** ONNX IR specification, "Names Within a Graph". */
function shadowed(where: string, name: ValueName): Diagnostic {
  return diagnostic({
    id: "graph/shadowed-value",
    severity: "warning",
    where: clipName(where),
    text: `makes "${clipName(name)}", a name that the graph around it has too; inside, it hides that one`,
    fix: "Give the value inside the body a name of its own.",
  });
}
