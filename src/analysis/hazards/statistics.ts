// What rules want to know of the elements of a weight, looked at once.

import { float32Values, hasBytes, type TensorRef } from "../../graph/tensor.ts";

/** The elements of a weight in short. */
export interface WeightStatistics {
  readonly hasNaN: boolean;
  readonly hasInfinity: boolean;
  /** Largest magnitude among finite elements; 0 of an empty weight. */
  readonly largest: number;
  /** Smallest finite element. */
  readonly least: number;
  /** Largest finite element. */
  readonly most: number;
  readonly elements: number;
}

const known = new WeakMap<TensorRef, WeightStatistics>();

/** Statistics of a weight of 32 or 16 bits; undefined for other types and where the elements are not here. */
export function statisticsOf(ref: TensorRef | undefined): WeightStatistics | undefined {
  if (ref === undefined || !hasBytes(ref)) return undefined;
  const before = known.get(ref);
  if (before !== undefined) return before;
  const values = valuesOf(ref);
  if (values === undefined) return undefined;
  let hasNaN = false;
  let hasInfinity = false;
  let largest = 0;
  let least = Number.POSITIVE_INFINITY;
  let most = Number.NEGATIVE_INFINITY;
  for (const value of values) {
    const size = Math.abs(value);
    if (size < Number.POSITIVE_INFINITY) {
      if (size > largest) largest = size;
      if (value < least) least = value;
      if (value > most) most = value;
    } else if (size === Number.POSITIVE_INFINITY) hasInfinity = true;
    else hasNaN = true;
  }
  const found = { hasNaN, hasInfinity, largest, least, most, elements: values.length };
  known.set(ref, found);
  return found;
}

function valuesOf(ref: TensorRef): Float32Array | undefined {
  if (!hasBytes(ref)) return undefined;
  switch (ref.dtype) {
    case "float32":
      return float32Values(ref);
    case "float16":
      return widened(ref.data.bytes, halfBits);
    case "bfloat16":
      return widened(ref.data.bytes, (bits) => bits << 16);
    default:
      return undefined;
  }
}

/** Elements of 16 bits as floats of 32. */
function widened(bytes: Uint8Array, bitsOf: (bits: number) => number): Float32Array {
  const wide = new Uint32Array(bytes.length >> 1);
  for (let i = 0; i < wide.length; i++) {
    wide[i] = bitsOf((bytes[2 * i] ?? 0) | ((bytes[2 * i + 1] ?? 0) << 8));
  }
  return new Float32Array(wide.buffer);
}

/** A number of 16 bits in the bits of 32 (IEEE 754). What is too small for a normal number counts as 0. */
function halfBits(bits: number): number {
  const sign = (bits & 0x8000) << 16;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = (bits & 0x3ff) << 13;
  if (exponent === 0) return sign | (fraction === 0 ? 0 : 0x38800000);
  return sign | ((exponent === 0x1f ? 0xff : exponent + 112) << 23) | fraction;
}
