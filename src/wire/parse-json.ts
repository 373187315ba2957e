// JSON for requests: bounded in depth before it is built, and exact for integers beyond 2^53, which
// JSON.parse would round. Everything else is JSON.parse's business.

import { limits } from "../base/limits.ts";
import { ExactNumber } from "./json-tensor.ts";

/** A document, or a sentence about where it is broken. */
export type ParsedJson = { readonly value: unknown } | { readonly fault: string };

/** Whether a number literal of sixteen or more digits occurs, which may be one that would be rounded. */
const LONG_INTEGER = /\d{16}/;
/** Strings and whole numbers. The alternatives never overlap: linear time. */
const TOKENS = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
const ROUNDED_INTEGER = /^-?\d{16,}$/;
const MARK = "\u0000skipway-exact:";

/** Parses a request body. */
export function parseJson(text: string): ParsedJson {
  const depth = depthOf(text);
  if (depth > limits.jsonDepthMax) {
    return { fault: `arrays and objects are nested deeper than ${limits.jsonDepthMax}` };
  }
  try {
    if (!LONG_INTEGER.test(text)) return { value: JSON.parse(text) };
    const marked = text.replace(TOKENS, (token) =>
      ROUNDED_INTEGER.test(token) ? JSON.stringify(MARK + token) : token,
    );
    return { value: JSON.parse(marked, revive) };
  } catch (error) {
    return { fault: error instanceof Error ? error.message : String(error) };
  }
}

function revive(_key: string, value: unknown): unknown {
  if (typeof value !== "string" || !value.startsWith(MARK)) return value;
  const literal = value.slice(MARK.length);
  const number = Number(literal);
  return Number.isSafeInteger(number) ? number : new ExactNumber(literal);
}

/** The deepest nesting of brackets outside strings. */
function depthOf(text: string): number {
  let depth = 0;
  let deepest = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === 0x22) {
      i = endOfString(text, i);
    } else if (code === 0x5b || code === 0x7b) {
      depth++;
      if (depth > deepest) deepest = depth;
    } else if (code === 0x5d || code === 0x7d) {
      depth--;
    }
  }
  return deepest;
}

function endOfString(text: string, start: number): number {
  for (let i = start + 1; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === 0x5c) i++;
    else if (code === 0x22) return i;
  }
  return text.length;
}
