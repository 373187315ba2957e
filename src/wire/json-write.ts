// Elements of a tensor as JSON text, straight into bytes. Floats are written with the fewest digits that give the
// same float again (0.1, not 0.10000000149011612): half the bytes, and half the time.

import { isUtf8 } from "node:buffer";
import { visitStrings } from "../graph/string-tensor.ts";
import type { Tensor } from "../graph/tensor.ts";

/** Powers of ten; the first 23 are exact. */
const POWERS: readonly number[] = Array.from({ length: 61 }, (_, i) => Number(`1e${i}`));
const EXACT_POWER_MAX = 22;
/** More than the rounding of a quotient of an integer and a power of ten. */
const ERROR = 4e-15;
/** Elements that are written between two looks at the room that is left. */
const BLOCK = 4096;
/** Characters of an element with its comma, at most: "-1.17549435e-38", "-0.00000123456789". */
const ELEMENT_BYTES = 24;
const FIRST_BYTES = 1024;

const ZERO = 0x30;
const COMMA = 0x2c;
const MINUS = 0x2d;
const POINT = 0x2e;

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
    for (let i = 0; i < values.length; i++) {
      if (i % BLOCK === 0) this.#reserve(BLOCK * ELEMENT_BYTES);
      if (i > 0) this.#out[this.#at++] = COMMA;
      this.#integer(values[i] ?? 0);
    }
  }

  #floats(values: Float32Array): void {
    for (let i = 0; i < values.length; i++) {
      if (i % BLOCK === 0) this.#reserve(BLOCK * ELEMENT_BYTES);
      if (i > 0) this.#out[this.#at++] = COMMA;
      this.#float(values[i] ?? 0);
    }
  }

  #integer(value: number): void {
    const size = Math.abs(value);
    if (value < 0) this.#out[this.#at++] = MINUS;
    this.#digits(size, lengthOf(size));
  }

  /** A number of so many digits. */
  #digits(value: number, length: number): void {
    const out = this.#out;
    const end = this.#at + length;
    let rest = value;
    for (let at = end - 1; at >= this.#at; at--) {
      const next = Math.floor(rest / 10);
      out[at] = ZERO + (rest - next * 10);
      rest = next;
    }
    this.#at = end;
  }

  #float(value: number): void {
    const size = Math.abs(value);
    if (!(size <= 3.5e38)) {
      this.#at += this.#out.write("null", this.#at, "latin1");
      return;
    }
    if (Object.is(value, -0)) {
      // Python reads -0 as the integer, which has no sign.
      this.#at += this.#out.write("-0.0", this.#at, "latin1");
      return;
    }
    if (value < 0) this.#out[this.#at++] = MINUS;
    if (size < 1e9 && Number.isInteger(size)) {
      this.#digits(size, lengthOf(size));
      return;
    }
    const magnitude = Math.floor(Math.log10(size));
    for (let count = 6; count <= 9; count++) {
      const places = count - 1 - magnitude;
      const digits = digitsAt(size, places);
      if (digits !== undefined) {
        this.#decimal(digits, places);
        return;
      }
    }
    // Nine digits tell all floats apart; what is left has powers of ten that are not in the table.
    this.#at += this.#out.write(String(size), this.#at, "latin1");
  }

  /** digits · 10^-places. */
  #decimal(all: number, allPlaces: number): void {
    let digits = all;
    let places = allPlaces;
    while (digits % 10 === 0) {
      digits /= 10;
      places--;
    }
    const length = lengthOf(digits);
    const point = length - places;
    if (point > 0 && point < length) this.#split(digits, places, length);
    else if (point <= 0 && point > -6) {
      this.#at += this.#out.write("0.000000".slice(0, 2 - point), this.#at, "latin1");
      this.#digits(digits, length);
    } else {
      if (length === 1) this.#digits(digits, 1);
      else this.#split(digits, length - 1, length);
      this.#at += this.#out.write(`e${point - 1}`, this.#at, "latin1");
    }
  }

  /** Digits with a point before the last `places` of them. */
  #split(digits: number, places: number, length: number): void {
    const power = POWERS[places] ?? 1;
    const whole = Math.floor(digits / power);
    this.#digits(whole, length - places);
    this.#out[this.#at++] = POINT;
    this.#digits(digits - whole * power, places);
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

/** The digits of a float, if so many places behind the point are enough to find it again. */
function digitsAt(size: number, places: number): number | undefined {
  if (Math.abs(places) > 60) return undefined;
  const power = POWERS[Math.abs(places)] ?? 1;
  const digits = Math.round(places >= 0 ? size * power : size / power);
  const again = places >= 0 ? digits / power : digits * power;
  if (Math.abs(places) <= EXACT_POWER_MAX) return Math.fround(again) === size ? digits : undefined;
  const sure =
    Math.fround(again * (1 - ERROR)) === size && Math.fround(again * (1 + ERROR)) === size;
  return sure ? digits : undefined;
}

function lengthOf(value: number): number {
  let length = 1;
  while (value >= (POWERS[length] ?? Number.POSITIVE_INFINITY)) length++;
  return length;
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

function doubles(block: Float64Array): string {
  if (!block.some((one) => Object.is(one, -0)))
    return JSON.stringify(Array.from(block)).slice(1, -1);
  const texts = Array.from(block, (one) => (Object.is(one, -0) ? "-0.0" : JSON.stringify(one)));
  return texts.join(",");
}
