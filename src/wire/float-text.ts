// Numbers as decimal text, straight into bytes: what a string for each number would cost is most of what writing
// them costs. Floats get the fewest digits that give the same float again.

/** Powers of ten; the first 23 are exact. */
const POWERS = Float64Array.from({ length: 61 }, (_, i) => Number(`1e${i}`));
const EXACT_POWER_MAX = 22;
/** More than the relative error of a quotient of an integer and a power of ten that is not exact. */
const ERROR = 4e-15;

/** The power of ten below the power of two of each exponent of a float, and the next power of ten. */
const DECADES = Int8Array.from({ length: 256 }, (_, i) => Math.floor(Math.log10(2 ** (i - 127))));
const NEXT_POWERS = Float64Array.from(DECADES, (decade) => Number(`1e${decade + 1}`));

const ZERO = 0x30;
const MINUS = 0x2d;
const POINT = 0x2e;
const EXPONENT = 0x65;

/** Bytes that a number takes at most: "-0.00000123456789". */
export const NUMBER_BYTES = 24;

/** Writes an integer of up to 32 bits; gives the place behind it. */
export function writeInteger(out: Uint8Array, at: number, value: number): number {
  if (value >= 0) return writeDigits(out, at, value, lengthOf(value));
  out[at] = MINUS;
  return writeDigits(out, at + 1, -value, lengthOf(-value));
}

/** Writes a finite float, of which `bits` are its bits; gives the place behind it. */
export function writeFloat(out: Uint8Array, start: number, value: number, bits: number): number {
  let at = start;
  if (bits < 0) out[at++] = MINUS;
  const size = bits < 0 ? -value : value;
  // Python reads -0 as the integer, which has no sign.
  if (size === 0 && bits < 0) return writeText(out, at, "0.0");
  if (size < 1e9 && size === Math.floor(size)) return writeDigits(out, at, size, lengthOf(size));
  const exponent = (bits >>> 23) & 0xff;
  // Floats below 2^-126 have fewer bits, and need fewer digits; they are rare.
  if (exponent === 0) return writeText(out, at, shortest(size));
  let decade = DECADES[exponent] ?? 0;
  if (size >= (NEXT_POWERS[exponent] ?? 0)) decade++;
  for (let count = 7; count <= 9; count++) {
    const places = count - 1 - decade;
    const digits = digitsAt(size, places);
    if (digits > 0) return writeDecimal(out, at, digits, places);
  }
  return writeText(out, at, String(Number(size.toPrecision(9))));
}

/** The fewest digits that give the same float again. */
function shortest(size: number): string {
  let count = 1;
  while (count < 9 && Math.fround(Number(size.toPrecision(count))) !== size) count++;
  return String(Number(size.toPrecision(count)));
}

/** The digits of a float, if so many places behind the point are enough to find it again; otherwise 0. */
function digitsAt(size: number, places: number): number {
  const far = places >= 0 ? places : -places;
  const power = POWERS[far] ?? 0;
  const digits = Math.floor((places >= 0 ? size * power : size / power) + 0.5);
  const again = places >= 0 ? digits / power : digits * power;
  if (far <= EXACT_POWER_MAX) return Math.fround(again) === size ? digits : 0;
  const sure =
    Math.fround(again * (1 - ERROR)) === size && Math.fround(again * (1 + ERROR)) === size;
  return sure ? digits : 0;
}

/** Writes digits · 10^-places. */
function writeDecimal(out: Uint8Array, start: number, all: number, allPlaces: number): number {
  let digits = all | 0;
  let places = allPlaces;
  for (let next = (digits / 10) | 0; next * 10 === digits; next = (digits / 10) | 0) {
    digits = next;
    places--;
  }
  const length = lengthOf(digits);
  const point = length - places;
  let at = start;
  if (point > 0 && point < length) return writeSplit(out, at, digits, places, length);
  if (point <= 0 && point > -6) {
    out[at++] = ZERO;
    out[at++] = POINT;
    for (let i = point; i < 0; i++) out[at++] = ZERO;
    return writeDigits(out, at, digits, length);
  }
  at =
    length === 1
      ? writeDigits(out, at, digits, 1)
      : writeSplit(out, at, digits, length - 1, length);
  out[at++] = EXPONENT;
  return writeInteger(out, at, point - 1);
}

/** Writes digits with a point before the last `places` of them. */
function writeSplit(
  out: Uint8Array,
  at: number,
  digits: number,
  places: number,
  length: number,
): number {
  const power = POWERS[places] ?? 1;
  const whole = (digits / power) | 0;
  const point = writeDigits(out, at, whole, length - places);
  out[point] = POINT;
  return writeDigits(out, point + 1, digits - whole * power, places);
}

/** Writes the last `length` digits of an integer. */
function writeDigits(out: Uint8Array, at: number, value: number, length: number): number {
  const end = at + length;
  let rest = value;
  for (let i = end - 1; i >= at; i--) {
    const next = (rest / 10) >>> 0;
    out[i] = ZERO + (rest - next * 10);
    rest = next;
  }
  return end;
}

/** Digits of an integer of up to 32 bits. */
function lengthOf(value: number): number {
  let length = 1;
  while (value >= (POWERS[length] ?? 0)) length++;
  return length;
}

function writeText(out: Uint8Array, at: number, text: string): number {
  for (let i = 0; i < text.length; i++) out[at + i] = text.charCodeAt(i);
  return at + text.length;
}
