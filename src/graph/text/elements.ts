// Elements of tensors between their bytes and their text, exactly: what is printed reads back bit for bit.

import type { DType } from "../dtype.ts";
import { dtypeBytes } from "../dtype.ts";
import { copyBytes } from "../tensor.ts";
import type { Scanner } from "./scanner.ts";
import { formOf, isFloatWord } from "./words.ts";

/** What NaNs the words stand for: quiet, without payload (IEEE 754-2008, 6.2.1), sign clear or set. */
const NAN: Readonly<Record<"float32" | "float64", readonly [bigint, bigint]>> = {
  float32: [0x7fc0_0000n, 0xffc0_0000n],
  float64: [0x7ff8_0000_0000_0000n, 0xfff8_0000_0000_0000n],
};

/** A float32 with as few digits as read back as the same float32. */
export function float32Text(value: number): string {
  if (!Number.isFinite(value)) return specialText(value);
  if (value === 0) return numberText(value);
  // Six digits are always kept by a float32 and nine always tell two of them apart.
  for (let digits = 6; digits <= 9; digits++) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === value) return numberText(short);
  }
  return numberText(value);
}

/** A float64 with as few digits as read back as the same float64. */
export function numberText(value: number): string {
  if (!Number.isFinite(value)) return specialText(value);
  return Object.is(value, -0) ? "-0" : String(value);
}

function specialText(value: number): string {
  if (Number.isNaN(value)) return "nan";
  return value > 0 ? "inf" : "-inf";
}

/** How many numbers are written for one element: two for complex types. */
export function numbersPerElement(dtype: DType): number {
  return dtype.startsWith("complex") ? 2 : 1;
}

/** Bits of one written number. */
function bitsOf(dtype: DType): number {
  return dtypeBytes(dtype, 8) / numbersPerElement(dtype);
}

/** The texts of the elements in `bytes`, the padding of packed types left out. */
export function elementTexts(dtype: DType, count: number, bytes: Uint8Array): string[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const form = formOf(dtype);
  const bits = bitsOf(dtype);
  const length = count * numbersPerElement(dtype);
  if (form === "float32" || form === "float64") {
    return Array.from({ length }, (_, i) => floatAt(view, form, i));
  }
  return Array.from({ length }, (_, i) => String(integerAt(view, { bits, form, index: i })));
}

function floatAt(view: DataView, form: "float32" | "float64", index: number): string {
  const narrow = form === "float32";
  const value = narrow ? view.getFloat32(4 * index, true) : view.getFloat64(8 * index, true);
  if (!Number.isNaN(value)) return narrow ? float32Text(value) : numberText(value);
  const bits = narrow
    ? BigInt(view.getUint32(4 * index, true))
    : view.getBigUint64(8 * index, true);
  const [plain, negative] = NAN[form];
  if (bits === plain) return "nan";
  return bits === negative ? "-nan" : `nan(${bits})`;
}

function integerAt(
  view: DataView,
  { bits, form, index }: { bits: number; form: string; index: number },
): number | bigint {
  const signed = form === "signed";
  switch (bits) {
    case 64:
      return signed ? view.getBigInt64(8 * index, true) : view.getBigUint64(8 * index, true);
    case 32:
      return signed ? view.getInt32(4 * index, true) : view.getUint32(4 * index, true);
    case 16:
      return signed ? view.getInt16(2 * index, true) : view.getUint16(2 * index, true);
    case 8:
      return signed ? view.getInt8(index) : view.getUint8(index);
    default: {
      // Packed from the lowest bit on (TensorProto in onnx.proto, on 4-bit types).
      const at = index * bits;
      const low = view.getUint8(at >> 3);
      const high = (at & 7) + bits > 8 ? view.getUint8((at >> 3) + 1) : 0;
      const value = ((low | (high << 8)) >> (at & 7)) & ((1 << bits) - 1);
      return signed && value >= 1 << (bits - 1) ? value - (1 << bits) : value;
    }
  }
}

/** Collects the bytes of numbers as they are read. Grows with the text, never ahead of it. */
export class ElementBytes {
  readonly #dtype: DType;
  readonly #bits: number;
  #bytes = new Uint8Array(64);
  #view = new DataView(this.#bytes.buffer);
  /** Numbers read so far. */
  count = 0;

  constructor(dtype: DType) {
    this.#dtype = dtype;
    this.#bits = bitsOf(dtype);
  }

