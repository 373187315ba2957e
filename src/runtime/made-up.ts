// Inputs that are made up, to see whether a model answers at all, what it takes, and whether rows keep to
// themselves. Where none fit its types, or the answer to them cannot be had, that says nothing about the model.

import { SkipwayError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { type DType, dtypeBytes } from "../graph/dtype.ts";
import type { ValueType } from "../graph/graph.ts";
import { UNKNOWN_DIM } from "../graph/shape.ts";
import { bytesOf, type Tensor, tensor, vectorOf } from "../graph/tensor.ts";
import type { Tensors } from "./runner.ts";

/** Sizes that the types leave open. */
export interface MadeUpSizes {
  /** Along axis 0, where that has no number. Default 1. */
  readonly rows?: number;
  /** Of every other dim without a number: a length, or height and width. Default 64. */
  readonly size?: number;
}

/**
 * Sizes worth a try, one after the other, where a model fails: 64 is still two after five halvings, as
 * networks with levels need; 16 is no more than the places that a small transformer knows; 256 is an image.
 */
export const MADE_UP_SIZES: readonly number[] = [64, 16, 256];
const SIZE = 64;

const INTEGERS = {
  int8: Int8Array,
  int16: Int16Array,
  int32: Int32Array,
  uint8: Uint8Array,
  uint16: Uint16Array,
  uint32: Uint32Array,
} as const;

const LONG = { int64: BigInt64Array, uint64: BigUint64Array } as const;

/**
 * So many elements are drawn, and then repeated: a large input is there at once. A prime, so that rows differ.
 */
const TILE = 4093;

/**
 * Inputs of these types. `value` gives numbers from 0 to 1, below 1: floats are these, integers are 0 or 1, which
 * any vocabulary has and any mask may hold, and so are booleans. Undefined where there are none: types
 * that have no elements of their own, such as sequences, unknown ranks, and more bytes than a request may have.
 */
export function madeUpInputs(
  types: ReadonlyMap<string, ValueType>,
  value: () => number,
  { rows = 1, size = SIZE }: MadeUpSizes = {},
): Tensors | undefined {
  const inputs = new Map<string, Tensor>();
  let left = limits.requestBytesMax;
  for (const [name, { dtype, shape, container }] of types) {
    if (shape === undefined || container !== undefined) return undefined;
    // By name and place: two inputs that share a symbol share its size.
    const sizes = shape.map((dim, axis) => {
      if (typeof dim === "number") return dim;
      return axis === 0 ? rows : size;
    });
    const count = sizes.reduce((a, b) => a * b, 1);
    left -= dtypeBytes(dtype, count);
    if (left < 0) return undefined;
    const tile = elements(dtype, Math.min(count, TILE), value);
    if (tile === undefined) return undefined;
    inputs.set(name, tensor(dtype, sizes, repeated(tile, dtypeBytes(dtype, count))));
  }
  return symbolsAgree(types, inputs) ? inputs : undefined;
}

/** A symbol may stand for rows in one input and for a length in another. */
function symbolsAgree(types: ReadonlyMap<string, ValueType>, inputs: Tensors): boolean {
  const known = new Map<string, number>();
  for (const [name, { shape }] of types) {
    for (const [axis, dim] of (shape ?? []).entries()) {
      if (typeof dim === "number" || dim === UNKNOWN_DIM) continue;
      const size = inputs.get(name)?.shape[axis] ?? 0;
      if ((known.get(dim) ?? size) !== size) return false;
      known.set(dim, size);
    }
  }
  return true;
}

function elements(dtype: DType, count: number, value: () => number): Uint8Array | undefined {
  const bit = (): number => (value() < 0.5 ? 0 : 1);
  switch (dtype) {
    case "float32":
      return bytesOf(Float32Array.from({ length: count }, value));
    case "float64":
      return bytesOf(Float64Array.from({ length: count }, value));
    case "float16":
    case "bfloat16":
      return vectorOf(dtype, Array.from({ length: count }, value)).data.bytes;
    case "bool":
      return bytesOf(Uint8Array.from({ length: count }, bit));
    case "int64":
    case "uint64": {
      const array = new LONG[dtype](count);
      for (let i = 0; i < count; i++) array[i] = BigInt(bit());
      return bytesOf(array);
    }
    case "int8":
    case "int16":
    case "int32":
    case "uint8":
    case "uint16":
    case "uint32": {
      const array = new INTEGERS[dtype](count);
      for (let i = 0; i < count; i++) array[i] = bit();
      return bytesOf(array);
    }
    default:
      return undefined;
  }
}

function repeated(tile: Uint8Array, length: number): Uint8Array {
  if (tile.byteLength === length) return tile;
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += tile.byteLength) {
    bytes.set(tile.subarray(0, length - at), at);
  }
  return bytes;
}

/** Failures that are the made-up inputs' fault, or the way's: sizes inside, answers that cannot be sent. */
const INCONCLUSIVE = new Set([
  "runtime/failed",
  "runtime/bad-index",
  "runtime/out-of-memory",
  "runtime/too-large",
  "runtime/dtype",
]);

/** Whether a run on made-up inputs failed in a way that says nothing about the model. */
export function inconclusive(error: unknown): boolean {
  return error instanceof SkipwayError && INCONCLUSIVE.has(error.diagnostics[0]?.id ?? "");
}
