// Elements of a tensor from JSON, straight into its bytes. Arrays may be flat or nested row by row (Open Inference
// Protocol, "Tensor Data"). Integers of 64 bits lose no digit.

import { limits } from "../base/limits.ts";
import { type DType, dtypeBytes } from "../graph/dtype.ts";
import type { Tensor } from "../graph/tensor.ts";
import { datatypeOf } from "./datatype.ts";
import { JsonCursor } from "./json-cursor.ts";

/** Smallest and largest integer of each type that doubles have. */
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

/** Digits of the longest integers of 64 bits: more are out of range, and costly to read. */
const DIGITS_MAX = 20;
/** Characters of a number that is read digit by digit. */
const CHARS_MAX = 64;

/** Whether elements of this type can stand in JSON. Half precision cannot: the protocol has no number for it. */
export function fitsJson(dtype: DType): boolean {
  return (
    dtype in RANGES ||
    dtype in RANGES_64 ||
    dtype === "float32" ||
    dtype === "float64" ||
    dtype === "bool" ||
    dtype === "string"
  );
}

/** Why a shape cannot be that of a tensor in a request, or undefined. */
export function shapeFault(dtype: DType, shape: readonly number[]): string | undefined {
  let count = 1;
  for (const dim of shape) count *= dim;
  // A string takes at least the four bytes of its length.
  const bytes = dtype === "string" ? count * 4 : dtypeBytes(dtype, count);
  if (Number.isSafeInteger(count) && bytes <= limits.requestBytesMax) return undefined;
  return `its shape [${shape.join(",")}] has more elements than a request may carry`;
}

/** A tensor from the JSON value at `from` to `to` of UTF-8 text, or a sentence about what is wrong with it. */
export function tensorFromJson(
  dtype: DType,
  shape: readonly number[],
  text: Buffer,
  from = 0,
  to: number = text.byteLength,
): Tensor | string {
  const fault = shapeFault(dtype, shape);
  if (fault !== undefined) return fault;
  if (!fitsJson(dtype)) return `${datatypeOf(dtype)} elements cannot stand in JSON`;
  const count = shape.reduce((a, b) => a * b, 1);
  // An element takes a character and a comma: a large shape that the text cannot fill takes no memory.
  if (count > SMALL && count > (to - from) / 2) {
    return `its shape [${shape.join(",")}] has ${count} elements, more than its data`;
  }
  const cursor = new JsonCursor(text, from, to);
  const sink = sinkFor(dtype, count, to - from);
  readRows(cursor, sink, shape, sizesOf(shape), 0);
  if (cursor.fault !== undefined) return cursor.fault;
  if (cursor.peek() !== 0 || cursor.at < cursor.end)
    return "its data is followed by something else";
  return { dtype, shape, data: { kind: "bytes", bytes: sink.bytes() } };
}

/** Where elements go. One class for each kind, so that the loop over a run of elements is about one type. */
interface Sink {
  readonly count: number;
  /** Reads elements up to the bracket that ends them, at most `most`. */
  run(cursor: JsonCursor, most: number): void;
  bytes(): Uint8Array;
}

/** Elements of a row at each level: of the whole tensor, of one of its rows, …, one. */
function sizesOf(shape: readonly number[]): readonly number[] {
  return [...shape, 1].map((_, level) => shape.slice(level).reduce((a, b) => a * b, 1));
}

/** The array here: flat, with as many elements as the rest of the shape has, or its rows. */
function readRows(
  cursor: JsonCursor,
  sink: Sink,
  shape: readonly number[],
  sizes: readonly number[],
  level: number,
): void {
  if (cursor.peek() !== 0x5b) {
    cursor.fail("its data is no array");
    return;
  }
  cursor.at++;
  const wanted = sizes[level] ?? 1;
  const next = cursor.peek();
  if (next !== 0x5b) {
    const before = sink.count;
    if (next === 0x5d) cursor.at++;
    else sink.run(cursor, wanted);
    const found = sink.count - before;
    if (cursor.fault === undefined && found !== wanted) {
      cursor.fail(countFault(shape, level, wanted, found));
    }
    return;
  }
  let rows = 0;
  do {
    if (level + 1 >= shape.length || rows === shape[level]) {
      cursor.fail(`its data is nested, but not as its shape [${shape.join(",")}] says`);
      return;
    }
    readRows(cursor, sink, shape, sizes, level + 1);
    rows++;
  } while (cursor.fault === undefined && cursor.more());
  if (rows !== shape[level]) {
    cursor.fail(
      `its data has ${rows} rows where its shape [${shape.join(",")}] has ${shape[level]}`,
    );
  }
}

