// Arrays of the float64 oracle: a shape, a type and numbers in row-major order. Every type is kept as
// doubles: floats are computed in double whatever the graph says, integers are exact below 2^53 and are
// wrapped to their width by whoever computes with them.

import { type DType, isFloat } from "../../src/graph/dtype.ts";
import { float32, numbersOf, type Tensor, type TensorRef, tensor } from "../../src/graph/tensor.ts";

/** A dense array. */
export interface Array64 {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly values: Float64Array;
}

/** The number of elements of a shape. */
export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((a, b) => a * b, 1);
}

/** An array over the given numbers; throws where shape and count disagree. */
export function array(dtype: DType, shape: readonly number[], values: ArrayLike<number>): Array64 {
  if (sizeOf(shape) !== values.length) {
    throw new Error(`${values.length} values do not fill [${shape.join(", ")}]`);
  }
  const held = values instanceof Float64Array ? values : Float64Array.from(values);
  return { dtype, shape, values: held };
}

/** Floats. */
export function floats(shape: readonly number[], values: ArrayLike<number>): Array64 {
  return array("float32", shape, values);
}

/** An array filled by a function of the flat index. */
export function filled(
  dtype: DType,
  shape: readonly number[],
  value: (flat: number) => number,
): Array64 {
  const values = new Float64Array(sizeOf(shape));
  for (let i = 0; i < values.length; i++) values[i] = value(i);
  return { dtype, shape, values };
}

/** The numbers of a tensor. */
export function arrayOf(ref: TensorRef): Array64 {
  const numbers = numbersOf(ref) ?? otherNumbers(ref);
  if (numbers === undefined) throw new Error(`a ${ref.dtype} tensor has no numbers`);
  return array(ref.dtype, ref.shape, numbers);
}

/** Types that graphs hold only inside quantization and hashes. */
function otherNumbers(ref: TensorRef): number[] | undefined {
  if (ref.data.kind !== "bytes") return undefined;
  const bytes = Uint8Array.from(ref.data.bytes);
  if (ref.dtype === "uint32") return Array.from(new Uint32Array(bytes.buffer));
  if (ref.dtype === "uint64") return Array.from(new BigUint64Array(bytes.buffer), Number);
  const width = widthOf(ref.dtype);
  if (width === undefined || width.bits >= 8) return undefined;
  // Packed, the first element in the lowest bits.
  const each = 8 / width.bits;
  return Array.from({ length: sizeOf(ref.shape) }, (_, i) => {
    const byte = bytes[Math.floor(i / each)] ?? 0;
    const bits = (byte >> (width.bits * (i % each))) & (2 ** width.bits - 1);
    return width.signed && bits >= 2 ** (width.bits - 1) ? bits - 2 ** width.bits : bits;
  });
}

/** The array as what the runtime takes: floats rounded to float32, integers and truth values. */
export function tensorOf(x: Array64): Tensor {
  if (isFloat(x.dtype)) return float32(x.shape, Float32Array.from(x.values));
  if (x.dtype === "bool") return tensor("bool", x.shape, Uint8Array.from(x.values));
  if (x.dtype === "int64") {
    const bytes = BigInt64Array.from(x.values, (value) => BigInt(value));
    return tensor("int64", x.shape, new Uint8Array(bytes.buffer));
  }
  if (x.dtype === "int32") {
    return tensor("int32", x.shape, new Uint8Array(Int32Array.from(x.values).buffer));
  }
  if (x.dtype === "uint8" || x.dtype === "int8") {
    return tensor(x.dtype, x.shape, new Uint8Array(Int8Array.from(x.values).buffer));
  }
  throw new Error(`a ${x.dtype} array is not fed`);
}

/** Distance in the flat list between neighbours along each axis. */
export function stridesOf(shape: readonly number[]): number[] {
  const strides = shape.map(() => 1);
  for (let axis = shape.length - 2; axis >= 0; axis--) {
    strides[axis] = (strides[axis + 1] ?? 1) * (shape[axis + 1] ?? 1);
  }
  return strides;
}

