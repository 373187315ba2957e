// `npm run generate:schema [-- --check]`: writes src/ops/schema.gen.ts from the schemas of the released onnx
// package, which a Python interpreter is asked for. With --check the file is compared and left alone.

import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { schemaDigest } from "./schema-digest.ts";

const VERSION = "1.23.2";
const TARGET = "src/ops/schema.gen.ts";
const BYTES_MAX = 250_000;
/** Sets of up to so many types are written where they are used, longer ones once. */
const INLINE_TYPES = 3;

/** Prints the schemas as JSON: names, types and defaults, no prose. */
const PROGRAM = `
import json, sys
import onnx
from onnx import defs

def default(a):
    v = a.default_value
    kind = a.type.name
    if v.type == 0: return None
    if kind == "INT": return v.i
    if kind == "INTS": return list(v.ints)
    if kind == "FLOAT": return v.f
    if kind == "FLOATS": return list(v.floats)
    if kind == "STRING": return v.s.decode()
    if kind == "STRINGS": return [s.decode() for s in v.strings]
    raise SystemExit("default of an attribute of kind " + kind)

def argument(a):
    return {"name": a.name, "option": a.option.name, "minimum": a.min_arity,
            "homogeneous": a.is_homogeneous, "type": a.type_str}

def schema(s):
    return {"domain": s.domain, "name": s.name, "since": s.since_version, "deprecated": s.deprecated,
            "inputs": [argument(a) for a in s.inputs], "outputs": [argument(a) for a in s.outputs],
            "attributes": [{"name": a.name, "kind": a.type.name, "required": a.required,
                            "default": default(a)} for a in s.attributes.values()],
            "types": {t.type_param_str: list(t.allowed_type_strs) for t in s.type_constraints}}

json.dump({"version": onnx.__version__,
           "schemas": [schema(s) for s in defs.get_all_schemas_with_history()]}, sys.stdout)
`;

interface PythonArgument {
  readonly name: string;
  readonly option: "Single" | "Optional" | "Variadic";
  readonly minimum: number;
  readonly homogeneous: boolean;
  readonly type: string;
}

interface PythonAttribute {
  readonly name: string;
  readonly kind: string;
  readonly required: boolean;
  readonly default: number | string | readonly (number | string)[] | null;
}

interface PythonSchema {
  readonly domain: string;
  readonly name: string;
  readonly since: number;
  readonly deprecated: boolean;
  readonly inputs: readonly PythonArgument[];
  readonly outputs: readonly PythonArgument[];
  readonly attributes: readonly PythonAttribute[];
  readonly types: Readonly<Record<string, readonly string[]>>;
}

function fail(text: string): never {
  process.stderr.write(`${text}\n`);
  process.exit(2);
}

/** What the package says. The wheel is ours to choose: its answer is taken in the form of the program. */
function ask(): readonly PythonSchema[] {
  const python = process.env["PYTHON"] ?? "python3";
  const run = spawnSync(python, ["-"], {
    input: PROGRAM,
    encoding: "utf8",
    maxBuffer: 64 * 1024 * 1024,
  });
  const how =
    `Make an environment with it: python3 -m venv .venv && .venv/bin/pip install onnx==${VERSION}\n` +
    "and run again with PYTHON=.venv/bin/python";
  if (run.error !== undefined || run.status !== 0) {
    const why = run.error?.message ?? run.stderr.trim().split("\n").at(-1) ?? "";
    fail(`${python} cannot say the schemas of onnx ${VERSION}: ${why}\n${how}`);
  }
  const answer: { version: string; schemas: PythonSchema[] } = JSON.parse(run.stdout);
  if (answer.version !== VERSION) {
    fail(`${python} has onnx ${answer.version}, the schemas are those of ${VERSION}\n${how}`);
  }
  return answer.schemas;
}

/** Element types as skipway names them; the others have the same name there. */
const DTYPE_NAMES: ReadonlyMap<string, string> = new Map([
  ["float", "float32"],
  ["double", "float64"],
]);

function dtypeName(name: string): string {
  return DTYPE_NAMES.get(name) ?? name;
}

/** `tensor(float)` → `float32`, `map(int64, float)` → `map(int64,float32)`. */
function typeName(text: string): string {
  return text
    .replaceAll(/tensor\((\w+)\)/g, (_all, name: string) => dtypeName(name))
    .replaceAll(
      /map\((\w+), (\w+)\)/g,
      (_all, key: string, value: string) => `map(${dtypeName(key)},${dtypeName(value)})`,
    );
}

/** The shortest decimal that is the same float32. */
function shortFloat(value: number): number {
  for (let digits = 1; digits <= 9; digits++) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === value) return short;
  }
  return value;
}

function plainName(name: string): string {
  if (!/^[\w.]+$/.test(name)) fail(`the name "${name}" has signs of the format`);
  return name;
}

