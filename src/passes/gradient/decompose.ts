// Ops without a gradient rule of their own, written in ops that have one. Only those on a path from what is
// differentiated are taken apart: elsewhere the runtime's own kernel is the better form.

import { assert } from "../../base/assert.ts";
import { withBodies } from "../../canonical/inline.ts";
import type { TypedBuilder } from "../../canonical/typed-builder.ts";
import { type Graph, type Node, subgraphs, type ValueName } from "../../graph/graph.ts";
import { opOf } from "../../ops/index.ts";
import type { Decomposition } from "../../ops/op.ts";
import { dependingInside, dependingOn } from "./paths.ts";

/** Ops that come out of a decomposition may be taken apart in turn; no chain of ours is longer. */
const ROUNDS_MAX = 6;

/** Makes an empty builder over a graph's inputs and constants. */
export type Start = (graph: Graph) => TypedBuilder;

/**
 * The graph with decompositions in place of the ops that depend on `wrt`; the same graph if there is none.
 * Values keep their names.
 */
export function decompose(graph: Graph, wrt: readonly ValueName[], start: Start): Graph {
  let current = graph;
  for (let round = 0; current.nodes.some(isOpen); round++) {
    assert(round < ROUNDS_MAX, "decompositions end");
    const builder = start({ ...current, nodes: [] });
    if (!append(builder, current.nodes, wrt)) return current;
    for (const output of current.outputs) builder.output(output);
    current = builder.finish(current.name, current.opsets, current.metadata);
  }
  return current;
}

/** Whether a node, or one in its bodies, has a decomposition. */
function isOpen(node: Node): boolean {
  return (
    decompositionOf(node) !== undefined || subgraphs(node).some((body) => body.nodes.some(isOpen))
  );
}

function decompositionOf(node: Node): Decomposition | undefined {
  const gradient = opOf(node)?.gradient;
  return typeof gradient === "object" && "decompose" in gradient ? gradient : undefined;
}

/** Adds nodes, those with a decomposition taken apart; whether there was one. */
function append(builder: TypedBuilder, nodes: readonly Node[], wrt: Iterable<ValueName>): boolean {
  builder.reserve(nodes);
  const dependent = dependingOn(nodes, wrt, (name) => builder.typeOf(name));
  let changed = false;
  for (const node of nodes) {
    const found = node.outputs.some((name) => dependent.has(name))
      ? decompositionOf(node)
      : undefined;
    if (found !== undefined) {
      changed = true;
      takeApart(builder, node, found);
      continue;
    }
    const kept = withBodies(node, (body) => {
      if (!body.nodes.some(isOpen)) return body;
      const inner = builder.body(`${node.name}/`, { ...body, nodes: [] });
      const within = dependingInside(node, body, dependent, (name) => inner.typeOf(name));
      if (!append(inner, body.nodes, within)) return body;
      for (const output of body.outputs) inner.output(output);
      return inner.finish(body.name, body.opsets, body.metadata);
    });
    changed ||= kept !== node;
    builder.append(kept);
  }
  return changed;
}

function takeApart(builder: TypedBuilder, node: Node, { decompose: write }: Decomposition): void {
  const results = write({
    node,
    opset: builder.opset,
    emit: (op, inputs, options) => builder.emit(op, inputs, options),
    emitAll: (op, inputs, options) => builder.emitAll(op, inputs, options),
    constant: (ref, stem) => builder.constant(ref, stem),
    typeOf: (name) => builder.typeOf(name),
    constantOf: (name) => builder.constantOf(name),
    bodyOf: (name, inputs, build) => builder.bodyOf(name, inputs, build),
  });
  for (const [i, name] of node.outputs.entries()) {
    const result = results[i];
    if (name === "") continue;
    assert(result !== undefined, `the decomposition of ${node.op} gives output ${i}`);
    builder.emit("Identity", [result], { name: `${node.name}/${i}`, outputs: [name] });
  }
}
