// Tensors with data: a dtype, a shape of numbers and little-endian bytes in row-major order. Weights
// stay views of the file that they were read from; nothing here copies without need.

import { assert, present } from "../base/assert.ts";
import { SkipwayError } from "../base/errors.ts";
import { type DType, dtypeBytes } from "./dtype.ts";
import { elementCount } from "./shape.ts";

/** Elements in another file, by the confined path that the model names. */
export interface ExternalData {
  readonly kind: "external";
  /** Relative to `folder`. */
  readonly location: string;
  /** In bytes; without a length, as many as the tensor takes. */
  readonly offset: number;
  readonly length: number | undefined;
  /** The folder of the model that it was read with; left out where that is not known. */
  readonly folder?: string;
  /** Where the model's file lies, if its path is a symbolic link into another folder. */
  readonly home?: string;
}

/** Where the elements are. `absent`: the file declares dims without bytes (a skeleton export). */
export type TensorData =
  | { readonly kind: "bytes"; readonly bytes: Uint8Array }
  | { readonly kind: "strings"; readonly values: readonly Uint8Array[] }
  | ExternalData
  | { readonly kind: "absent" };

/** A tensor, or the promise of one. Shapes are static; sizes agree with the data. */
export interface TensorRef {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly data: TensorData;
}

/** A tensor whose bytes are here: what is fed to and fetched from a session. */
export interface Tensor extends TensorRef {
  readonly data: { readonly kind: "bytes"; readonly bytes: Uint8Array };
}

/**
 * Makes a tensor of bytes; asserts that the size agrees with dtype and shape. Strings have any size
 * (string-tensor.ts).
 */
export function tensor(dtype: DType, shape: readonly number[], bytes: Uint8Array): Tensor {
  const count = present(elementCount(shape), "tensor shapes are static");
  assert(
    dtype === "string" || bytes.byteLength === dtypeBytes(dtype, count),
    `tensor of ${dtype}[${shape.join(",")}] needs ${dtypeBytes(dtype, count)} bytes, got ${bytes.byteLength}`,
  );
  return { dtype, shape, data: { kind: "bytes", bytes } };
}

/** The bytes of a typed array, without a copy. */
export function bytesOf(array: ArrayBufferView): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

/** A float32 tensor over the given numbers; a Float32Array is taken as it is. */
export function float32(shape: readonly number[], values: ArrayLike<number>): Tensor {
  const array = values instanceof Float32Array ? values : Float32Array.from(values);
  return tensor("float32", shape, bytesOf(array));
}

const INT64_MAX = 2n ** 63n - 1n;
const INT64_MIN = -(2n ** 63n);

/**
 * An int64 tensor of safe integers. What is beyond int64 becomes its end: the largest one, which means "to
 * the end" in Slice, is as a number one too many.
 */
export function int64(shape: readonly number[], values: readonly number[]): Tensor {
  return tensor("int64", shape, bytesOf(BigInt64Array.from(values, saturated)));
}

function saturated(value: number): bigint {
  const whole = BigInt(value);
  if (whole > INT64_MAX) return INT64_MAX;
  return whole < INT64_MIN ? INT64_MIN : whole;
}

/** A scalar float32. */
export function scalar(value: number): Tensor {
  return float32([], [value]);
}

/** A scalar of any float type or of an integer type of up to 64 bits, rounded to what the type can hold. */
export function scalarOf(dtype: DType, value: number): Tensor {
  return tensor(dtype, [], bytesOf(elementOf(dtype, value)));
}

/** A list of numbers as `scalarOf` has each of them. */
export function vectorOf(dtype: DType, values: readonly number[]): Tensor {
  const elements = values.map((value) => bytesOf(elementOf(dtype, value)));
  const bytes = new Uint8Array(elements.reduce((sum, one) => sum + one.byteLength, 0));
  for (const [i, one] of elements.entries()) bytes.set(one, i * one.byteLength);
  return tensor(dtype, [values.length], bytes);
}

