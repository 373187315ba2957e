// The classification extension: of an output the K largest elements of each row, as the strings "value:index".

import { type DType, dtypeBytes } from "../graph/dtype.ts";
import { stringTensor } from "../graph/string-tensor.ts";
import { numbersOf, type Tensor } from "../graph/tensor.ts";

const CLASSIFIED: ReadonlySet<DType> = new Set<DType>([
  ...(["float16", "bfloat16", "float32", "float64"] as const),
  ...(["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"] as const),
]);

/** Whether elements of this type can be put in order. */
export function canClassify(dtype: DType): boolean {
  return CLASSIFIED.has(dtype);
}

/**
 * The K largest of each row of the first dim, largest first, equal ones by index; of a tensor of one dim or none, of
 * all. A string tensor of [rows, K] or [K]; K is at most the length of a row. NaN is behind every number.
 */
export function classified(value: Tensor, classes: number): Tensor {
  const { shape } = value;
  const rows = shape.length > 1 ? (shape[0] ?? 1) : 1;
  const numbers = Float64Array.from(wideNumbers(value));
  const order = numbers.map((one) => (Number.isNaN(one) ? Number.NEGATIVE_INFINITY : one));
  const each = shape.slice(shape.length > 1 ? 1 : 0).reduce((a, b) => a * b, 1);
  const count = Math.min(classes, each);
  const elements: string[] = [];
  for (let row = 0; row < rows; row++) {
    const from = row * each;
    for (const index of largest(order.subarray(from, from + each), count)) {
      elements.push(`${shortest(numbers[from + index] ?? 0, value.dtype)}:${index}`);
    }
  }
  return stringTensor(shape.length > 1 ? [rows, count] : [count], elements);
}

/** Indices of the largest. The K-th largest value is found first, so that K alone are put in order by index. */
function largest(scores: Float64Array, count: number): number[] {
  if (count === 0) return [];
  const least = scores.toSorted()[scores.length - count] ?? 0;
  const above: number[] = [];
  const equal: number[] = [];
  for (let i = 0; i < scores.length; i++) {
    const score = scores[i] ?? 0;
    if (score > least) above.push(i);
    else if (score === least && equal.length < count) equal.push(i);
  }
  above.sort((a, b) => (scores[b] ?? 0) - (scores[a] ?? 0) || a - b);
  return [...above, ...equal].slice(0, count);
}

function wideNumbers(value: Tensor): ArrayLike<number> {
  const { dtype } = value;
  const bytes = new Uint8Array(value.data.bytes);
  if (dtype === "uint32") return new Uint32Array(bytes.buffer);
  if (dtype === "uint64") return Array.from(new BigUint64Array(bytes.buffer), Number);
  return numbersOf(value) ?? new Float64Array(bytes.byteLength / dtypeBytes(dtype, 1));
}

/** A float by the digits that tell it from others of its type; seven are one too many for none. */
function shortest(value: number, dtype: DType): string {
  if (dtype !== "float32" || !Number.isFinite(value)) return String(value);
  for (let digits = 6; digits < 9; digits++) {
    const text = value.toPrecision(digits);
    if (Math.fround(Number(text)) === value) return String(Number(text));
  }
  return String(Number(value.toPrecision(9)));
}
