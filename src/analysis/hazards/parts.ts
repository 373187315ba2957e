// The parts of a file as they are stored: the graph, the bodies in it, and every function once, however often
// it is called.

import { tensorOfConstant } from "../../canonical/constant-node.ts";
import { type Graph, type Node, subgraphs, type ValueName } from "../../graph/graph.ts";
import { captures } from "../../graph/query.ts";
import type { TensorRef } from "../../graph/tensor.ts";

/** A graph, a body, or a function. */
export interface Part {
  readonly nodes: readonly Node[];
  readonly initializers: ReadonlyMap<ValueName, TensorRef>;
  readonly outputs: readonly ValueName[];
  /** The function in which it stands, by its key. */
  readonly called?: string;
}

/** All parts, the graph first. */
export function partsOf(graph: Graph): Part[] {
  const parts: Part[] = [partOf(graph)];
  for (const [called, one] of graph.functions ?? []) {
    parts.push({ nodes: one.nodes, initializers: new Map(), outputs: one.outputs, called });
  }
  // The list grows as bodies are met.
  for (const { nodes, called } of parts) {
    for (const body of nodes.flatMap(subgraphs)) parts.push(partOf(body, called));
  }
  return parts;
}

function partOf({ nodes, initializers, outputs }: Graph, called?: string): Part {
  const names = outputs.map(({ name }) => name);
  return { nodes, initializers, outputs: names, ...(called !== undefined && { called }) };
}

/** `node NAME`, with the function in which it stands. */
export function storedPlace({ called }: Part, what: string): string {
  return called === undefined ? what : `${what} in function ${called}`;
}

/** All values that something in a part reads: its nodes, their bodies, or who asks for its outputs. */
export function readIn({ nodes, outputs }: Part): Set<ValueName> {
  const read = new Set(outputs);
  for (const node of nodes) {
    for (const name of node.inputs) read.add(name);
    for (const body of subgraphs(node)) for (const name of captures(body)) read.add(name);
  }
  return read;
}

/** A tensor of the file: an initializer, or what a Constant node holds. */
export interface Stored {
  readonly name: ValueName;
  readonly ref: TensorRef;
  readonly part: Part;
}

/** All tensors of the file. */
export function storedIn(graph: Graph): Stored[] {
  return partsOf(graph).flatMap((part) => [
    ...[...part.initializers].map(([name, ref]) => ({ name, ref, part })),
    ...part.nodes.flatMap((node): Stored[] => {
      const ref = node.op === "Constant" ? tensorOfConstant(node) : undefined;
      return ref === undefined ? [] : [{ name: node.outputs[0] ?? "", ref, part }];
    }),
  ]);
}
