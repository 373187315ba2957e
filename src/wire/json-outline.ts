// A request's JSON without the data of its tensors: those stay where they lie, to be read once their type is
// known. Bounded in depth and objects before anything is built.

import { limits } from "../base/limits.ts";
import { endOfString } from "./json-cursor.ts";

/** Where the data of an input lies in the text. */
export interface DataPlace {
  readonly from: number;
  readonly to: number;
}

/** A document in which `data` of each input is the number of a place, or a sentence about where it is broken. */
export type Outline =
  | { readonly document: unknown; readonly places: readonly DataPlace[] }
  | { readonly fault: string };

/** The same as text: whatever the data is, requests of one kind have equal texts. */
export type OutlineText =
  | { readonly text: string; readonly places: readonly DataPlace[] }
  | { readonly fault: string };

/** The outline of UTF-8 text. JSON.parse judges all of it but the places. */
export function outlineOf(text: Buffer): Outline {
  const outline = outlineTextOf(text);
  return "fault" in outline ? outline : readOutline(outline);
}

/** The text of an outline, which may still be no JSON. */
export function outlineTextOf(text: Buffer): OutlineText {
  const scan = new Scan(text);
  if (scan.fault !== undefined) return { fault: scan.fault };
  const { places } = scan;
  let outline = "";
  let copied = 0;
  for (let i = 0; i < places.length; i++) {
    const { from, to } = places[i] ?? { from: copied, to: copied };
    outline += text.toString("utf8", copied, from) + i;
    copied = to;
  }
  return { text: outline + text.toString("utf8", copied), places };
}

/** The document of an outline. */
export function readOutline({ text, places }: Exclude<OutlineText, { fault: string }>): Outline {
  const parsed = parse(text);
  return "fault" in parsed ? parsed : { document: parsed.value, places };
}

/** A document, or a sentence about where it is broken. */
export type ParsedJson = { readonly value: unknown } | { readonly fault: string };

/** A document that has no tensors. */
export function parseJson(text: Buffer): ParsedJson {
  const { fault } = new Scan(text, false);
  return fault === undefined ? parse(text.toString("utf8")) : { fault };
}

function parse(text: string): ParsedJson {
  try {
    return { value: JSON.parse(text) };
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    // Places are those in the outline, not in what was sent.
    return { fault: message.replace(/ (?:in JSON )?at position \d+.*$/, "") };
  }
}

/** Depth of the fields of one input: in the document, in the list, in the input. */
const INPUT_DEPTH = 3;

/** One pass over the text: brackets, strings, and the places of data. */
class Scan {
  fault: string | undefined;
  readonly places: DataPlace[] = [];
  readonly #text: Buffer;
  readonly #findsData: boolean;
  #at = 0;
  #depth = 0;
  #objects = 0;
  /** A bit for each level: whether it is an object. Levels beyond those of an input do not matter. */
  #kinds = 0;
  /** Whether the field of the document that is being read is `inputs`. */
  #inInputs = false;
  /** Whether a string that comes now is the name of a field. */
  #beforeKey = false;
  /** Whether the input that is being read has data already. */
  #hasData = false;

  constructor(text: Buffer, findsData = true) {
    this.#text = text;
    this.#findsData = findsData;
    // The length of a Buffer is looked up anew each time it is asked for.
    const end = text.byteLength;
    while (this.#at < end && this.fault === undefined) this.#step();
    let outside = text.byteLength;
    for (const { from, to } of this.places) outside -= to - from;
    if (this.fault === undefined && outside > limits.jsonOutlineBytesMax) {
      this.fault = `it has ${outside} bytes beside the data of its tensors, and at most ${limits.jsonOutlineBytesMax} may be in it`;
    }
  }

  #step(): void {
    const at = this.#at++;
    switch (this.#text[at]) {
      case 0x22:
        this.#string(at);
        return;
      case 0x7b:
        this.#open(1);
        return;
      case 0x5b:
        this.#open(0);
        return;
      case 0x7d:
      case 0x5d:
        this.#depth--;
        this.#beforeKey = false;
        return;
      case 0x2c:
        this.#beforeKey = this.#depth <= INPUT_DEPTH && (this.#kinds & (1 << this.#depth)) !== 0;
        return;
      default:
    }
  }

