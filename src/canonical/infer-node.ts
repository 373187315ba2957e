// Types of one node's outputs, asked of the op table.

import type { Node, ValueName, ValueType } from "../graph/graph.ts";
import type { Dim } from "../graph/shape.ts";
import { numbersOf, type TensorRef } from "../graph/tensor.ts";
import { opOf } from "../ops/index.ts";

/** What is known of values around a node. */
export interface KnownValues {
  typeOf(name: ValueName): ValueType | undefined;
  constantOf(name: ValueName): TensorRef | undefined;
  /** Entries of a list of integers that is computed from shapes. */
  entriesOf?(name: ValueName): readonly Dim[] | undefined;
}

/** Types of the outputs in order; undefined where the op is unknown or says nothing. */
export function inferNode(
  node: Node,
  opset: number,
  known: KnownValues,
): readonly (ValueType | undefined)[] {
  const op = opOf(node);
  if (op === undefined) return [];
  const nameOf = (i: number): ValueName => node.inputs[i] ?? "";
  return op.shape({
    node,
    opset,
    input: (i) => (nameOf(i) === "" ? undefined : known.typeOf(nameOf(i))),
    constant: (i) => (nameOf(i) === "" ? undefined : known.constantOf(nameOf(i))),
    entries: (i) => {
      const constant = nameOf(i) === "" ? undefined : known.constantOf(nameOf(i));
      const numbers = constant === undefined ? undefined : numbersOf(constant);
      return numbers ?? known.entriesOf?.(nameOf(i));
    },
  });
}