/** Visits every place of a shape in row-major order. The list of coordinates is reused: copy it to keep it. */
export function forEachIndex(
  shape: readonly number[],
  visit: (index: readonly number[], flat: number) => void,
): void {
  const count = sizeOf(shape);
  const index = shape.map(() => 0);
  for (let flat = 0; flat < count; flat++) {
    visit(index, flat);
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      const next = (index[axis] ?? 0) + 1;
      index[axis] = next < (shape[axis] ?? 1) ? next : 0;
      if (next < (shape[axis] ?? 1)) break;
    }
  }
}

/** The flat place of coordinates. */
export function flatten(index: readonly number[], strides: readonly number[]): number {
  let flat = 0;
  for (let axis = 0; axis < strides.length; axis++) {
    flat += (index[axis] ?? 0) * (strides[axis] ?? 0);
  }
  return flat;
}

/** An axis counted from the front. */
export function axisOf(axis: number, rank: number): number {
  const at = axis < 0 ? axis + rank : axis;
  if (at < 0 || at >= Math.max(rank, 1)) throw new Error(`axis ${axis} of a rank of ${rank}`);
  return at;
}

/** The shape that broadcasting gives (NumPy's rules). */
export function broadcastShapes(shapes: readonly (readonly number[])[]): number[] {
  const rank = Math.max(0, ...shapes.map((shape) => shape.length));
  return Array.from({ length: rank }, (_, axis) => {
    const dims = shapes.map((shape) => shape[axis - rank + shape.length] ?? 1);
    const size = dims.find((dim) => dim !== 1) ?? 1;
    if (dims.some((dim) => dim !== 1 && dim !== size)) {
      throw new Error(`shapes ${shapes.map((s) => `[${s.join(", ")}]`).join(" and ")} do not fit`);
    }
    return size;
  });
}

/** The array spread to a shape that it broadcasts to. */
export function spread(x: Array64, shape: readonly number[]): Array64 {
  const extra = shape.length - x.shape.length;
  if (extra === 0 && x.shape.every((dim, axis) => dim === shape[axis])) return x;
  const own = stridesOf(x.shape);
  const strides = shape.map((_, axis) =>
    axis < extra || x.shape[axis - extra] === 1 ? 0 : (own[axis - extra] ?? 0),
  );
  const values = new Float64Array(sizeOf(shape));
  forEachIndex(shape, (index, flat) => {
    values[flat] = x.values[flatten(index, strides)] ?? Number.NaN;
  });
  return { dtype: x.dtype, shape, values };
}

/** The same numbers under another shape. */
export function reshaped(x: Array64, shape: readonly number[]): Array64 {
  return array(x.dtype, shape, x.values);
}

/** Axes exchanged: axis i of the result is axis perm[i] of the array. */
export function transposed(x: Array64, perm: readonly number[]): Array64 {
  const own = stridesOf(x.shape);
  const shape = perm.map((axis) => x.shape[axis] ?? 0);
  const strides = perm.map((axis) => own[axis] ?? 0);
  const values = new Float64Array(x.values.length);
  forEachIndex(shape, (index, flat) => {
    values[flat] = x.values[flatten(index, strides)] ?? Number.NaN;
  });
  return { dtype: x.dtype, shape, values };
}

/** Bits and sign of an integer type; undefined for others. */
function widthOf(dtype: DType): { readonly bits: number; readonly signed: boolean } | undefined {
  const found = /^(u?)int(\d+)$/.exec(dtype);
  return found === null ? undefined : { bits: Number(found[2]), signed: found[1] === "" };
}

/** Whether a type is one of integers. */
export function isInteger(dtype: DType): boolean {
  return widthOf(dtype) !== undefined;
}

/** A whole number wrapped to the width of its type, as two's complement does; floats as they are. */
export function wrapped(dtype: DType, value: number | bigint): number {
  const width = widthOf(dtype);
  if (width === undefined) return Number(value);
  if (typeof value === "number" && !Number.isFinite(value)) return 0;
  const whole = typeof value === "bigint" ? value : BigInt(Math.trunc(value));
  return Number(
    width.signed ? BigInt.asIntN(width.bits, whole) : BigInt.asUintN(width.bits, whole),
  );
}

/** Least and greatest value of an integer type. */
export function rangeOf(dtype: DType): readonly [number, number] {
  const width = widthOf(dtype);
  if (width === undefined) throw new Error(`${dtype} is not a type of integers`);
  return width.signed
    ? [-(2 ** (width.bits - 1)), 2 ** (width.bits - 1) - 1]
    : [0, 2 ** width.bits - 1];
}
