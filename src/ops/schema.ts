// What the ONNX standard says of each version of each op: arguments, attributes, types. The table is
// generated (`npm run generate:schema`); an op is read from it when it is first asked for.
//
// A version is one line, `since | inputs | outputs | attributes | types`; `=` stands for what the version
// before has there, and `7!` for a version that deprecates the op. Arguments are `name:type`, with a mark
// behind the name: `?` may be left out, `*1` any number from 1 on of one type, `~1` of any types.
// Attributes are `name:kind=default`, `!` behind the name of a required one. A type is a variable, bound
// by `T=float32;float64` or `T=#key` of a set, or stands for itself.

import { assert, present } from "../base/assert.ts";
import type { Attribute } from "../graph/graph.ts";
import { OP_SCHEMAS, TYPE_SETS } from "./schema.gen.ts";

/** A type as `float32`, `seq(float32)`, `optional(seq(float32))` or `map(int64,float32)`. */
export type TypeName = string;

/** An input or output. */
export interface SchemaArgument {
  readonly name: string;
  readonly option: "single" | "optional" | "variadic";
  /** Of a variadic argument: how many there are at least. */
  readonly minimum: number;
  /** Of a variadic argument: whether all have the same type. */
  readonly homogeneous: boolean;
  /** Name of the type variable that several arguments may share; undefined for a fixed type. */
  readonly variable: string | undefined;
  readonly allowed: ReadonlySet<TypeName>;
}

/** Kinds of attributes, as ONNX names them in lower case. */
export type AttributeKind =
  | Exclude<Attribute["kind"], "reference" | "opaque">
  | "sparse_tensor"
  | "type_proto";

/** An attribute. */
export interface SchemaAttribute {
  readonly name: string;
  readonly kind: AttributeKind;
  readonly required: boolean;
  /** What it is where it is left out; undefined where leaving it out is something of its own. */
  readonly fallback: Attribute | undefined;
}

/** One version of an op. */
export interface OpSchema {
  readonly domain: string;
  readonly type: string;
  /** The version of the operator set that introduced it. */
  readonly since: number;
  readonly deprecated: boolean;
  readonly inputs: readonly SchemaArgument[];
  readonly outputs: readonly SchemaArgument[];
  readonly attributes: ReadonlyMap<string, SchemaAttribute>;
}

const TEXTS: ReadonlyMap<string, string> = new Map(OP_SCHEMAS);
const SETS = new Map<string, ReadonlySet<TypeName>>();
const PARSED = new Map<string, readonly OpSchema[]>();

/** The standard's ops, as `domain/type`. */
export function standardOps(): readonly string[] {
  return [...TEXTS.keys()];
}

/** All versions of an op, oldest first; none for an op that is not in the standard. */
export function schemasOf(domain: string, op: string): readonly OpSchema[] {
  const key = `${domain}/${op}`;
  const known = PARSED.get(key);
  if (known !== undefined) return known;
  const text = TEXTS.get(key);
  // What is not in the standard is not remembered: there is no end of such names.
  if (text === undefined) return [];
  const versions = parseVersions(domain, op, text);
  PARSED.set(key, versions);
  return versions;
}

/** The version of an op that is in force in a version of its operator set, if the op is in it. */
export function schemaOf(domain: string, op: string, opset: number): OpSchema | undefined {
  return schemasOf(domain, op).findLast((schema) => schema.since <= opset);
}

/** What an attribute is where a node leaves it out; undefined where the standard names nothing. */
export function attributeDefault(
  domain: string,
  op: string,
  opset: number,
  name: string,
): Attribute | undefined {
  return schemaOf(domain, op, opset)?.attributes.get(name)?.fallback;
}

function parseVersions(domain: string, type: string, text: string): readonly OpSchema[] {
  let before: readonly string[] = [];
  return text
    .trim()
    .split("\n")
    .map((line) => {
      const [head = "", ...shown] = line.split("|").map((part) => part.trim());
      const parts = shown.map((part, i) => (part === "=" ? (before[i] ?? "") : part));
      before = parts;
      const [inputs = [], outputs = [], attributes = [], types = []] = parts.map(words);
      const variables = new Map(types.map(parseVariable));
      return {
        domain,
        type,
        since: Number.parseInt(head, 10),
        deprecated: head.endsWith("!"),
        inputs: inputs.map((word) => parseArgument(word, variables)),
        outputs: outputs.map((word) => parseArgument(word, variables)),
        attributes: new Map(attributes.map(parseAttribute)),
      };
    });
}

function words(part: string): string[] {
  return part === "" ? [] : part.split(/ +/);
}

function parseVariable(word: string): [string, ReadonlySet<TypeName>] {
  const at = word.indexOf("=");
  const list = word.slice(at + 1);
  return [word.slice(0, at), list.startsWith("#") ? typeSet(list) : new Set(list.split(";"))];
}

function typeSet(key: string): ReadonlySet<TypeName> {
  const known = SETS.get(key);
  if (known !== undefined) return known;
  const row = present(
    TYPE_SETS.find(([name]) => name === key),
    `the set of types ${key} is in the table`,
  );
  const set: ReadonlySet<TypeName> = new Set(row[1].split(" "));
  SETS.set(key, set);
  return set;
}

function parseArgument(
  word: string,
  variables: ReadonlyMap<string, ReadonlySet<TypeName>>,
): SchemaArgument {
  const found = /^([\w.]+)(\?|[*~]\d+)?:(.+)$/.exec(word);
  assert(found !== null, `"${word}" is an argument of a schema`);
  const [, name = "", mark = "", type = ""] = found;
  const bound = variables.get(type);
  return {
    name,
    option: mark === "" ? "single" : mark === "?" ? "optional" : "variadic",
    minimum: mark.length > 1 ? Number(mark.slice(1)) : 1,
    homogeneous: !mark.startsWith("~"),
    variable: bound === undefined ? undefined : type,
    allowed: bound ?? new Set([type]),
  };
}

const KINDS: readonly AttributeKind[] = [
  ...(["int", "ints", "float", "floats", "string", "strings"] as const),
  ...(["tensor", "sparse_tensor", "graph", "graphs", "type_proto"] as const),
];

function parseAttribute(word: string): [string, SchemaAttribute] {
  const found = /^([\w.]+)(!?):(\w+)(?:=(.+))?$/.exec(word);
  assert(found !== null, `"${word}" is an attribute of a schema`);
  const [, name = "", mark, kindName, json] = found;
  const kind = present(
    KINDS.find((one) => one === kindName),
    `${kindName} is a kind of attribute`,
  );
  const fallback = json === undefined ? undefined : attributeOf(kind, JSON.parse(json));
  return [name, { name, kind, required: mark === "!", fallback }];
}

/** Floats are of 32 bits in a file. */
function attributeOf(kind: AttributeKind, value: unknown): Attribute {
  const list: readonly unknown[] = Array.isArray(value) ? value : [value];
  const numbers = list.map(Number);
  const strings = list.map(String);
  switch (kind) {
    case "int":
      return { kind, value: numbers[0] ?? 0 };
    case "ints":
      return { kind, value: numbers };
    case "float":
      return { kind, value: Math.fround(numbers[0] ?? 0) };
    case "floats":
      return { kind, value: numbers.map(Math.fround) };
    case "string":
      return { kind, value: strings[0] ?? "" };
    case "strings":
      return { kind, value: strings };
    default:
      assert(false, `an attribute of kind ${kind} has no default`);
  }
}
