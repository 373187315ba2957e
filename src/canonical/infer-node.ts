// Types of one node's outputs, asked of the op table.

import { limits } from "../base/limits.ts";
import type { Node, ValueName, ValueType } from "../graph/graph.ts";
import { type Dim, elementCount, UNKNOWN_DIM } from "../graph/shape.ts";
import { numbersOf, type TensorRef } from "../graph/tensor.ts";
import { changeShapes } from "../graph/value-type.ts";
import { opOf } from "../ops/index.ts";
import type { KnownValues } from "./known.ts";

/** Types of the outputs in order; undefined where the op is unknown or says nothing. */
export function inferNode(
  node: Node,
  opset: number,
  known: KnownValues,
): readonly (ValueType | undefined)[] {
  const op = opOf(node);
  if (op === undefined) return [];
  const nameOf = (i: number): ValueName => node.inputs[i] ?? "";
  const types = op.shape({
    node,
    opset,
    input: (i) => {
      const type = nameOf(i) === "" ? undefined : known.typeOf(nameOf(i));
      // What holds tensors is no tensor: to a rule about tensors it is an operand of unknown type.
      return type?.container === undefined || op.containers === true ? type : undefined;
    },
    constant: (i) => (nameOf(i) === "" ? undefined : known.constantOf(nameOf(i))),
    entries: (i) => {
      const constant = nameOf(i) === "" ? undefined : known.constantOf(nameOf(i));
      const numbers = constant === undefined ? undefined : listOf(constant);
      return numbers ?? known.contentOf?.(nameOf(i))?.entries;
    },
  });
  return types.map(plausible);
}

/** A list of sizes; a longer one is the shape of no tensor. */
function listOf(ref: TensorRef): number[] | undefined {
  return (elementCount(ref.shape) ?? 0) > limits.rankMax ? undefined : numbersOf(ref);
}

/**
 * Rules compute with what a file claims. A size that is none, because the claim contradicts itself (a
 * stride of 0, more cut off than there is), is not known.
 */
function plausible(type: ValueType | undefined): ValueType | undefined {
  return (
    type &&
    changeShapes(type, (shape) => {
      if (shape.length > limits.rankMax) return undefined;
      return shape.every(isSize) ? shape : shape.map((dim) => (isSize(dim) ? dim : UNKNOWN_DIM));
    })
  );
}

function isSize(dim: Dim): boolean {
  return typeof dim === "string" || (Number.isSafeInteger(dim) && dim >= 0);
}
