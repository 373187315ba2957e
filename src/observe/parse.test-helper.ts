// A reader of the text formats that shares nothing with the writer: character by character, as the
// specifications say, and strict about what they forbid.

export interface ParsedSample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
  readonly exemplar?: {
    readonly labels: Readonly<Record<string, string>>;
    readonly value: number;
    readonly timestamp: number | undefined;
  };
}

export interface ParsedFamily {
  readonly name: string;
  type: string;
  help: string;
  unit?: string;
  readonly samples: ParsedSample[];
}

class Cursor {
  at = 0;
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
  get end(): boolean {
    return this.at >= this.text.length;
  }
  peek(): string {
    return this.text[this.at] ?? "";
  }
  eat(char: string): void {
    if (this.peek() !== char) throw new Error(`expected ${char} at ${this.at}: ${this.text}`);
    this.at++;
  }
  while(accept: (char: string) => boolean): string {
    const from = this.at;
    while (!this.end && accept(this.peek())) this.at++;
    return this.text.slice(from, this.at);
  }
}

function labelsAt(cursor: Cursor): Record<string, string> {
  const labels: Record<string, string> = {};
  if (cursor.peek() !== "{") return labels;
  cursor.eat("{");
  while (cursor.peek() !== "}") {
    const name = cursor.while((char) => /\w/.test(char));
    if (!/^[a-zA-Z_]\w*$/.test(name)) throw new Error(`no label name: "${name}"`);
    if (Object.hasOwn(labels, name)) throw new Error(`label ${name} twice: ${cursor.text}`);
    cursor.eat("=");
    cursor.eat('"');
    let value = "";
    while (cursor.peek() !== '"') {
      if (cursor.end) throw new Error(`unfinished label: ${cursor.text}`);
      let char = cursor.peek();
      cursor.at++;
      if (char === "\\") {
        const escaped = cursor.peek();
        cursor.at++;
        char = { n: "\n", '"': '"', "\\": "\\" }[escaped] ?? `\\${escaped}`;
      }
      value += char;
    }
    cursor.eat('"');
    labels[name] = value;
    if (cursor.peek() !== "}") cursor.eat(",");
  }
  cursor.eat("}");
  return labels;
}

function numberAt(cursor: Cursor): number {
  const text = cursor.while((char) => char !== " ");
  if (text === "+Inf") return Number.POSITIVE_INFINITY;
  if (text === "-Inf") return Number.NEGATIVE_INFINITY;
  if (text === "NaN") return Number.NaN;
  if (!/^[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?$/i.test(text)) throw new Error(`no number: ${text}`);
  return Number(text);
}

function sampleOf(line: string, open: boolean): ParsedSample {
  const cursor = new Cursor(line);
  const name = cursor.while((char) => /[\w:]/.test(char));
  const labels = labelsAt(cursor);
  cursor.eat(" ");
  const value = numberAt(cursor);
  if (cursor.end) return { name, labels, value };
  if (!open) throw new Error(`the old format has no exemplars: ${line}`);
  for (const char of " # ") cursor.eat(char);
  const of = labelsAt(cursor);
  const length = [...Object.entries(of).flat().join("")].length;
  if (length > 128) throw new Error("an exemplar's labels have at most 128 characters");
  cursor.eat(" ");
  const seen = numberAt(cursor);
  if (!cursor.end) cursor.eat(" ");
  const timestamp = cursor.end ? undefined : numberAt(cursor);
  return { name, labels, value, exemplar: { labels: of, value: seen, timestamp } };
}

const SUFFIXES: Readonly<Record<string, readonly string[]>> = {
  counter: ["_total"],
  gauge: [""],
  unknown: [""],
  histogram: ["_bucket", "_sum", "_count"],
};

/** Reads a whole exposition. @throws Error for anything that a format does not allow. */
export function parseExposition(text: string, open: boolean): Map<string, ParsedFamily> {
  const families = new Map<string, ParsedFamily>();
  const lines = text.split("\n");
  if (lines.pop() !== "") throw new Error("the last line does not end");
  if (open && lines.pop() !== "# EOF") throw new Error("no EOF");
  const seen = new Set<string>();
  let current: ParsedFamily | undefined;
  for (const line of lines) {
    const [, word, name = "", rest = ""] = /^# (HELP|TYPE|UNIT) (\S+) ?([^\n]*)$/.exec(line) ?? [];
    if (word !== undefined) {
      if (current?.name !== name) {
        if (families.has(name)) throw new Error(`${name} is not in one piece`);
        current = { name, type: "", help: "", samples: [] };
        families.set(name, current);
      }
      describeFamily(current, word, rest);
      continue;
    }
    if (current === undefined) throw new Error(`a sample without a family: ${line}`);
    addSample(current, line, open, seen);
  }
  for (const family of families.values()) checkFamily(family, open);
  return families;
}

function describeFamily(family: ParsedFamily, word: string, rest: string): void {
  if (family.samples.length > 0) throw new Error("a word about a family after its samples");
  if (word === "HELP") family.help = rest;
  else if (word === "TYPE") family.type = rest;
  else family.unit = rest;
}

function addSample(family: ParsedFamily, line: string, open: boolean, seen: Set<string>): void {
  const sample = sampleOf(line, open);
  const { name, type } = family;
  const suffixes = open || type === "histogram" ? SUFFIXES[type] : [""];
  if (!suffixes?.some((suffix) => `${name}${suffix}` === sample.name)) {
    throw new Error(`${sample.name} is no series of the ${type} ${name}`);
  }
  const key = `${sample.name}${JSON.stringify(Object.entries(sample.labels).sort())}`;
  if (seen.has(key)) throw new Error(`twice: ${line}`);
  seen.add(key);
  if (sample.exemplar !== undefined && !/_(bucket|total)$/.test(sample.name)) {
    throw new Error(`an exemplar where none may be: ${line}`);
  }
  family.samples.push(sample);
}

function checkFamily({ name, type, unit, samples }: ParsedFamily, open: boolean): void {
  if (!(type in SUFFIXES)) throw new Error(`${name} has the type "${type}"`);
  if (open && unit !== undefined && !name.endsWith(`_${unit}`)) throw new Error(`unit of ${name}`);
  if (type !== "histogram") return;
  const series = new Map<string, { bounds: number[]; counts: number[]; count?: number }>();
  for (const { name: full, labels, value } of samples) {
    const { le, ...rest } = labels;
    const key = JSON.stringify(rest);
    const one = series.get(key) ?? { bounds: [], counts: [] };
    series.set(key, one);
    if (full.endsWith("_bucket")) {
      one.bounds.push(le === "+Inf" ? Number.POSITIVE_INFINITY : Number(le));
      one.counts.push(value);
    } else if (full.endsWith("_count")) one.count = value;
  }
  for (const [key, { bounds, counts, count }] of series) {
    const ascending = (list: readonly number[]): boolean =>
      list.every((value, i) => i === 0 || value >= (list[i - 1] ?? 0));
    if (!ascending(bounds) || !ascending(counts)) throw new Error(`buckets of ${name}${key}`);
    if (bounds.at(-1) !== Number.POSITIVE_INFINITY || counts.at(-1) !== count) {
      throw new Error(`the last bucket of ${name}${key} is not its count`);
    }
  }
}
