// Text to tokens, one at a time and in one pass: nothing is kept of what was read, so that the memory of
// a reader is that of the graph it makes. Faults are findings with the line, a caret, and what was
// expected there.

import { type Diagnostic, diagnostic } from "../../base/diagnostic.ts";
import { SkipwayError } from "../../base/errors.ts";
import { isFloatWord } from "./words.ts";

const PUNCTUATION = ["(", ")", "{", "}", "[", "]", "<", ">", ",", ":", "=", ".", "@", "?"] as const;

/**
 * What a token is. `decimal`: a number with a point or exponent, or `-inf`. `…`: what a printer left out.
 * `other`: a character that begins nothing.
 */
export type TokenKind =
  | (typeof PUNCTUATION)[number]
  | "name"
  | "string"
  | "integer"
  | "decimal"
  | "=>"
  | "…"
  | "other"
  | "end";

/** What else to say of a fault than what was expected and what was found. */
export interface Fault {
  readonly id?: string;
  /** In place of "expected …, found …". */
  readonly text?: string;
  readonly fix?: string;
  /** Offset of the fault; the current token where left out. */
  readonly at?: number;
}

const SYMBOLS: ReadonlyMap<string, TokenKind> = new Map(PUNCTUATION.map((char) => [char, char]));
const EXCERPT_CHARS = 100;

/** Reads tokens; stands on one of them. */
export class Scanner {
  readonly #text: string;
  readonly #source: string;
  #kind: TokenKind = "end";
  #start = 0;
  #end = 0;

  /** Stands on the first token. `source` is what faults call the text. */
  constructor(text: string, source: string) {
    this.#text = text;
    this.#source = source;
    this.next();
  }

  /** What the current token is. */
  get kind(): TokenKind {
    return this.#kind;
  }

  /** Where the current token begins. */
  get start(): number {
    return this.#start;
  }