function countFault(
  shape: readonly number[],
  level: number,
  wanted: number,
  found: number,
): string {
  return level === 0
    ? `its shape [${shape.join(",")}] has ${wanted} elements, its data ${found}`
    : `a row of its data has ${found} elements instead of ${wanted}`;
}

function sinkFor(dtype: DType, count: number, textBytes: number): Sink {
  if (dtype === "float32") return new Floats32(count);
  if (dtype === "float64") return new Floats64(count);
  if (dtype === "bool") return new Booleans(count);
  if (dtype === "string") return new Strings(textBytes + 4 * count);
  if (dtype === "int64" || dtype === "uint64") return new Integers64(dtype, count);
  return new Integers(dtype, count);
}

/** Half of a pair: with the flag u, whole pairs are one character and no match. */
const LONE_SURROGATE = /[\ud800-\udfff]/u;
/** Elements for which memory is taken without another thought. */
const SMALL = 4096;
const MORE = "its data has more elements than its shape";

class Floats32 implements Sink {
  readonly #values: Float32Array;
  count = 0;

  constructor(count: number) {
    this.#values = new Float32Array(count);
  }

  run(cursor: JsonCursor, most: number): void {
    const values = this.#values;
    const end = this.count + most;
    let i = this.count;
    do {
      if (i === end) cursor.fail(MORE);
      const value = Math.fround(cursor.number(true));
      if (!Number.isFinite(value))
        cursor.fail(`element ${i} of its data, ${cursor.shown()}, is no FP32`);
      if (cursor.fault !== undefined) return;
      values[i++] = value;
    } while (cursor.more());
    this.count = i;
  }

  bytes(): Uint8Array {
    return new Uint8Array(this.#values.buffer);
  }
}

class Floats64 implements Sink {
  readonly #values: Float64Array;
  count = 0;

  constructor(count: number) {
    this.#values = new Float64Array(count);
  }

  run(cursor: JsonCursor, most: number): void {
    const values = this.#values;
    const end = this.count + most;
    let i = this.count;
    do {
      if (i === end) cursor.fail(MORE);
      const value = cursor.number(false);
      if (!Number.isFinite(value))
        cursor.fail(`element ${i} of its data, ${cursor.shown()}, is no FP64`);
      if (cursor.fault !== undefined) return;
      values[i++] = value;
    } while (cursor.more());
    this.count = i;
  }

  bytes(): Uint8Array {
    return new Uint8Array(this.#values.buffer);
  }
}

/** Integers of up to 32 bits, byte by byte: one loop for six types. */
class Integers implements Sink {
  readonly #out: Uint8Array;
  readonly #datatype: string;
  readonly #low: number;
  readonly #high: number;
  readonly #width: number;
  count = 0;

  constructor(dtype: DType, count: number) {
    const [low, high] = RANGES[dtype] ?? [0, 0];
    this.#low = low;
    this.#high = high;
    this.#width = dtypeBytes(dtype, 1);
    this.#datatype = datatypeOf(dtype);
    this.#out = new Uint8Array(count * this.#width);
  }

  run(cursor: JsonCursor, most: number): void {
    const out = this.#out;
    const end = this.count + most;
    let at = this.count * this.#width;
    do {
      if (this.count === end) cursor.fail(MORE);
      const value = cursor.number(false);
      if (!(value >= this.#low && value <= this.#high && Number.isInteger(value))) {
        cursor.fail(
          `element ${this.count} of its data, ${cursor.shown()}, is no ${this.#datatype}`,
        );
      }
      if (cursor.fault !== undefined) return;
      let bits = value;
      for (let i = 0; i < this.#width; i++) {
        out[at++] = bits & 0xff;
        bits >>>= 8;
      }
      this.count++;
    } while (cursor.more());
  }

  bytes(): Uint8Array {
    return this.#out;
  }
}

class Integers64 implements Sink {
  readonly #view: DataView;
  readonly #low: bigint;
  readonly #high: bigint;
  readonly #datatype: string;
  count = 0;

  constructor(dtype: "int64" | "uint64", count: number) {
    const [low, high] = RANGES_64[dtype] ?? [0n, 0n];
    this.#low = low;
    this.#high = high;
    this.#datatype = datatypeOf(dtype);
    this.#view = new DataView(new ArrayBuffer(count * 8));
  }