  #open(object: number): void {
    this.#depth++;
    this.#objects += object;
    if (this.#depth > limits.jsonDepthMax) {
      this.fault = `arrays and objects are nested deeper than ${limits.jsonDepthMax}`;
    } else if (this.#objects > limits.jsonObjectsMax) {
      this.fault = `it has more than ${limits.jsonObjectsMax} objects`;
    }
    this.#beforeKey = object === 1 && this.#depth <= INPUT_DEPTH;
    if (this.#depth === INPUT_DEPTH) this.#hasData = false;
    if (this.#depth <= INPUT_DEPTH) {
      const bit = 1 << this.#depth;
      this.#kinds = (this.#kinds & (bit - 1)) | (object === 1 ? bit : 0);
    }
  }

  #string(start: number): void {
    const end = endOfString(this.#text, start, this.#text.byteLength);
    this.#at = end + 1;
    if (!this.#beforeKey) return;
    this.#beforeKey = false;
    if (this.#depth === 1) this.#inInputs = this.#isKey(start, end, "inputs");
    else if (
      this.#depth === INPUT_DEPTH &&
      this.#inInputs &&
      this.#findsData &&
      // The document is an object, the list is none, the input is one.
      this.#kinds === 0b1010 &&
      this.#isKey(start, end, "data")
    ) {
      this.#data();
    }
  }

  /** Whether the string from quote to quote is this name, escaped or not. */
  #isKey(start: number, end: number, name: string): boolean {
    const length = end - start - 1;
    if (length < name.length || length > name.length * 6) return false;
    const text = this.#text.toString("latin1", start + 1, end);
    if (!text.includes("\\")) return text === name;
    try {
      return JSON.parse(`"${text}"`) === name;
    } catch {
      return false;
    }
  }

  /** Past the value of `data`, which is noted. */
  #data(): void {
    this.#space();
    if (this.#text[this.#at] !== 0x3a) return;
    this.#at++;
    this.#space();
    // Two programs could read two different questions.
    if (this.#hasData) this.fault = "an input has two fields of data";
    this.#hasData = true;
    const from = this.#at;
    this.#value();
    if (this.#at > from) this.places.push({ from, to: this.#at });
    if (this.places.length > limits.jsonObjectsMax) {
      this.fault = `it has more than ${limits.jsonObjectsMax} fields of data`;
    }
  }

  #space(): void {
    while (isSpace(this.#text[this.#at])) this.#at++;
  }

  /** Past a value: to the end of its brackets or its string, or to what ends a word. */
  #value(): void {
    const text = this.#text;
    const first = text[this.#at];
    if (first === 0x22) {
      this.#at = Math.min(endOfString(text, this.#at, text.byteLength) + 1, text.byteLength);
    } else if (first === 0x5b || first === 0x7b) this.#brackets();
    else {
      while (this.#at < text.byteLength && !endsWord(text[this.#at])) this.#at++;
    }
  }

  #brackets(): void {
    const text = this.#text;
    const quote = text.indexOf(0x22, this.#at);
    const end = text[this.#at] === 0x5b ? arrayEnd(text, this.#at) : undefined;
    if (end !== undefined && (quote < 0 || quote >= end)) {
      this.#at = end;
      return;
    }
    const length = text.byteLength;
    let depth = 0;
    let at = this.#at;
    while (at < length) {
      const byte = text[at++];
      if (byte === 0x22) at = endOfString(text, at - 1, length) + 1;
      else if (byte === 0x5b || byte === 0x7b) depth++;
      else if ((byte === 0x5d || byte === 0x7d) && --depth === 0) break;
    }
    this.#at = Math.min(at, length);
  }
}

/** The end of an array in which no brackets are text: from bracket to bracket, without a look at every byte. */
function arrayEnd(text: Buffer, start: number): number | undefined {
  let depth = 0;
  let open = start;
  let at = start;
  for (;;) {
    const close = text.indexOf(0x5d, at);
    if (close < 0) return undefined;
    while (open >= 0 && open < close) {
      depth++;
      open = text.indexOf(0x5b, open + 1);
    }
    depth--;
    at = close + 1;
    if (depth === 0) return at;
  }
}

function isSpace(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

function endsWord(byte: number | undefined): boolean {
  return byte === 0x2c || byte === 0x7d || byte === 0x5d || isSpace(byte);
}
