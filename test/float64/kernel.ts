// What one op of the float64 oracle is: a function from arrays to arrays.

import type { Graph, Node, ValueName } from "../../src/graph/graph.ts";
import { intsAttribute } from "../../src/graph/graph.ts";
import type { Array64 } from "./array.ts";

/** What a kernel sees of its node. */
export interface Call {
  readonly node: Node;
  /** Version of the node's operator set. */
  readonly opset: number;
  readonly inputs: readonly (Array64 | undefined)[];
  /** Runs a body that sees the values around this node; outputs in the body's order. */
  run(body: Graph, inputs: readonly Array64[]): readonly Array64[];
  /** Values around the node, for bodies. */
  outer(name: ValueName): Array64 | undefined;
}

/** Computes the outputs of a node; undefined for one that is not given. */
export type Kernel = (call: Call) => readonly (Array64 | undefined)[];

/** Ops by type; those of other domains as `domain/type`. */
export type Kernels = Readonly<Record<string, Kernel>>;

/** Input `i`, which must be there. */
export function operand(call: Call, i: number): Array64 {
  const found = call.inputs[i];
  if (found === undefined) throw new Error(`${call.node.op} has no input ${i}`);
  return found;
}

/** Integers of input `i`, else of an attribute, else nothing: newer and older operator sets. */
export function integersOf(call: Call, i: number, attribute: string): number[] | undefined {
  const given = call.inputs[i];
  if (given !== undefined) return Array.from(given.values);
  const list = intsAttribute(call.node, attribute);
  return list === undefined ? undefined : [...list];
}