function argumentText(argument: PythonArgument): string {
  const { option, homogeneous, minimum } = argument;
  const variadic = `${homogeneous ? "*" : "~"}${minimum}`;
  const mark = { Single: "", Optional: "?", Variadic: variadic }[option];
  return `${plainName(argument.name)}${mark}:${typeName(argument.type)}`;
}

function attributeText(attribute: PythonAttribute): string {
  const { kind, required } = attribute;
  const head = `${plainName(attribute.name)}${required ? "!" : ""}:${kind.toLowerCase()}`;
  const value = attribute.default;
  if (value === null) return head;
  const floats = kind.startsWith("FLOAT");
  const json = JSON.stringify(value, (_key, one: unknown) =>
    floats && typeof one === "number" ? shortFloat(one) : one,
  );
  if (/[\s|`$\\]/.test(json)) fail(`the default ${json} has signs of the format`);
  return `${head}=${json}`;
}

/** Sets of types by their key: a check sum, so that a new set does not rename the others. */
class TypeSets {
  readonly keys = new Map<string, string>();

  text(types: readonly string[]): string {
    const names = [...new Set(types.map(typeName))].sort();
    const list = names.join(" ");
    if (names.length <= INLINE_TYPES) return names.join(";");
    const known = this.keys.get(list);
    if (known !== undefined) return known;
    const key = `#${schemaDigest([list]).slice(0, 4)}`;
    if ([...this.keys.values()].includes(key)) fail(`two sets of types have the key ${key}`);
    this.keys.set(list, key);
    return key;
  }
}

/** One line for each version: `since | inputs | outputs | attributes | types`, `=` where unchanged. */
function opText(versions: readonly PythonSchema[], sets: TypeSets): string {
  let before: readonly string[] = [];
  const lines = versions.map((schema) => {
    const used = new Set([...schema.inputs, ...schema.outputs].map((one) => one.type));
    const types = Object.entries(schema.types).filter(([name]) => used.has(name));
    const parts = [
      schema.inputs.map(argumentText).join(" "),
      schema.outputs.map(argumentText).join(" "),
      schema.attributes.map(attributeText).sort().join(" "),
      types
        .map(([name, allowed]) => `${plainName(name)}=${sets.text(allowed)}`)
        .sort()
        .join(" "),
    ];
    const shown = parts.map((part, i) => (part !== "" && part === before[i] ? "=" : part));
    before = parts;
    const since = `${schema.since}${schema.deprecated ? "!" : ""}`;
    return [since, ...shown].join(" | ").trimEnd();
  });
  return lines.join("\n");
}

function fileText(schemas: readonly PythonSchema[]): string {
  const byOp = new Map<string, PythonSchema[]>();
  for (const schema of schemas) {
    const key = `${schema.domain}/${plainName(schema.name)}`;
    byOp.set(key, [...(byOp.get(key) ?? []), schema]);
  }
  const sets = new TypeSets();
  const ops = [...byOp]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, versions]): [string, string] => {
      const text = opText(
        versions.toSorted((a, b) => a.since - b.since),
        sets,
      );
      return [key, `\n${text}`];
    });
  const types = [...sets.keys]
    .map(([list, key]): [string, string] => [key, list])
    .sort(([a], [b]) => (a < b ? -1 : 1));
  const digest = schemaDigest([VERSION, ...types.flat(), ...ops.flat()]);
  const table = (rows: readonly [string, string][], entry: (text: string) => string): string =>
    rows.map(([key, text]) => `  [${JSON.stringify(key)}, ${entry(text)}],\n`).join("");
  return `// Generated by scripts/generate-schema.ts from the schemas of onnx ${VERSION} (Apache-2.0); not edited by
// hand. schema.ts says how it is written.

/** The release of onnx that this was made from. */
export const SCHEMA_VERSION = "${VERSION}";

/** Check sum of the two tables. */
export const SCHEMA_DIGEST = "${digest}";

/** Sets of types that constraints name. */
export const TYPE_SETS: readonly (readonly [string, string])[] = [
${table(types, (text) => JSON.stringify(text))}];

/** A line for each version of each op. */
export const OP_SCHEMAS: readonly (readonly [string, string])[] = [
${table(ops, (text) => `\`${text}\``)}];
`;
}

function main(): number {
  const { values } = parseArgs({ options: { check: { type: "boolean", default: false } } });
  const text = fileText(ask());
  if (text.length > BYTES_MAX) fail(`${TARGET} would have ${text.length} bytes`);
  const same = existsSync(TARGET) && readFileSync(TARGET, "utf8") === text;
  if (values.check) {
    process.stdout.write(`${TARGET} ${same ? "is" : "is not"} what onnx ${VERSION} says\n`);
    return same ? 0 : 1;
  }
  if (!same) writeFileSync(TARGET, text);
  process.stdout.write(`${TARGET}: ${text.length} bytes${same ? ", unchanged" : ""}\n`);
  return 0;
}

process.exitCode = main();
