// Small constants that a file computes instead of storing: 1/√d, √(variance + ε), 1 + γ, a scalar spread over a
// shape, lists of paddings. Patterns are recognised by such numbers.

import { limits } from "../base/limits.ts";
import type { Node, ValueName, ValueType } from "../graph/graph.ts";
import { elementCount, isStatic, type Shape } from "../graph/shape.ts";
import { hasBytes, numbersOf, type TensorRef, tensor } from "../graph/tensor.ts";
import { movedBytes } from "./move.ts";

const UNARY: ReadonlyMap<string, (x: number) => number> = new Map([
  ["Sqrt", Math.sqrt],
  ["Reciprocal", (x: number) => 1 / x],
  ["Neg", (x: number) => -x],
  ["Abs", Math.abs],
  ["Exp", Math.exp],
  ["Cast", (x: number) => x],
  ["CastLike", (x: number) => x],
  ["Identity", (x: number) => x],
]);

const BINARY: ReadonlyMap<string, (a: number, b: number) => number> = new Map([
  ["Add", (a: number, b: number) => a + b],
  ["Sub", (a: number, b: number) => a - b],
  ["Mul", (a: number, b: number) => a * b],
  ["Div", (a: number, b: number) => a / b],
  ["Pow", (a: number, b: number) => a ** b],
]);

/** The same elements in the same order. */
const RESHAPING = new Set(["Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Cast"]);

/** Computes small constants, up to a total for one graph. */
export class Evaluation {
  #left: number = limits.foldedElementsMax;

  /** What a node of known operands gives, if it is small and of a kind that is computed here. */
  evaluate(
    node: Node,
    type: ValueType,
    constantOf: (name: ValueName) => TensorRef | undefined,
  ): TensorRef | undefined {
    const { dtype, shape } = type;
    const count = elementCount(shape);
    if (node.domain !== "" || !isStatic(shape) || count === undefined) return undefined;
    if (count > limits.computedConstantMax || count > this.#left) return undefined;
    const operand = (i: number): TensorRef | undefined => {
      const ref = constantOf(node.inputs[i] ?? "");
      return (elementCount(ref?.shape) ?? Number.POSITIVE_INFINITY) <= limits.computedConstantMax
        ? ref
        : undefined;
    };
    const first = operand(0);
    if (RESHAPING.has(node.op) && first?.dtype === dtype && hasBytes(first)) {
      return elementCount(first.shape) === count ? { ...first, shape } : undefined;
    }
    const bytes = first?.dtype === dtype ? movedBytes(node, shape, operand) : undefined;
    if (bytes !== undefined) {
      this.#left -= count;
      return tensor(dtype, shape, bytes);
    }
    const values = valuesOf(node, shape, operand);
    if (values === undefined || (dtype !== "float32" && dtype !== "float64")) return undefined;
    this.#left -= count;
    const array = dtype === "float32" ? Float32Array.from(values) : Float64Array.from(values);
    return tensor(dtype, shape, new Uint8Array(array.buffer));
  }
}

function valuesOf(
  node: Node,
  shape: readonly number[],
  operand: (i: number) => TensorRef | undefined,
): readonly number[] | undefined {
  if (node.op === "ConstantOfShape") {
    const fill = node.attributes.get("value");
    const value =
      fill?.kind === "tensor" ? numbersOf(fill.value)?.[0] : fill === undefined ? 0 : undefined;
    return value === undefined ? undefined : new Array(elementCount(shape) ?? 0).fill(value);
  }
  const a = spread(operand(0), shape);
  const unary = node.op === "Expand" ? (x: number): number => x : UNARY.get(node.op);
  if (unary !== undefined) return a?.map(unary);
  const binary = BINARY.get(node.op);
  if (binary === undefined || node.inputs.length !== 2) return undefined;
  const b = spread(operand(1), shape);
  return b && a?.map((x, i) => binary(x, b[i] ?? 0));
}

/** The elements of a constant, broadcast to a shape. */
function spread(ref: TensorRef | undefined, shape: Shape): number[] | undefined {
  const values = ref && numbersOf(ref);
  if (ref === undefined || values === undefined || !isStatic(shape)) return undefined;
  const offset = shape.length - ref.shape.length;
  if (offset < 0) return undefined;
  const strides: number[] = [];
  let stride = 1;
  for (let axis = ref.shape.length - 1; axis >= 0; axis--) {
    const dim = ref.shape[axis] ?? 1;
    if (dim !== 1 && dim !== shape[axis + offset]) return undefined;
    strides[axis] = dim === 1 ? 0 : stride;
    stride *= dim;
  }
  const total = elementCount(shape) ?? 0;
  return Array.from({ length: total }, (_, position) => {
    let [rest, at] = [position, 0];
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      const dim = shape[axis] ?? 1;
      at += (rest % dim) * (strides[axis - offset] ?? 0);
      rest = Math.floor(rest / dim);
    }
    return values[at] ?? 0;
  });
}
