// Parts that many op definitions share: shape rules and cost rules.

import { limits } from "../base/limits.ts";
import { type DType, dtypeBytes } from "../graph/dtype.ts";
import { intsAttribute, type Node, type ValueType } from "../graph/graph.ts";
import { broadcast, type Dim, elementCount, type Shape, UNKNOWN_DIM } from "../graph/shape.ts";
import { numbersOf, type TensorRef } from "../graph/tensor.ts";
import type { Cost, CostRule, OpDef, SavedForBackward, ShapeContext, ShapeRule } from "./op.ts";

/** Backward reads nothing of the forward. */
export const SAVES_NOTHING: SavedForBackward = { inputs: [], outputs: [] };

/** The output is typed as the first input. */
export const sameAsInput: ShapeRule = (context) => [context.input(0)];

/** The output has the shape that broadcasting all inputs gives, and the first input's type. */
export const broadcastInputs: ShapeRule = (context) => {
  const dtype = context.input(0)?.dtype;
  return dtype === undefined ? [undefined] : [{ dtype, shape: broadcastShape(context) }];
};

/** As `broadcastInputs`, with truth values. */
export const broadcastToBool: ShapeRule = (context) => [
  { dtype: "bool", shape: broadcastShape(context) },
];

/**
 * The shape that broadcasting the inputs from `first` on gives; undefined where one is unknown. Before
 * operator set 7 the second operand was spread over axes of the first that an attribute named.
 */
export function broadcastShape(context: ShapeContext, first = 0): Shape | undefined {
  if (context.opset < 7) return context.input(first)?.shape;
  let shape: Shape | undefined = [];
  for (let i = first; i < context.node.inputs.length; i++) {
    const next = context.input(i)?.shape;
    shape = shape === undefined || next === undefined ? undefined : broadcast(shape, next);
  }
  return shape;
}

/** A type, or undefined where the dtype is unknown. */
export function typed(dtype: DType | undefined, shape: Shape | undefined): ValueType | undefined {
  return dtype === undefined ? undefined : { dtype, shape };
}

/** Bytes of a value whose shape is static. */
export function valueBytes(type: ValueType | undefined): number | undefined {
  const count = elementCount(type?.shape);
  return type === undefined || count === undefined ? undefined : dtypeBytes(type.dtype, count);
}

function traffic(types: readonly (ValueType | undefined)[]): number | undefined {
  let total = 0;
  for (const type of types) {
    const bytes = valueBytes(type);
    if (bytes === undefined) return undefined;
    total += bytes;
  }
  return total;
}

/** Cost with a given number of flops for each element of the first output. */
export function perOutput(flopsEach: number): CostRule {
  return costOf((_node, _inputs, outputs) => {
    const count = elementCount(outputs[0]?.shape);
    return count === undefined ? undefined : count * flopsEach;
  });
}

/** Cost with a given number of flops for each element of the first input. */
export function perInput(flopsEach: number): CostRule {
  return costOf((_node, inputs) => {
    const count = elementCount(inputs[0]?.shape);
    return count === undefined ? undefined : count * flopsEach;
  });
}

/** No arithmetic and, as a view, no traffic. */
export const free: CostRule = (): Cost => ({ flops: 0, bytes: 0 });

/** A cost rule from its arithmetic; traffic is every input and output once. */
export function costOf(
  flops: (
    node: Node,
    inputs: readonly (ValueType | undefined)[],
    outputs: readonly (ValueType | undefined)[],
  ) => number | undefined,
): CostRule {
  return (node, inputs, outputs) => {
    const used = inputs.filter((_, i) => (node.inputs[i] ?? "") !== "");
    const bytes = traffic([...used, ...outputs]);
    const count = flops(node, inputs, outputs);
    return bytes === undefined || count === undefined ? undefined : { flops: count, bytes };
  };
}

/** An op of the standard domain, with what most ops share filled in. */
export function defineOp(
  type: string,
  parts: Omit<OpDef, "type" | "domain" | "saves"> & Partial<Pick<OpDef, "domain" | "saves">>,
): OpDef {
  return { type, domain: "", saves: SAVES_NOTHING, ...parts };
}

/** Small integers of a constant input; undefined for a constant longer than any shape needs. */
export function integers(ref: TensorRef | undefined): readonly number[] | undefined {
  const count = ref === undefined ? undefined : elementCount(ref.shape);
  if (ref === undefined || count === undefined || count > limits.shapeConstantMax) return undefined;
  return numbersOf(ref);
}

/** Integers of input `i`, else of an attribute: where newer and older operator sets have them. */
export function argument(
  c: ShapeContext,
  i: number,
  attribute: string,
): readonly number[] | undefined {
  const fromInput = (c.node.inputs[i] ?? "") !== "";
  if (fromInput) return integers(c.constant(i));
  const given = intsAttribute(c.node, attribute);
  return (given?.length ?? 0) > limits.shapeConstantMax ? undefined : given;
}

/** The dims that input `i` asks for as a list of sizes, as far as they are known. */
export function dimsOf(c: ShapeContext, i: number): Shape | undefined {
  const known = c.entries(i);
  if (known !== undefined) return known;
  const rank = c.input(i)?.shape?.[0];
  if (typeof rank !== "number" || rank > limits.rankMax) return undefined;
  return Array.from({ length: rank }, () => UNKNOWN_DIM);
}

/** A product of dims, unknown where one is not a number. */
export function timesDim(a: Dim | undefined, b: Dim | undefined): Dim {
  return typeof a === "number" && typeof b === "number" ? a * b : UNKNOWN_DIM;
}

/** A quotient of dims that leaves no rest, else unknown. */
export function overDim(a: Dim | undefined, b: Dim | undefined): Dim {
  if (typeof a !== "number" || typeof b !== "number" || b === 0) return UNKNOWN_DIM;
  return a % b === 0 ? a / b : UNKNOWN_DIM;
}

/** A sum of dims; a symbol stays one where nothing is added to it. */
export function plusDim(a: Dim | undefined, b: Dim | undefined): Dim {
  if (a === 0) return b ?? UNKNOWN_DIM;
  if (b === 0) return a ?? UNKNOWN_DIM;
  return typeof a === "number" && typeof b === "number" ? a + b : UNKNOWN_DIM;
}