  /** The bytes so far, and nothing behind them. */
  finish(): Uint8Array {
    return copyBytes(this.#bytes.subarray(0, Math.ceil((this.count * this.#bits) / 8)));
  }

  /** Reads the number that the scanner stands on. */
  read(s: Scanner): void {
    const end = Math.ceil(((this.count + 1) * this.#bits) / 8) + 1;
    if (end > this.#bytes.byteLength) {
      const grown = new Uint8Array(2 * this.#bytes.byteLength);
      grown.set(this.#bytes);
      this.#bytes = grown;
      this.#view = new DataView(grown.buffer);
    }
    const form = formOf(this.#dtype);
    if (form === "float32" || form === "float64") this.#float(s, form);
    else this.#integer(s, form === "signed");
    this.count++;
  }

  #float(s: Scanner, form: "float32" | "float64"): void {
    const nan = s.kind === "name" && s.value.toLowerCase() === "nan" && s.following() === "(";
    const bits = nan ? nanBits(s, form) : undefined;
    const negative = s.value.startsWith("-");
    const value = bits === undefined ? floatOf(s, form) : Number.NaN;
    if (bits !== undefined) this.#bitsAt(form, bits);
    else if (Number.isNaN(value)) this.#bitsAt(form, NAN[form][negative ? 1 : 0]);
    else if (form === "float32") this.#view.setFloat32(4 * this.count, value, true);
    else this.#view.setFloat64(8 * this.count, value, true);
  }

  #bitsAt(form: "float32" | "float64", bits: bigint): void {
    if (form === "float32") this.#view.setUint32(4 * this.count, Number(bits), true);
    else this.#view.setBigUint64(8 * this.count, bits, true);
  }

  #integer(s: Scanner, signed: boolean): void {
    const [bits, i] = [this.#bits, this.count];
    const value = integerOf(s, bits, signed);
    if (bits === 64) this.#view.setBigUint64(8 * i, BigInt.asUintN(64, value), true);
    else if (bits === 32) this.#view.setUint32(4 * i, Number(value), true);
    else if (bits === 16) this.#view.setUint16(2 * i, Number(value), true);
    else if (bits === 8) this.#view.setUint8(i, Number(value));
    else {
      const at = i * bits;
      const field = (Number(value) & ((1 << bits) - 1)) << (at & 7);
      const byte = at >> 3;
      this.#view.setUint8(byte, this.#view.getUint8(byte) | (field & 0xff));
      this.#view.setUint8(byte + 1, this.#view.getUint8(byte + 1) | (field >> 8));
    }
  }
}

/** `nan(bits)`: a NaN with a payload, as C's strtod has it. */
function nanBits(s: Scanner, form: "float32" | "float64"): bigint {
  s.next();
  s.take("(");
  const at = s.start;
  const bits = integerOf(s, form === "float32" ? 32 : 64, false);
  // All ones in the exponent and something in the fraction, whatever the sign.
  const magnitude = BigInt.asUintN(form === "float32" ? 31 : 63, bits);
  if (magnitude <= (form === "float32" ? 0x7f80_0000n : 0x7ff0_0000_0000_0000n)) {
    const text = "these are not the bits of a NaN";
    s.fail("", { at, text, fix: "Write nan, or the number itself." });
  }
  s.take(")");
  return bits;
}

/** Passes a number: finite in the type, or one of the words. */
export function floatOf(s: Scanner, form: "float32" | "float64"): number {
  const { value: text, kind, start } = s;
  if (kind !== "integer" && kind !== "decimal" && !(kind === "name" && isFloatWord(text))) {
    s.fail("a number");
  }
  s.next();
  const word = text.toLowerCase().replace("-", "");
  if (word === "nan") return Number.NaN;
  if (isFloatWord(word)) return text.startsWith("-") ? -Infinity : Infinity;
  const value = form === "float32" ? Math.fround(Number(text)) : Number(text);
  if (!Number.isFinite(value)) {
    const wide = form === "float32" ? "float" : "double";
    s.fail("", { at: start, text: `this number is too large for a ${wide}`, fix: "Write inf." });
  }
  return value;
}

/** Passes an integer of so many bits. */
export function integerOf(s: Scanner, bits: number, signed: boolean): bigint {
  const { value: text, start } = s;
  s.take("integer", "an integer");
  // Longer numbers are out of range without being read: that would take time in the square of their length.
  const value = text.length <= 21 ? BigInt(text) : undefined;
  const fits =
    value !== undefined &&
    value === (signed ? BigInt.asIntN(bits, value) : BigInt.asUintN(bits, value));
  if (value === undefined || !fits) {
    const range = signed ? `-2^${bits - 1} to 2^${bits - 1}-1` : `0 to 2^${bits}-1`;
    s.fail("", {
      at: start,
      text: `this integer is out of range: ${range}`,
      fix: "Write an integer of that range; float16 and smaller floats are written as their bits.",
    });
  }
  return value;
}