function elementOf(dtype: DType, value: number): ArrayBufferView {
  switch (dtype) {
    case "float32":
      return Float32Array.of(value);
    case "float64":
      return Float64Array.of(value);
    case "float16":
      return Uint16Array.of(halfBits(value));
    case "bfloat16":
      // The upper half of a float32, rounded half up; constants of rules are exact in it or near.
      return Uint16Array.of(
        ((new Uint32Array(Float32Array.of(value).buffer)[0] ?? 0) + 0x8000) >>> 16,
      );
    case "int64":
      return BigInt64Array.of(saturated(Math.trunc(value)));
    case "int32":
      return Int32Array.of(value);
    case "uint8":
    case "bool":
      return Uint8Array.of(value);
    case "int8":
      return Int8Array.of(value);
    default:
      throw new SkipwayError("internal", `skipway defect: a scalar of ${dtype}`);
  }
}

/** The half-precision pattern nearest to a number (IEEE 754 binary16, ties to even). */
function halfBits(value: number): number {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  if (Number.isNaN(size)) return 0x7e00;
  if (size >= 65520) return sign | 0x7c00;
  // Subnormals have the step of the smallest normal.
  const exponent = Math.max(Math.floor(Math.log2(size === 0 ? 1 : size)), -14);
  const steps = roundToEven((size / 2 ** exponent) * 1024);
  return sign | (size < 2 ** -14 ? steps : ((exponent + 14) << 10) + steps);
}

function roundToEven(x: number): number {
  const low = Math.floor(x);
  const rest = x - low;
  return rest > 0.5 || (rest === 0.5 && low % 2 === 1) ? low + 1 : low;
}

/** Whether the elements are at hand. */
export function hasBytes(ref: TensorRef): ref is Tensor {
  return ref.data.kind === "bytes";
}

/** Bytes of their own, aligned. (`slice` of a Node Buffer would be a view.) */
export function copyBytes(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes);
}

function aligned(bytes: Uint8Array, size: number): Uint8Array {
  return bytes.byteOffset % size === 0 ? bytes : copyBytes(bytes);
}

/** A float32 view of a float32 tensor; copies only where the bytes are not aligned. */
export function float32Values(t: Tensor): Float32Array {
  assert(t.dtype === "float32", `float32 values of a ${t.dtype} tensor`);
  const bytes = aligned(t.data.bytes, 4);
  return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
}

/** An int64 view of an int64 tensor; copies only where the bytes are not aligned. */
export function int64Values(t: Tensor): BigInt64Array {
  assert(t.dtype === "int64", `int64 values of a ${t.dtype} tensor`);
  const bytes = aligned(t.data.bytes, 8);
  return new BigInt64Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 8);
}

/** The number that a half-precision pattern of bits is (IEEE 754 binary16). */
function halfOf(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 0x1f) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/**
 * Elements of a tensor of floats, integers of up to 64 bits or truth values as numbers, or undefined for
 * other types and for tensors whose data is not here. For small constants.
 */
export function numbersOf(ref: TensorRef): number[] | undefined {
  if (!hasBytes(ref)) return undefined;
  const b = copyBytes(ref.data.bytes);
  switch (ref.dtype) {
    case "int64":
      return Array.from(new BigInt64Array(b.buffer), Number);
    case "int32":
      return Array.from(new Int32Array(b.buffer));
    case "float32":
      return Array.from(new Float32Array(b.buffer));
    case "float64":
      return Array.from(new Float64Array(b.buffer));
    case "float16":
      return Array.from(new Uint16Array(b.buffer), halfOf);
    case "bfloat16":
      // The upper half of a float32.
      return Array.from(
        new Float32Array(Uint32Array.from(new Uint16Array(b.buffer), (v) => v << 16).buffer),
      );
    case "int8":
      return Array.from(new Int8Array(b.buffer));
    case "uint8":
    case "bool":
      return Array.from(b);
    case "int16":
      return Array.from(new Int16Array(b.buffer));
    case "uint16":
      return Array.from(new Uint16Array(b.buffer));
    default:
      return undefined;
  }
}
