// What is known of the inputs of a body before it is inferred: the counter and condition of a Loop, its
// carried values, the slices of a Scan. A carried value is taken to keep its shape, and that is checked.

import type { Graph, Node, Value, ValueName, ValueType } from "../graph/graph.ts";
import { normalizeAxis, sameShape } from "../graph/shape.ts";
import { scanParts } from "../ops/control.ts";

type TypeOf = (name: ValueName) => ValueType | undefined;

/** The body with its inputs typed from outside; the same body where nothing is known. */
export function enter(node: Node, body: Graph, typeOf: TypeOf, opset: number): Graph {
  const inputs = body.inputs.map((value, i) => refined(value, typeOfInput(node, i, typeOf, opset)));
  return inputs.every((value, i) => value === body.inputs[i]) ? body : { ...body, inputs };
}

function typeOfInput(node: Node, i: number, typeOf: TypeOf, opset: number): ValueType | undefined {
  const outer = typeOf(node.inputs[i] ?? "");
  if (node.op === "Loop") {
    if (i < 2) return { dtype: i === 0 ? "int64" : "bool", shape: [] };
    return outer;
  }
  const parts = node.op === "Scan" ? scanParts(node, opset) : undefined;
  if (parts === undefined || outer === undefined) return undefined;
  if (i < parts.states || outer.shape === undefined) return outer;
  const axis = normalizeAxis(parts.axisOf(i), outer.shape.length);
  const shape = axis === undefined ? undefined : outer.shape.toSpliced(axis, 1);
  return { dtype: outer.dtype, shape };
}

/** A declared shape stands; the type fills it in where nothing is declared. */
function refined(value: Value, type: ValueType | undefined): Value {
  if (type?.shape === undefined || value.shape !== undefined) return value;
  return { name: value.name, dtype: type.dtype, shape: type.shape };
}

/**
 * Whether an inferred body bears out what was assumed when it was entered: each carried value leaves an
 * iteration with the shape with which it came in, so by induction it has that shape in all of them.
 */
export function bearsOut(node: Node, declared: Graph, inferred: Graph): boolean {
  if (node.op !== "Loop") return true;
  return inferred.inputs.every((value, i) => {
    if (i < 2 || value.shape === declared.inputs[i]?.shape) return true;
    const after = inferred.outputs[i - 1];
    return after?.dtype === value.dtype && sameShape(after.shape, value.shape);
  });
}
