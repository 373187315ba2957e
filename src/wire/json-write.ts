// Elements of a tensor as JSON text, straight into bytes. Floats are written with the fewest digits that give the
// same float again (0.1, not 0.10000000149011612): half the bytes, and half the time.

import { isUtf8 } from "node:buffer";
import { visitStrings } from "../graph/string-tensor.ts";
import type { Tensor } from "../graph/tensor.ts";
import { NUMBER_BYTES, writeFloat, writeInteger } from "./float-text.ts";

/** Elements that are written between two looks at the room that is left. */
const BLOCK = 4096;
const NULL = Buffer.from("null");
const FIRST_BYTES = 1024;

const COMMA = 0x2c;

/** Text that grows. */
export class JsonWriter {
  #out: Buffer = Buffer.allocUnsafe(FIRST_BYTES);
  #at = 0;

  /** All that was written. */
  bytes(): Buffer {
    return this.#out.subarray(0, this.#at);
  }

  text(text: string): void {
    this.#reserve(text.length * 3);
    this.#at += this.#out.write(text, this.#at, "utf8");
  }

  /**
   * The elements as a flat array. JSON has no infinities and no NaN: they are null, which a client can tell from
   * every number. Gives false for strings that are no UTF-8, which JSON cannot have.
   */
  elements(value: Tensor): boolean {
    if (value.dtype === "string") return this.#strings(value);
    this.text("[");
    switch (value.dtype) {
      case "float32":
        this.#floats(new Float32Array(aligned(value)));
        break;
      case "float64":
        this.#blocks(new Float64Array(aligned(value)), doubles);
        break;
      case "int64":
        this.#blocks(new BigInt64Array(aligned(value)), (block) => block.join(","));
        break;
      case "uint64":
        this.#blocks(new BigUint64Array(aligned(value)), (block) => block.join(","));
        break;
      case "bool":
        this.#blocks(value.data.bytes, (block) => Array.from(block, (one) => one !== 0).join(","));
        break;
      default:
        this.#integers(integersOf(value));
    }
    this.text("]");
    return true;
  }

  #reserve(bytes: number): void {
    if (this.#out.byteLength - this.#at >= bytes) return;
    const larger = Buffer.allocUnsafe(Math.max(this.#out.byteLength * 2, this.#at + bytes));
    this.#out.copy(larger, 0, 0, this.#at);
    this.#out = larger;
  }

  /** Text block by block: one string of all would be too long for large tensors. */
  #blocks<T extends { readonly length: number; subarray(from: number, to: number): T }>(
    values: T,
    write: (block: T) => string,
  ): void {
    for (let from = 0; from < values.length; from += BLOCK) {
      const text = write(values.subarray(from, from + BLOCK));
      this.#reserve(text.length + 1);
      if (from > 0) this.#out[this.#at++] = COMMA;
      this.#at += this.#out.write(text, this.#at, "latin1");
    }
  }

  #integers(values: ArrayLike<number>): void {
    for (let from = 0; from < values.length; from += BLOCK) {
      const to = Math.min(from + BLOCK, values.length);
      const out = this.#room(to - from);
      let at = 0;
      for (let i = from; i < to; i++) {
        if (i > 0) out[at++] = COMMA;
        at = writeInteger(out, at, values[i] ?? 0);
      }
      this.#at += at;
    }
  }

  #floats(values: Float32Array): void {
    const bits = new Int32Array(values.buffer);
    for (let from = 0; from < values.length; from += BLOCK) {
      const to = Math.min(from + BLOCK, values.length);
      const out = this.#room(to - from);
      let at = 0;
      for (let i = from; i < to; i++) {
        if (i > 0) out[at++] = COMMA;
        const value = values[i] ?? 0;
        if (value - value === 0) at = writeFloat(out, at, value, bits[i] ?? 0);
        else {
          out.set(NULL, at);
          at += NULL.length;
        }
      }
      this.#at += at;
    }
  }

  /** Where so many numbers have room. Not a Buffer: its elements are read and written at half the speed. */
  #room(count: number): Uint8Array {
    this.#reserve(count * NUMBER_BYTES);
    return new Uint8Array(this.#out.buffer, this.#out.byteOffset + this.#at, count * NUMBER_BYTES);
  }

  #strings(value: Tensor): boolean {
    this.text("[");
    let text = true;
    visitStrings(value, (bytes, index) => {
      if (!isUtf8(bytes)) text = false;
      if (!text) return;
      if (index > 0) this.text(",");
      this.text(
        JSON.stringify(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString()),
      );
    });
    this.text("]");
    return text;
  }
}

function integersOf(value: Tensor): ArrayLike<number> {
  const { dtype } = value;
  if (dtype === "uint8") return value.data.bytes;
  const buffer = aligned(value);
  if (dtype === "int8") return new Int8Array(buffer);
  if (dtype === "int16") return new Int16Array(buffer);
  if (dtype === "uint16") return new Uint16Array(buffer);
  return dtype === "int32" ? new Int32Array(buffer) : new Uint32Array(buffer);
}

/** The bytes of a tensor in a buffer of their own, so that any type can view them. */
function aligned(value: Tensor): ArrayBuffer {
  const { bytes } = value.data;
  const copy = new ArrayBuffer(bytes.byteLength);
  new Uint8Array(copy).set(bytes);
  return copy;
}

/** As JSON.stringify, but for the negative zero, as in `float-text.ts`. */
function doubles(block: Float64Array): string {
  if (!block.some((one) => Object.is(one, -0)))
    return JSON.stringify(Array.from(block)).slice(1, -1);
  const texts = Array.from(block, (one) => (Object.is(one, -0) ? "-0.0" : JSON.stringify(one)));
  return texts.join(",");
}
