// Small constants whose elements are moved, left out or joined: what exporters do with lists of paddings.

import { dtypeBytes } from "../graph/dtype.ts";
import { intAttribute, intsAttribute, type Node } from "../graph/graph.ts";
import { elementCount, normalizeAxis } from "../graph/shape.ts";
import { hasBytes, numbersOf, type TensorRef } from "../graph/tensor.ts";

type Constant = (i: number) => TensorRef | undefined;

/** Where each element of a result comes from: the operand, and the place in it. */
type Places = readonly (readonly [operand: number, place: number])[];

/**
 * The elements of what a Transpose, Slice or Concat gives, of any type of whole bytes; undefined where an operand is
 * not known. `shape` is that of the result.
 */
export function movedBytes(
  node: Node,
  shape: readonly number[],
  constant: Constant,
): Uint8Array | undefined {
  const places = placesOf(node, shape, constant);
  if (places === undefined) return undefined;
  const sources = node.inputs.map((_, i) => elementsOf(constant(i)));
  const width = sources[0]?.width ?? 0;
  const bytes = new Uint8Array(places.length * width);
  for (const [to, [operand, place]] of places.entries()) {
    const source = sources[operand];
    if (source?.width !== width || place < 0 || place >= source.count) return undefined;
    bytes.set(source.bytes.subarray(place * width, (place + 1) * width), to * width);
  }
  return bytes;
}

interface Elements {
  readonly bytes: Uint8Array;
  readonly count: number;
  readonly width: number;
}

function elementsOf(ref: TensorRef | undefined): Elements | undefined {
  const count = elementCount(ref?.shape);
  if (ref === undefined || !hasBytes(ref) || count === undefined || count === 0) return undefined;
  const width = dtypeBytes(ref.dtype, 1);
  // Of types narrower than a byte several share one.
  return ref.data.bytes.byteLength === width * count && dtypeBytes(ref.dtype, 2) === 2 * width
    ? { bytes: ref.data.bytes, count, width }
    : undefined;
}

function placesOf(node: Node, shape: readonly number[], constant: Constant): Places | undefined {
  switch (node.op) {
    case "Transpose":
      return transposed(node, shape, constant);
    case "Slice":
      return sliced(node, shape, constant);
    case "Concat":
      return joined(node, shape, constant);
    default:
      return undefined;
  }
}

/** Calls back for each index of a shape in order. */
function mapped<T>(shape: readonly number[], make: (index: readonly number[]) => T): T[] {
  const total = shape.reduce((a, b) => a * b, 1);
  return Array.from({ length: total }, (_, at) => {
    let rest = at;
    const index = shape.toReversed().map((size) => {
      const here = rest % size;
      rest = Math.floor(rest / size);
      return here;
    });
    return make(index.toReversed());
  });
}

function placeOf(index: readonly number[], shape: readonly number[]): number {
  return index.reduce((place, at, axis) => place * (shape[axis] ?? 1) + at, 0);
}

function transposed(node: Node, shape: readonly number[], constant: Constant): Places | undefined {
  const from = constant(0)?.shape;
  const perm = intsAttribute(node, "perm") ?? shape.map((_, i) => shape.length - 1 - i);
  if (from === undefined || perm.length !== from.length) return undefined;
  return mapped(shape, (index) => {
    const source = from.map((_, axis) => index[perm.indexOf(axis)] ?? 0);
    return [0, placeOf(source, from)];
  });
}

/** Source: ONNX Slice-13; the form before Slice-10, with attributes, is left to other rules. */
function sliced(node: Node, shape: readonly number[], constant: Constant): Places | undefined {
  const from = constant(0)?.shape;
  const numbers = (i: number): number[] | undefined => {
    const ref = (node.inputs[i] ?? "") === "" ? undefined : constant(i);
    return ref && numbersOf(ref);
  };
  const [starts, axes, steps] = [numbers(1), numbers(3), numbers(4)];
  if (from === undefined || starts === undefined) return undefined;
  // What is given and not known could be anything.
  if ([axes, steps].some((list, i) => list === undefined && (node.inputs[i + 3] ?? "") !== "")) {
    return undefined;
  }
  const start = from.map(() => 0);
  const step = from.map(() => 1);
  for (const [i, given] of starts.entries()) {
    const axis = normalizeAxis(axes?.[i] ?? i, from.length);
    const size = axis === undefined ? undefined : from[axis];
    if (axis === undefined || size === undefined) return undefined;
    const by = steps?.[i] ?? 1;
    const counted = given < 0 ? given + size : given;
    step[axis] = by;
    start[axis] = Math.min(Math.max(counted, 0), by > 0 ? size : size - 1);
  }
  return mapped(shape, (index) => {
    const source = index.map((at, axis) => (start[axis] ?? 0) + at * (step[axis] ?? 1));
    return [0, placeOf(source, from)];
  });
}

function joined(node: Node, shape: readonly number[], constant: Constant): Places | undefined {
  const axis = normalizeAxis(intAttribute(node, "axis", 0), shape.length);
  const shapes = node.inputs.map((_, i) => constant(i)?.shape);
  if (axis === undefined) return undefined;
  const known = shapes.flatMap((one) => (one === undefined ? [] : [one]));
  if (known.length < shapes.length) return undefined;
  return mapped(shape, (index) => {
    let at = index[axis] ?? 0;
    let operand = 0;
    for (const one of known) {
      const size = one[axis] ?? 0;
      if (at < size) break;
      at -= size;
      operand++;
    }
    const own = known[operand] ?? [];
    return [operand, placeOf(index.with(axis, at), own)];
  });
}
