// What is known of the inputs of a body before it is inferred: the counter and condition of a Loop, its
// carried values, the slices of a Scan, the elements of a SequenceMap. A carried value is taken to keep its shape, and that is checked.

import type { Graph, Node, Value, ValueName, ValueType } from "../graph/graph.ts";
import { normalizeAxis, sameShape } from "../graph/shape.ts";
import { carried, sameType, typeOnly } from "../graph/value-type.ts";
import { type ScanParts, scanParts } from "../ops/control.ts";

type TypeOf = (name: ValueName) => ValueType | undefined;

/** The body with its inputs typed from outside; the same body where nothing is known. */
export function enter(node: Node, body: Graph, typeOf: TypeOf, opset: number): Graph {
  const inputs = body.inputs.map((value, i) => refined(value, typeOfInput(node, i, typeOf, opset)));
  return inputs.every((value, i) => value === body.inputs[i]) ? body : { ...body, inputs };
}

function typeOfInput(node: Node, i: number, typeOf: TypeOf, opset: number): ValueType | undefined {
  const outer = (at: number): ValueType | undefined => typeOf(node.inputs[at] ?? "");
  switch (node.op) {
    case "Loop": {
      if (i < 2) return { dtype: i === 0 ? "int64" : "bool", shape: [] };
      const first = outer(i);
      return first && carried(first);
    }
    case "Scan":
      return scanInput(scanParts(node, opset), i, outer);
    case "SequenceMap": {
      const whole = outer(i);
      return whole?.container?.kind === "sequence" ? whole.container.of : whole;
    }
    default:
      return undefined;
  }
}

/** A state, or a slice of what is cut; neither has the batch axis of the old form. */
function scanInput(
  parts: ScanParts | undefined,
  i: number,
  outerOf: (at: number) => ValueType | undefined,
): ValueType | undefined {
  const outer = parts && outerOf(i + parts.first);
  if (parts === undefined || outer?.shape === undefined) return outer;
  const axis = normalizeAxis(parts.axisOf(i), outer.shape.length);
  const cut = i < parts.states ? outer.shape : axis !== undefined && outer.shape.toSpliced(axis, 1);
  if (cut === false || outer.shape.length < parts.batchAxes) return undefined;
  return { dtype: outer.dtype, shape: cut.slice(parts.batchAxes) };
}

/** A declared shape stands; the type fills it in where nothing is declared. */
function refined(value: Value, type: ValueType | undefined): Value {
  if (type === undefined || value.shape !== undefined || value.container !== undefined)
    return value;
  return sameType(value, type) ? value : { name: value.name, ...typeOnly(type) };
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
