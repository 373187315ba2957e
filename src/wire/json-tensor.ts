// Elements of a tensor between JSON and bytes. JSON arrays may be flat or nested row by row (Open
// Inference Protocol, "Tensor Data"). Integers of 64 bits arrive as `Integer` and lose no digit.

import { limits } from "../base/limits.ts";
import type { DType } from "../graph/dtype.ts";
import { dtypeBytes } from "../graph/dtype.ts";
import { bytesOf, copyBytes, type Tensor, tensor } from "../graph/tensor.ts";

/** What a JSON number that is no safe integer was written as; see parse-json.ts. */
export class ExactNumber {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

const ARRAYS = {
  float32: Float32Array,
  float64: Float64Array,
  int8: Int8Array,
  int16: Int16Array,
  int32: Int32Array,
  uint8: Uint8Array,
  uint16: Uint16Array,
  uint32: Uint32Array,
} as const;

const RANGES: Readonly<Record<string, readonly [number, number]>> = {
  int8: [-128, 127],
  int16: [-32_768, 32_767],
  int32: [-2_147_483_648, 2_147_483_647],
  uint8: [0, 255],
  uint16: [0, 65_535],
  uint32: [0, 4_294_967_295],
};

const RANGES_64: Readonly<Record<string, readonly [bigint, bigint]>> = {
  int64: [-(2n ** 63n), 2n ** 63n - 1n],
  uint64: [0n, 2n ** 64n - 1n],
};

/** Characters of the longest integers of 64 bits: more digits are out of range, and costly to read. */
const DIGITS_MAX = 20;

/** Whether elements of this type can stand in JSON. */
export function fitsJson(dtype: DType): boolean {
  return dtype in ARRAYS || dtype === "int64" || dtype === "uint64" || dtype === "bool";
}

/** A tensor from JSON data, or a sentence about what is wrong with it. */
export function tensorFromJson(
  dtype: DType,
  shape: readonly number[],
  data: unknown,
): Tensor | string {
  const count = shape.reduce((a, b) => a * b, 1);
  if (!Number.isSafeInteger(count) || dtypeBytes(dtype, count) > limits.requestBytesMax) {
    return `its shape [${shape.join(",")}] has more elements than a request may carry`;
  }
  const flat: unknown[] = [];
  const nesting = flatten(data, shape, flat, count);
  if (nesting !== undefined) return nesting;
  if (flat.length !== count) {
    return `its shape [${shape.join(",")}] has ${count} elements, its data ${flat.length}`;
  }
  const bytes = elementsToBytes(dtype, flat);
  return typeof bytes === "string" ? bytes : tensor(dtype, shape, bytes);
}

/** Appends the elements in row-major order; nested rows must have the lengths of the shape. */
function flatten(
  data: unknown,
  shape: readonly number[],
  into: unknown[],
  count: number,
): string | undefined {
  if (!Array.isArray(data)) return "its data is no array";
  const list: readonly unknown[] = data;
  if (!list.some(Array.isArray)) {
    if (list.length > count) return `its data has ${list.length} elements, its shape ${count}`;
    for (const element of list) into.push(element);
    return undefined;
  }
  const [length, ...rest] = shape;
  if (length !== list.length || rest.length === 0) {
    return `its data is nested, but not as its shape [${shape.join(",")}] says`;
  }
  for (const row of list) {
    const before = into.length;
    const fault = flatten(row, rest, into, count);
    if (fault !== undefined) return fault;
    const wanted = rest.reduce((a, b) => a * b, 1);
    if (into.length - before !== wanted) {
      return `a row of its data has ${into.length - before} elements instead of ${wanted}`;
    }
  }
  return undefined;
}

function elementsToBytes(dtype: DType, flat: readonly unknown[]): Uint8Array | string {
  if (dtype === "bool") return booleans(flat);
  if (dtype === "int64" || dtype === "uint64") return integers64(dtype, flat);
  if (!isPlain(dtype)) return `${dtype} elements cannot stand in JSON`;
  const values = new ARRAYS[dtype](flat.length);
  const range = RANGES[dtype];
  for (const [i, element] of flat.entries()) {
    const value = element instanceof ExactNumber ? Number(element.text) : element;
    if (typeof value !== "number") return `element ${i} of its data is no number`;
    if (
      range !== undefined &&
      !(Number.isInteger(value) && value >= range[0] && value <= range[1])
    ) {
      return `element ${i} of its data, ${value}, is no ${dtype}`;
    }
    values[i] = value;
  }
  return bytesOf(values);
}

function isPlain(dtype: DType): dtype is keyof typeof ARRAYS {
  return dtype in ARRAYS;
}

function booleans(flat: readonly unknown[]): Uint8Array | string {
  const values = new Uint8Array(flat.length);
  for (const [i, element] of flat.entries()) {
    if (typeof element !== "boolean" && element !== 0 && element !== 1) {
      return `element ${i} of its data is neither true nor false`;
    }
    values[i] = Number(element);
  }
  return values;
}

function integers64(dtype: "int64" | "uint64", flat: readonly unknown[]): Uint8Array | string {
  const [low, high] = RANGES_64[dtype] ?? [0n, 0n];
  const values =
    dtype === "int64" ? new BigInt64Array(flat.length) : new BigUint64Array(flat.length);
  for (const [i, element] of flat.entries()) {
    const text = element instanceof ExactNumber ? element.text : String(element);
    const valid =
      (typeof element === "number" || element instanceof ExactNumber) &&
      text.length <= DIGITS_MAX &&
      /^-?\d+$/.test(text);
    const value = valid ? BigInt(text) : undefined;
    if (value === undefined || value < low || value > high) {
      return `element ${i} of its data, ${text.slice(0, 40)}, is no ${dtype}`;
    }
    values[i] = value;
  }
  return bytesOf(values);
}

/**
 * The JSON text of a tensor's elements, flat. JSON has no infinities and no NaN: they are written as
 * null, which the caller can tell from every number.
 */
export function tensorToJson(value: Tensor): string {
  const bytes = copyBytes(value.data.bytes);
  const { buffer } = bytes;
  switch (value.dtype) {
    case "bool":
      return `[${Array.from(bytes, (byte) => byte !== 0).join(",")}]`;
    case "int64":
      return `[${new BigInt64Array(buffer).join(",")}]`;
    case "uint64":
      return `[${new BigUint64Array(buffer).join(",")}]`;
    default:
      if (!isPlain(value.dtype)) return "[]";
      return JSON.stringify(Array.from(new ARRAYS[value.dtype](buffer as ArrayBuffer)));
  }
}
