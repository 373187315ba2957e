// The tensor that a Constant node holds, in whichever of its attributes it is written.

import type { Node } from "../graph/graph.ts";
import { intAttribute, intsAttribute } from "../graph/graph.ts";
import { float32, int64, scalar, type TensorRef } from "../graph/tensor.ts";

/** The tensor of a Constant; undefined for other nodes, and for sparse and string constants. */
export function tensorOfConstant(node: Node): TensorRef | undefined {
  if (node.op !== "Constant" || node.domain !== "") return undefined;
  const value = node.attributes.get("value");
  if (value?.kind === "tensor") return value.value;
  const single = node.attributes.get("value_float");
  if (single?.kind === "float") return scalar(single.value);
  const list = node.attributes.get("value_floats");
  if (list?.kind === "floats") return float32([list.value.length], list.value);
  const whole = intAttribute(node, "value_int");
  if (whole !== undefined) return int64([], [whole]);
  const wholes = intsAttribute(node, "value_ints");
  return wholes === undefined ? undefined : int64([wholes.length], wholes);
}
