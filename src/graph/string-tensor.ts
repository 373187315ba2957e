// Tensors of strings as bytes: for each element its length as u32, little-endian, and that many bytes, as the
// Open Inference Protocol has BYTES in its binary form. So they travel and are joined like any other tensor.

import { present } from "../base/assert.ts";
import { elementCount } from "./shape.ts";
import type { Tensor } from "./tensor.ts";

const LENGTH_BYTES = 4;

/** A tensor of strings, written as UTF-8. */
export function stringTensor(shape: readonly number[], values: readonly string[]): Tensor {
  const total = values.reduce((sum, one) => sum + LENGTH_BYTES + Buffer.byteLength(one), 0);
  const bytes = Buffer.alloc(total);
  let at = 0;
  for (const value of values) {
    const length = bytes.write(value, at + LENGTH_BYTES, "utf8");
    bytes.writeUInt32LE(length, at);
    at += LENGTH_BYTES + length;
  }
  return { dtype: "string", shape, data: { kind: "bytes", bytes } };
}

/**
 * Shows each element of a tensor of strings, as a view of its bytes, one after another: a body full of short ones
 * would be millions of objects. False where the lengths do not add up to as many elements as the shape has.
 */
export function visitStrings(
  { data, shape }: Tensor,
  visit: (bytes: Uint8Array, index: number) => void,
): boolean {
  const { bytes } = data;
  const count = present(elementCount(shape), "tensor shapes are static");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let [at, index] = [0, 0];
  for (; at < bytes.byteLength; index++) {
    const start = at + LENGTH_BYTES;
    if (index === count || start > bytes.byteLength) return false;
    const end = start + view.getUint32(at, true);
    if (end > bytes.byteLength) return false;
    visit(bytes.subarray(start, end), index);
    at = end;
  }
  return index === count;
}