  /** The current token as written; of a string, what is between its quotes. */
  get value(): string {
    if (this.#kind !== "string") return this.#text.slice(this.#start, this.#end);
    const inside = this.#text.slice(this.#start + 1, this.#end - 1);
    return inside.includes("\\") ? inside.replaceAll(/\\([\s\S])/g, "$1") : inside;
  }

  /** Goes to the next token. */
  next(): void {
    this.#scan(this.#end);
  }

  /** What the token after this one is. */
  following(): TokenKind {
    const [kind, start, end] = [this.#kind, this.#start, this.#end];
    this.#scan(end);
    const found = this.#kind;
    [this.#kind, this.#start, this.#end] = [kind, start, end];
    return found;
  }

  /** Whether the current token is of that kind; if so, it is passed. */
  accept(kind: TokenKind): boolean {
    if (this.#kind !== kind) return false;
    this.next();
    return true;
  }

  /** Passes a token that must be there, and returns its value. */
  take(kind: TokenKind, expected = `"${kind}"`): string {
    if (this.#kind !== kind) this.fail(expected);
    const { value } = this;
    this.next();
    return value;
  }

  /** Whether the current token is a name, plain or quoted. */
  get isName(): boolean {
    return this.#kind === "name" || this.#kind === "string";
  }

  /** Passes a name, plain or quoted. */
  name(expected: string): string {
    return this.take(this.#kind === "string" ? "string" : "name", expected);
  }

  /** Ends reading with a finding at the current token. */
  fail(expected: string, fault: Fault = {}): never {
    throw SkipwayError.fromDiagnostics("input", [this.#finding(expected, fault)]);
  }

  #finding(expected: string, fault: Fault): Diagnostic {
    // What is missing at the end is missing after the last token, not after the last empty line.
    const atEnd = fault.at === undefined && this.#kind === "end";
    const at = atEnd ? this.#text.trimEnd().length : (fault.at ?? this.#start);
    const { line, column, excerpt } = placeOf(this.#text, at);
    return diagnostic({
      id: fault.id ?? "text/syntax",
      severity: "error",
      where: `${this.#source}:${line}:${column}`,
      text: `${fault.text ?? `expected ${expected}, found ${this.#described()}`}\n${excerpt}`,
      fix:
        fault.fix ?? "Correct the text at the caret; docs/reference/text-form.md has the grammar.",
    });
  }

  #described(): string {
    if (this.#kind === "end") return "the end of the text";
    const value = this.#text.slice(this.#start, Math.min(this.#end, this.#start + 40));
    if (this.#kind === "string") return `the string ${value}`;
    return this.#kind === "integer" || this.#kind === "decimal"
      ? `the number ${value}`
      : `"${value}"`;
  }

  #scan(from: number): void {
    const text = this.#text;
    const start = skipSpace(text, from);
    this.#start = start;
    const char = text[start];
    if (char === undefined) this.#token("end", start);
    else if (isLetter(char)) this.#token("name", endOfName(text, start));
    else if (char === '"') this.#token("string", this.#endOfString(start));
    else if (char === "-" || isDigit(char)) this.#number(start);
    else if (char === "…") this.#token("…", start + 1);
    else if (text.startsWith("...", start)) this.#token("…", start + 3);
    else if (text.startsWith("=>", start)) this.#token("=>", start + 2);
    else this.#token(SYMBOLS.get(char) ?? "other", start + 1);
  }

  #token(kind: TokenKind, end: number): void {
    this.#kind = kind;
    this.#end = end;
  }

  #endOfString(start: number): number {
    for (let i = start + 1; i < this.#text.length; i++) {
      const char = this.#text[i];
      if (char === '"') return i + 1;
      if (char === "\\") i++;
    }
    return this.fail("", { at: start, text: "this string does not end", fix: 'Close it with ".' });
  }

  /** `-`? digits (`.` digits)? (`e` sign? digits)?, or `-` and a float's word. */
  #number(start: number): void {
    const text = this.#text;
    const from = text[start] === "-" ? start + 1 : start;
    if (isDigit(text[from] ?? "")) {
      const whole = endOfDigits(text, from);
      const end = endOfExponent(text, endOfFraction(text, whole));
      this.#token(end === whole ? "integer" : "decimal", end);
    } else {
      const end = endOfName(text, from);
      if (isFloatWord(text.slice(from, end))) this.#token("decimal", end);
      else this.#token("other", start + 1);
    }
  }
}

function isLetter(char: string): boolean {
  return (char >= "a" && char <= "z") || (char >= "A" && char <= "Z") || char === "_";
}

function isDigit(char: string): boolean {
  return char >= "0" && char <= "9";
}

function endOfName(text: string, from: number): number {
  let end = from;
  while (isLetter(text[end] ?? "") || isDigit(text[end] ?? "")) end++;
  return end;
}

function endOfDigits(text: string, from: number): number {
  let end = from;
  while (isDigit(text[end] ?? "")) end++;
  return end;
}

function endOfFraction(text: string, from: number): number {
  // Two points begin the mark of what was left out.
  return text[from] === "." && text[from + 1] !== "." ? endOfDigits(text, from + 1) : from;
}

function endOfExponent(text: string, from: number): number {
  if (text[from] !== "e" && text[from] !== "E") return from;
  const digits = text[from + 1] === "+" || text[from + 1] === "-" ? from + 2 : from + 1;
  const end = endOfDigits(text, digits);
  return end > digits ? end : from;
}

/** After spaces, line ends and comments, which go from `#` to the end of their line. */
function skipSpace(text: string, from: number): number {
  let at = from;
  for (;;) {
    const char = text[at];
    if (char === " " || (char !== undefined && char >= "\t" && char <= "\r")) at++;
    else if (char === "#") {
      const end = text.indexOf("\n", at);
      if (end < 0) return text.length;
      at = end;
    } else return at;
  }
}

/** Line and column from 1, and the line itself with a caret under the place. Long lines are cut. */
function placeOf(text: string, at: number): { line: number; column: number; excerpt: string } {
  let line = 1;
  let begin = 0;
  for (let end = text.indexOf("\n"); end >= 0 && end < at; end = text.indexOf("\n", begin)) {
    line++;
    begin = end + 1;
  }
  const stop = text.indexOf("\n", at);
  const end = stop < 0 ? text.length : stop;
  const left = Math.max(begin, Math.min(at - EXCERPT_CHARS / 2, end - EXCERPT_CHARS));
  const cut = left > begin ? "…" : "";
  const right = Math.min(end, left + EXCERPT_CHARS);
  // Every character takes one column: a tab or a control would move the caret.
  const shown = text.slice(left, right).replaceAll(/[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]/gu, " ");
  const caret = `${" ".repeat(at - left + cut.length)}^`;
  return {
    line,
    column: at - begin + 1,
    excerpt: `${cut}${shown.trimEnd()}${right < end ? "…" : ""}\n${caret}`,
  };
}
