// Reading JSON values where they lie: bytes rather than a string, numbers without an object for each. Most of a
// request is numbers; JSON.parse takes three times as long for them, and rounds integers beyond 2^53.

/** Powers of ten; up to 10^22 doubles have them exactly. */
const POWERS = Float64Array.from({ length: 61 }, (_, i) => Number(`1e${i}`));
const EXACT_POWER_MAX = 22;
/** A tenth of 2^53: another digit still makes an integer that doubles have. */
const DIGITS_FULL = 900_719_925_474_099;
/**
 * Relative error of a product of sixteen digits and a power of ten: 1.2e-15 for the digits left out, and three
 * roundings of 1.2e-16. Twice that.
 */
const ERROR = 4e-15;
/** More characters than any number needs; longer ones would be costly to read. */
const NUMBER_CHARS_MAX = 1000;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** A place in JSON text, and the first thing that is wrong there. The text is UTF-8. */
export class JsonCursor {
  /** The text as a buffer, for its words. */
  readonly text: Buffer;
  /** The same bytes. Not a Buffer: its elements are read at half the speed. */
  readonly bytes: Uint8Array;
  at: number;
  readonly end: number;
  fault: string | undefined;
  /** Where the number that was read last begins, and whether it is written as an integer. */
  start = 0;
  integer = true;

  constructor(text: Buffer, at: number, end: number) {
    this.text = text;
    this.bytes = new Uint8Array(text.buffer, text.byteOffset, text.byteLength);
    this.at = at;
    this.end = end;
  }

  /** The next byte that is no white space, or 0 at the end. */
  peek(): number {
    while (this.at < this.end) {
      const byte = this.bytes[this.at] ?? 0;
      if (byte > 0x20) return byte;
      if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) return byte;
      this.at++;
    }
    return 0;
  }

  /** Past a comma: whether another element follows; past the bracket: none does. */
  more(): boolean {
    const byte = this.peek();
    this.at++;
    if (byte === 0x2c) return true;
    if (byte !== 0x5d) this.fail("its data is no JSON array: a comma or a bracket is missing");
    return false;
  }

  /** Keeps the first fault. Gives NaN, which no number in JSON is. */
  fail(text: string): number {
    this.fault ??= text;
    return Number.NaN;
  }

  /** The text of the number that was read last, or what stands in its place. */
  shown(): string {
    return this.text.toString("utf8", this.start, Math.min(this.at, this.start + 40));
  }

  /**
   * The number here as the nearest double; as the nearest float, if that is all that is wanted (`single`). NaN
   * after a fault. The digits are added up; JSON.parse would do no better where they are at most fifteen.
   */
  number(single: boolean): number {
    const { bytes } = this;
    this.peek();
    const start = this.at;
    this.start = start;
    let at = start;
    const negative = bytes[at] === 0x2d;
    if (negative) at++;
    let digits = 0;
    let exponent = 0;
    let whole = true;
    const first = at;
    let digit = (bytes[at] ?? 0) - 0x30;
    while (digit >= 0 && digit <= 9) {
      if (digits < DIGITS_FULL) digits = digits * 10 + digit;
      else {
        exponent++;
        whole = false;
      }
      digit = (bytes[++at] ?? 0) - 0x30;
    }
    const length = at - first;
    if (length === 0 || (length > 1 && bytes[first] === 0x30)) return this.#noNumber(at);
    this.integer = true;
    if (bytes[at] === 0x2e) {
      const from = ++at;
      digit = (bytes[at] ?? 0) - 0x30;
      while (digit >= 0 && digit <= 9) {
        if (digits < DIGITS_FULL) {
          digits = digits * 10 + digit;
          exponent--;
        } else whole = false;
        digit = (bytes[++at] ?? 0) - 0x30;
      }
      if (at === from) return this.#noNumber(at);
      this.integer = false;
    }
    this.at = at;
    const value = this.#scaled(digits, exponent, whole, single);
    return negative ? -value : value;
  }

  /** Digits with their exponent, if one follows. */
  #scaled(digits: number, exponent: number, whole: boolean, single: boolean): number {
    let power = exponent;
    if (((this.bytes[this.at] ?? 0) | 0x20) === 0x65) {
      power += this.#exponent();
      this.integer = false;
    }
    if (this.fault !== undefined) return Number.NaN;
    const value = scaled(digits, power, whole, single);
    return Number.isNaN(value) ? Math.abs(this.#exactly()) : value;
  }

  /** Past an exponent; gives it. */
  #exponent(): number {
    const { bytes } = this;
    let at = this.at + 1;
    const negative = bytes[at] === 0x2d;
    if (negative || bytes[at] === 0x2b) at++;
    const from = at;
    let value = 0;
    let digit = (bytes[at] ?? 0) - 0x30;
    while (digit >= 0 && digit <= 9) {
      // Beyond this no exponent is told from another.
      if (value < 100_000) value = value * 10 + digit;
      digit = (bytes[++at] ?? 0) - 0x30;
    }
    if (at === from) return this.#noNumber(at);
    this.at = at;
    return negative ? -value : value;
  }

  /** What digits and powers of ten do not settle, the platform reads. */
  #exactly(): number {
    if (this.at - this.start > NUMBER_CHARS_MAX) {
      return this.fail(`a number in its data has more than ${NUMBER_CHARS_MAX} characters`);
    }
    return Number(this.text.toString("latin1", this.start, this.at));
  }

  #noNumber(at: number): number {
    this.at = at;
    const rest = this.text.toString("utf8", this.start, Math.min(this.end, this.start + 12));
    const [word = ""] = rest.split(/[\s,\]]/, 1);
    return this.fail(wordFault(word));
  }

  /** Past the string here, without its quotes: where it begins; -1 after a fault. */
  string(): number {
    if (this.peek() !== QUOTE) {
      this.fail("an element of its data is no string");
      return -1;
    }
    const from = this.at + 1;
    const to = endOfString(this.bytes, this.at, this.end);
    if (to >= this.end) {
      this.fail("a string in its data has no end");
      return -1;
    }
    this.at = to + 1;
    return from;
  }
}

function wordFault(word: string): string {
  if (/^[-+]?(?:nan|inf)/i.test(word)) {
    return `its data has ${word}, for which JSON has no number: send the tensor as binary data`;
  }
  return `its data has ${JSON.stringify(word)} where a number is expected`;
}

/** digits · 10^exponent, correctly rounded; NaN where that cannot be said without more work. */
function scaled(digits: number, exponent: number, whole: boolean, single: boolean): number {
  if (whole && exponent >= -EXACT_POWER_MAX && exponent <= EXACT_POWER_MAX) {
    // Both are doubles as they are, so that one rounding is the only one (Clinger 1990, the fast case).
    if (exponent === 0) return digits;
    return exponent < 0 ? digits / (POWERS[-exponent] ?? 1) : digits * (POWERS[exponent] ?? 1);
  }
  if (!single || exponent < -60 || exponent > 60) return digits === 0 ? 0 : Number.NaN;
  const near = exponent < 0 ? digits / (POWERS[-exponent] ?? 1) : digits * (POWERS[exponent] ?? 1);
  const low = Math.fround(near * (1 - ERROR));
  return low === Math.fround(near * (1 + ERROR)) ? low : Number.NaN;
}

/** Where the quote stands that ends a string, or `end`. */
export function endOfString(bytes: Uint8Array, start: number, end: number): number {
  for (let i = start + 1; i < end; i++) {
    const byte = bytes[i];
    if (byte === BACKSLASH) i++;
    else if (byte === QUOTE) return i;
  }
  return end;
}
