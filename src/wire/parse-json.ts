// JSON for requests: bounded in depth and objects before it is built, and exact for integers beyond 2^53, which
// JSON.parse would round. Everything else is JSON.parse's business.

import { limits } from "../base/limits.ts";
import { ExactNumber } from "./json-tensor.ts";

/** A document, or a sentence about where it is broken. */
export type ParsedJson = { readonly value: unknown } | { readonly fault: string };

/** Whether a number literal of sixteen or more digits occurs, which may be one that would be rounded. */
const LONG_INTEGER = /\d{16}/;
/** A number at one place. Each part begins with another character: no backtracking. */
const NUMBER = /-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const ROUNDED_INTEGER = /^-?\d{16,}$/;
/** More digits than any number has: the pattern of numbers would look for their end with a deep stack. */
const ENDLESS_NUMBER = /\d{1000}/;
const MARK = "\u0000skipway-exact:";

/** Parses a request body. */
export function parseJson(text: string): ParsedJson {
  const { deepest, objects } = bracketsOf(text);
  if (deepest > limits.jsonDepthMax) {
    return { fault: `arrays and objects are nested deeper than ${limits.jsonDepthMax}` };
  }
  if (objects > limits.jsonObjectsMax) {
    return {
      fault: `it has ${objects} objects, and at most ${limits.jsonObjectsMax} may be in it`,
    };
  }
  try {
    if (!LONG_INTEGER.test(text)) return { value: JSON.parse(text) };
    if (ENDLESS_NUMBER.test(text)) return { fault: "a number in it has a thousand digits or more" };
    const { marked, count } = markLongIntegers(text);
    if (count > limits.jsonLongIntegersMax) return { fault: tooManyLong(count) };
    return { value: JSON.parse(marked, revive) };
  } catch (error) {
    return { fault: error instanceof Error ? error.message : String(error) };
  }
}

function tooManyLong(count: number): string {
  return `it has ${count} integers of sixteen or more digits, and at most ${limits.jsonLongIntegersMax} may be in it`;
}

/**
 * The text with its long integers as marked strings. One pass: a pattern that looks for strings as well
 * would begin anew at every quote of a string that never ends, which takes quadratic time.
 */
function markLongIntegers(text: string): { marked: string; count: number } {
  const parts: string[] = [];
  let copied = 0;
  let i = 0;
  while (i < text.length) {
    const code = text.charCodeAt(i);
    if (code === 0x22) {
      i = endOfString(text, i) + 1;
      continue;
    }
    const token = code === 0x2d || (code >= 0x30 && code <= 0x39) ? numberAt(text, i) : "";
    if (ROUNDED_INTEGER.test(token)) {
      parts.push(text.slice(copied, i), JSON.stringify(MARK + token));
      copied = i + token.length;
    }
    i += Math.max(1, token.length);
  }
  return { marked: parts.join("") + text.slice(copied), count: parts.length / 2 };
}

function numberAt(text: string, at: number): string {
  NUMBER.lastIndex = at;
  return NUMBER.exec(text)?.[0] ?? "";
}

function revive(_key: string, value: unknown): unknown {
  if (typeof value !== "string" || !value.startsWith(MARK)) return value;
  const literal = value.slice(MARK.length);
  const number = Number(literal);
  return Number.isSafeInteger(number) ? number : new ExactNumber(literal);
}

/** The deepest nesting of brackets outside strings, and how many of them begin an object. */
function bracketsOf(text: string): { deepest: number; objects: number } {
  let depth = 0;
  let deepest = 0;
  let objects = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === 0x22) {
      i = endOfString(text, i);
    } else if (code === 0x5b || code === 0x7b) {
      depth++;
      if (code === 0x7b) objects++;
      if (depth > deepest) deepest = depth;
    } else if (code === 0x5d || code === 0x7d) {
      depth--;
    }
  }
  return { deepest, objects };
}

function endOfString(text: string, start: number): number {
  for (let i = start + 1; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === 0x5c) i++;
    else if (code === 0x22) return i;
  }
  return text.length;
}