  run(cursor: JsonCursor, most: number): void {
    const end = this.count + most;
    do {
      if (this.count === end) cursor.fail(MORE);
      const value = cursor.number(false);
      if (cursor.fault !== undefined) return;
      if (Number.isSafeInteger(value) && (value >= 0 || this.#low < 0n)) {
        // Two halves: a BigInt for each element would take ten times as long.
        const high = Math.floor(value / 4_294_967_296);
        this.#view.setUint32(this.count * 8, value - high * 4_294_967_296, true);
        this.#view.setInt32(this.count * 8 + 4, high, true);
      } else this.#exact(cursor);
      if (cursor.fault !== undefined) return;
      this.count++;
    } while (cursor.more());
  }

  #exact(cursor: JsonCursor): void {
    const { start, at } = cursor;
    const readable = at - start <= CHARS_MAX;
    const value = readable ? integerOf(cursor.text.toString("latin1", start, at)) : undefined;
    if (value === undefined || value < this.#low || value > this.#high) {
      cursor.fail(`element ${this.count} of its data, ${cursor.shown()}, is no ${this.#datatype}`);
    } else this.#view.setBigInt64(this.count * 8, BigInt.asIntN(64, value), true);
  }

  bytes(): Uint8Array {
    return new Uint8Array(this.#view.buffer);
  }
}

/** The integer that a number of JSON is, as `1e18` and `9007199254740993.0` are; undefined where it is none. */
function integerOf(text: string): bigint | undefined {
  const [, sign = "", whole = "", part = "", power = "0"] =
    /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(text) ?? [];
  const digits = whole + part;
  const last = digits.search(/0*$/);
  const significant = digits.slice(0, last);
  // How many zeros follow the last digit that is none.
  const zeros = Number(power) - part.length + digits.length - last;
  if (significant === "") return whole === "" ? undefined : 0n;
  if (zeros < 0 || significant.replace(/^0+/, "").length + zeros > DIGITS_MAX) return undefined;
  return BigInt(`${sign}${significant}${"0".repeat(zeros)}`);
}

/** true and false, and 1 and 0, which some clients write. */
class Booleans implements Sink {
  readonly #out: Uint8Array;
  count = 0;

  constructor(count: number) {
    this.#out = new Uint8Array(count);
  }

  run(cursor: JsonCursor, most: number): void {
    const end = this.count + most;
    do {
      if (this.count === end) cursor.fail(MORE);
      const first = cursor.peek();
      let value: number;
      if (first === 0x74 || first === 0x66) {
        const word = first === 0x74 ? "true" : "false";
        const found = cursor.text.toString("latin1", cursor.at, cursor.at + word.length);
        cursor.at += word.length;
        value = found === word ? Number(first === 0x74) : Number.NaN;
      } else value = cursor.number(false);
      if (value !== 0 && value !== 1) {
        cursor.fail(`element ${this.count} of its data is neither true nor false`);
      }
      if (cursor.fault !== undefined) return;
      this.#out[this.count++] = value;
    } while (cursor.more());
  }

  bytes(): Uint8Array {
    return this.#out;
  }
}

/** Strings as UTF-8 in the protocol's BYTES form. */
class Strings implements Sink {
  readonly #out: Buffer;
  #at = 0;
  count = 0;

  /** @param most bytes that all of them can take: escapes only become shorter. */
  constructor(most: number) {
    this.#out = Buffer.allocUnsafeSlow(most);
  }

  run(cursor: JsonCursor, most: number): void {
    const end = this.count + most;
    do {
      if (this.count === end) cursor.fail(MORE);
      const from = cursor.string();
      if (cursor.fault !== undefined) return;
      const written = this.#write(cursor.text, from, cursor.at - 1);
      if (written === undefined) {
        cursor.fail(`element ${this.count} of its data is no string of JSON that UTF-8 can hold`);
        return;
      }
      this.#out.writeUInt32LE(written, this.#at);
      this.#at += 4 + written;
      this.count++;
    } while (cursor.more());
  }

  #write(text: Buffer, from: number, to: number): number | undefined {
    const at = this.#at + 4;
    let plain = true;
    for (let i = from; i < to; i++) {
      const byte = text[i] ?? 0;
      if (byte === 0x5c) plain = false;
      else if (byte < 0x20) return undefined;
    }
    if (plain) return text.copy(this.#out, at, from, to);
    try {
      const value: unknown = JSON.parse(text.toString("utf8", from - 1, to + 1));
      // Half of a surrogate pair has no form in UTF-8: it would become another character.
      if (typeof value !== "string" || LONE_SURROGATE.test(value)) return undefined;
      return this.#out.write(value, at, "utf8");
    } catch {
      return undefined;
    }
  }

  bytes(): Uint8Array {
    return this.#out.subarray(0, this.#at);
  }
}
