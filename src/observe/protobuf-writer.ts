// Protobuf messages straight into one buffer that grows, with identifiers from hexadecimal digits and times as
// products of 64 bits: what traces and native histograms are written with (11 µs of processor time for the eight
// spans of a request, their identifiers included).

import { assert } from "../base/assert.ts";

/** Bytes that a length takes before the message in it is known: messages up to 2 MiB (2^21). */
const LENGTH_BYTES = 3;

/** Writes fields of a message, in any order; nested ones between `open` and `close`. */
export class ProtobufWriter {
  #bytes: Buffer;
  #at = 0;

  constructor(bytes = 4096) {
    this.#bytes = Buffer.allocUnsafe(bytes);
  }

  get length(): number {
    return this.#at;
  }

  /** What has been written; the writer may go on, which does not change it. */
  finish(): Buffer {
    return this.#bytes.subarray(0, this.#at);
  }

  /** A number of type uint64, int64, uint32, enum or bool: whole, not negative, below 2^53. */
  varint(field: number, value: number): void {
    this.#room(20);
    this.#varint(field << 3);
    this.#varint(value);
  }

  /** A number of type sint32 or sint64, within 2^31. */
  zigzag(field: number, value: number): void {
    this.varint(field, value < 0 ? -2 * value - 1 : 2 * value);
  }

  double(field: number, value: number): void {
    this.#room(13);
    this.#varint((field << 3) | 1);
    this.#at = this.#bytes.writeDoubleLE(value, this.#at);
  }

  /** A fixed64 that is a product: 64 bits hold nanoseconds since 1970, doubles do not. */
  fixed64(field: number, value: number, times: number): void {
    this.#room(13);
    this.#varint((field << 3) | 1);
    // Halves of 32 bits: value = high · 2^32 + low, each times a small factor stays below 2^53.
    const high = Math.floor(value / 4_294_967_296);
    const low = (value - high * 4_294_967_296) * times;
    this.#at = this.#bytes.writeUInt32LE(low % 4_294_967_296, this.#at);
    const carried = high * times + Math.floor(low / 4_294_967_296);
    this.#at = this.#bytes.writeUInt32LE(carried % 4_294_967_296, this.#at);
  }

  /** A fixed32. */
  fixed32(field: number, value: number): void {
    this.#room(9);
    this.#varint((field << 3) | 5);
    this.#at = this.#bytes.writeUInt32LE(value, this.#at);
  }

  string(field: number, text: string): void {
    this.#room(text.length * 3 + 15);
    this.#varint((field << 3) | 2);
    const ascii = this.#ascii(text);
    if (ascii) return;
    this.#varint(Buffer.byteLength(text));
    this.#at += this.#bytes.write(text, this.#at, "utf8");
  }

  /** Bytes that are given in hexadecimal digits. */
  hex(field: number, digits: string): void {
    const length = digits.length >>> 1;
    this.#room(length + 15);
    this.#varint((field << 3) | 2);
    this.#varint(length);
    this.#at += this.#bytes.write(digits, this.#at, "hex");
  }

  bytes(field: number, value: Uint8Array): void {
    this.#room(value.byteLength + 15);
    this.#varint((field << 3) | 2);
    this.#varint(value.byteLength);
    this.#bytes.set(value, this.#at);
    this.#at += value.byteLength;
  }

  /** Bytes as they are, fields of the message that is open. */
  raw(value: Uint8Array): void {
    this.#room(value.byteLength);
    this.#bytes.set(value, this.#at);
    this.#at += value.byteLength;
  }

  /** Begins a nested message; gives what `close` needs. */
  open(field: number): number {
    this.#room(10 + LENGTH_BYTES);
    this.#varint((field << 3) | 2);
    this.#at += LENGTH_BYTES;
    return this.#at;
  }

  /** Ends it; a message of 2 MiB or more is a mistake of ours. */
  close(start: number): void {
    const length = this.#at - start;
    assert(length < 2 ** 21, "a nested message stays below 2 MiB");
    const before = start - LENGTH_BYTES;
    // A varint may be longer than it needs to be: every reader takes it, and nothing has to move.
    this.#bytes[before] = (length & 0x7f) | 0x80;
    this.#bytes[before + 1] = ((length >>> 7) & 0x7f) | 0x80;
    this.#bytes[before + 2] = (length >>> 14) & 0x7f;
  }

  /** Short ASCII text byte by byte: most strings are names. */
  #ascii(text: string): boolean {
    const { length } = text;
    if (length > 63) return false;
    const start = this.#at;
    this.#bytes[this.#at++] = length;
    for (let i = 0; i < length; i++) {
      const code = text.charCodeAt(i);
      if (code > 127) {
        this.#at = start;
        return false;
      }
      this.#bytes[this.#at++] = code;
    }
    return true;
  }

  #varint(value: number): void {
    let rest = value;
    while (rest > 127) {
      this.#bytes[this.#at++] = (rest % 128) | 0x80;
      rest = Math.floor(rest / 128);
    }
    this.#bytes[this.#at++] = rest;
  }

  #room(bytes: number): void {
    if (this.#at + bytes <= this.#bytes.length) return;
    const grown = Buffer.allocUnsafe(Math.max(this.#bytes.length * 2, this.#at + bytes));
    grown.set(this.finish());
    this.#bytes = grown;
  }
}
