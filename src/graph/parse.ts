// A graph from its text form, the inverse of `print.ts`: a subset of ONNX's textual syntax, whose grammar
// is in docs/reference/text-form.md. One pass with one token of look-ahead; nesting is bounded, and the
// memory taken is that of the graph read so far.

import { diagnostic } from "../base/diagnostic.ts";
import { SkipwayError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import type {
  Attribute,
  AttributeInt,
  AttributeType,
  Graph,
  GraphFunction,
  Node,
  Value,
  ValueName,
} from "./graph.ts";
import { functionKey, NO_ATTRIBUTES } from "./graph.ts";
import { NodeNames } from "./node-names.ts";
import type { TensorRef } from "./tensor.ts";
import { floatOf, integerOf } from "./text/elements.ts";
import { type Fault, Scanner } from "./text/scanner.ts";
import { isType, readTensor, readType, typeFix, UNKNOWN_TYPE } from "./text/types.ts";
import { isFloatWord } from "./text/words.ts";
import { typeOnly } from "./value-type.ts";
import { graphDiagnostics } from "./verify.ts";

/** How a text is read. */
export interface ParseOptions {
  /** What findings call the text, such as the name of its file. "text" where left out. */
  readonly source?: string;
  /** Operator sets of a text that names none. None where left out. */
  readonly opsets?: ReadonlyMap<string, number>;
}

/**
 * Reads a graph from its text form.
 *
 * @throws SkipwayError `input`: where the text breaks the grammar, with line, column and what was expected
 * there; where the graph is not sound, with all errors that it has.
 * @example
 * const graph = parseGraph(`
 *   <opset_import: ["" : 20]>
 *   block (float[N,8] x) => (float[N,8] y) { h = Relu (x)  y = Add (h, x) }
 * `);
 */
export function parseGraph(text: string, options: ParseOptions = {}): Graph {
  const source = options.source ?? "text";
  if (text.length > limits.textCharsMax) throw tooLong(source, text.length);
  const graph = new Parser(new Scanner(text, source)).model(options.opsets ?? new Map());
  // As with files, what is only a warning does not stand against reading.
  const faults = graphDiagnostics(graph)
    .filter((one) => one.severity === "error")
    .map((one) => ({
      ...one,
      where: `${source}: ${one.where}`,
      fix: "Define every name once, before it is read.",
    }));
  if (faults.length > 0) throw SkipwayError.fromDiagnostics("input", faults);
  return graph;
}

/** What stands in angle brackets before a graph or a function. */
interface Header {
  readonly opsets: Map<string, number> | undefined;
  readonly metadata: ReadonlyMap<string, string>;
  /** These two are of a function; those of a model are read past. */
  readonly domain: string;
  readonly overload: string;
}

const HEADER_INTEGERS: ReadonlySet<string> = new Set(["ir_version", "model_version"]);
const HEADER_STRINGS: ReadonlySet<string> = new Set([
  ...["producer_name", "producer_version", "domain", "doc_string", "overload"],
]);

/** Types of attributes by their words; `undefined` for those that the graph keeps unread. */
const ELEMENT_KINDS: ReadonlyMap<AttributeType, "int" | "float" | "string" | "tensor" | "graph"> =
  new Map([
    ["int", "int"],
    ["ints", "int"],
    ["float", "float"],
    ["floats", "float"],
    ["string", "string"],
    ["strings", "string"],
    ["tensor", "tensor"],
    ["graph", "graph"],
    ["graphs", "graph"],
  ]);
const TYPE_WORDS: readonly AttributeType[] = [
  ...ELEMENT_KINDS.keys(),
  ...(["tensors", "sparse_tensor", "sparse_tensors", "type_proto", "type_protos"] as const),
];

class Parser {
  readonly #s: Scanner;
  #opsets: ReadonlyMap<string, number> = new Map();

  constructor(scanner: Scanner) {
    this.#s = scanner;
  }

  /** A header, a graph, and the functions that it calls. */
  model(opsets: ReadonlyMap<string, number>): Graph {
    const header = this.#header();
    this.#opsets = header.opsets ?? opsets;
    const graph = { ...this.#graph(0), metadata: header.metadata };
    const functions = new Map<string, GraphFunction>();
    while (this.#s.kind !== "end") {
      const at = this.#s.start;
      if (this.#s.kind !== "<" && !this.#s.isName)
        this.#s.fail("a function or the end of the text");
      const [key, one] = this.#function();
      if (functions.has(key)) this.#twice(`the function "${key}"`, at);
      functions.set(key, one);
    }
    return functions.size === 0 ? graph : { ...graph, functions };
  }

  #twice(what: string, at: number): never {
    return this.#s.fail("", {
      at,
      id: "text/duplicate",
      text: `${what} stands in the text twice`,
      fix: "Leave one of them.",
    });
  }

  #outside(text: string, fault: Fault = {}): never {
    return this.#s.fail("", {
      id: "text/subset",
      text,
      fix: "Read the ONNX file itself; docs/reference/text-form.md says what the text form leaves out.",
      ...fault,
    });
  }

  #header(): Header {
    const s = this.#s;
    const metadata = new Map<string, string>();
    let opsets: Map<string, number> | undefined;
    let [domain, overload] = ["", ""];
    if (!s.accept("<")) return { opsets, metadata, domain, overload };
    do {
      const at = s.start;
      const key = s.take("name", "a field, such as opset_import");
      s.take(":");
      const value = s.value;
      if (key === "opset_import") {
        opsets = new Map();
        const into = opsets;
        this.#entries((name) => into.set(plainDomain(name), this.#version()));
      } else if (key === "metadata_props") {
        this.#entries((name) => metadata.set(name, s.take("string", "a value in quotes")));
      } else if (HEADER_INTEGERS.has(key)) this.#version();
      else if (HEADER_STRINGS.has(key)) s.take("string", "a string in quotes");
      else s.fail("", { at, text: `"${key.slice(0, 40)}" is no field of a model or function` });
      if (key === "overload") overload = value;
      if (key === "domain") domain = plainDomain(value);
    } while (s.accept(","));
    s.take(">", '"," or ">"');
    return { opsets, metadata, domain, overload };
  }

  /** `["key" : …, …]`, empty or not. */
  #entries(read: (key: string) => void): void {
    const s = this.#s;
    s.take("[");
    if (s.accept("]")) return;
    do {
      const key = s.take("string", "a key in quotes");
      s.take(":");
      read(key);
    } while (s.accept(","));
    s.take("]", '"," or "]"');
  }

  #version(): number {
    return Number(integerOf(this.#s, 53, false));
  }

  #graph(depth: number): Graph {
    const s = this.#s;
    if (depth > limits.subgraphDepthMax) {
      s.fail("", {
        id: "text/limit",
        text: `graphs are nested deeper than ${limits.subgraphDepthMax}`,
        fix: "Simplify the model; no real model comes near this limit.",
      });
    }
    const name = s.name("the name of a graph");
    const initializers = new Map<ValueName, TensorRef>();
    const inputs = this.#declared("(", ")", initializers);
    s.take("=>");
    const outputs = this.#declared("(", ")");
    const known = s.kind === "<" ? this.#declared("<", ">", initializers, true) : [];
    return {
      name,
      inputs,
      outputs,
      nodes: this.#nodes(depth),
      initializers,
      values: new Map(known.map((value) => [value.name, value])),
      opsets: this.#opsets,
      metadata: new Map(),
    };
  }

  /**
   * Values with their types. One with elements is an initializer too, or instead where `apart` says that
   * the list holds either.
   */
  #declared(
    open: "(" | "<",
    close: ")" | ">",
    initializers?: Map<ValueName, TensorRef>,
    apart = false,
  ): Value[] {
    const s = this.#s;
    const values: Value[] = [];
    s.take(open);
    if (s.accept(close)) return values;
    do {
      const at = s.start;
      const type = isType(s) ? readType(s) : UNKNOWN_TYPE;
      const name = s.name("the name of a value");
      if (type === UNKNOWN_TYPE && (s.kind === "[" || s.isName)) {
        s.fail("", { at, text: `"${name.slice(0, 40)}" is no type`, fix: typeFix(name) });
      }
      const initial = initializers !== undefined && s.kind === "=";
      if (initial) {
        if (initializers.has(name)) this.#twice(`the initializer "${name}"`, at);
        initializers.set(name, readTensor(s, type, at));
      }
      if (!initial || !apart) values.push({ name, ...typeOnly(type) });
    } while (s.accept(","));
    s.take(close, `"," or "${close}"`);
    return values;
  }

  #nodes(depth: number): Node[] {
    const s = this.#s;
    const nodes: Node[] = [];
    const names = new NodeNames();
    s.take("{");
    while (!s.accept("}")) {
      if (nodes.length === limits.nodesMax) {
        s.fail("", {
          id: "text/limit",
          text: `has more than ${limits.nodesMax} nodes`,
          fix: "Simplify the model; no real model comes near this limit.",
        });
      }
      nodes.push(this.#node(names, depth));
    }
    return nodes;
  }

  #node(names: NodeNames, depth: number): Node {
    const s = this.#s;
    let label = "";
    if (s.accept("[")) {
      if (s.isName) label = s.name("the name of a node");
      s.take("]");
    }
    const outputs = this.#names();
    s.take("=", outputs.length === 0 ? 'a node or "}"' : '"," or "="');
    const operator = this.#operator();
    let attributes = s.kind === "<" ? this.#attributes(depth) : NO_ATTRIBUTES;
    s.take("(");
    const inputs = this.#names();
    s.take(")", '"," or ")"');
    if (s.kind === "<" && attributes.size === 0) attributes = this.#attributes(depth);
    return { name: names.take(label, operator.op), ...operator, inputs, outputs, attributes };
  }

  /** Names with commas between; nothing between two commas, or `""`, is an argument left out. */
  #names(): ValueName[] {
    const s = this.#s;
    const names: ValueName[] = [];
    for (;;) {
      if (s.isName) names.push(s.name("a name"));
      else if (s.kind === ",") names.push("");
      else return names;
      if (!s.accept(",")) return names;
    }
  }

  /** The op, with its domain before it and its overload behind. */
  #operator(): Pick<Node, "op" | "domain" | "overload"> {
    const s = this.#s;
    const parts = [s.name("an op")];
    while (s.accept(".")) parts.push(s.name("a part of a domain, or an op"));
    const overload = s.accept(":") ? s.name("the name of an overload") : "";
    const op = parts.pop() ?? "";
    const domain = plainDomain(parts.join("."));
    return overload === "" ? { op, domain } : { op, domain, overload };
  }

  #attributes(depth: number): Map<string, Attribute> {
    const s = this.#s;
    const attributes = new Map<string, Attribute>();
    s.take("<");
    do {
      const at = s.start;
      const name = s.name("the name of an attribute");
      if (attributes.has(name)) this.#twice(`the attribute "${name}"`, at);
      attributes.set(name, this.#attribute(depth));
    } while (s.accept(","));
    s.take(">", '"," or ">"');
    return attributes;
  }

  /** What stands after the name of an attribute. */
  #attribute(depth: number): Attribute {
    const s = this.#s;
    const typeAt = s.start;
    const type = s.accept(":") ? this.#attributeType() : undefined;
    s.take("=", type === undefined ? '":" or "="' : '"="');
    if (s.accept("@")) {
      const attribute = s.name("the name of an attribute of the function");
      return { kind: "reference", attribute, ...(type === undefined ? {} : { type }) };
    }
    const wanted = type === undefined ? undefined : ELEMENT_KINDS.get(type);
    if (type !== undefined && wanted === undefined) {
      this.#outside(`attributes of type ${type} are not read`, { at: typeAt });
    }
    const plural = type?.endsWith("s");
    if (s.kind === "[" && plural !== false) return this.#list(wanted, depth);
    if (plural === true) s.fail('a list in "[]"');
    return this.#single(wanted, depth);
  }

  #attributeType(): AttributeType {
    const s = this.#s;
    const type = TYPE_WORDS.find((word) => s.kind === "name" && s.value === word);
    if (type === undefined) return s.fail(`a type of attributes: ${TYPE_WORDS.join(", ")}`);
    s.next();
    return type;
  }

  #list(wanted: Single["kind"] | undefined, depth: number): Attribute {
    const s = this.#s;
    const items: Single[] = [];
    s.take("[");
    if (s.accept("]")) {
      if (wanted === undefined) {
        s.fail("", {
          text: "an empty list needs its type",
          fix: "Write it before the equals sign, as in axes: ints = [].",
        });
      }
    } else {
      do {
        const kind: Single["kind"] | undefined = wanted ?? items[0]?.kind;
        items.push(this.#single(kind, depth));
      } while (s.accept(","));
      s.take("]", '"," or "]"');
    }
    const list = listOf(items, wanted ?? items[0]?.kind);
    return list ?? this.#outside("lists of tensors are not read");
  }

  /** One value, which must be of the kind wanted if there is one. An integer can stand for a float. */
  #single(wanted: Single["kind"] | undefined, depth: number): Single {
    const s = this.#s;
    const at = s.start;
    if (wanted === "float" && s.kind === "integer")
      return { kind: "float", value: floatOf(s, "float32") };
    const found = this.#value(depth);
    if (wanted !== undefined && wanted !== found.kind) {
      s.fail("", {
        at,
        text: `expected a value of type ${wanted}, found one of type ${found.kind}`,
        fix: "Give all values of a list one type; 1.0 is a float, 1 an int.",
      });
    }
    return found;
  }

  #value(depth: number): Single {
    const s = this.#s;
    if (s.kind === "integer") return { kind: "int", value: attributeInt(integerOf(s, 64, true)) };
    if (s.kind === "decimal") return { kind: "float", value: floatOf(s, "float32") };
    if (s.kind === "…") this.#outside("the value of this attribute was left out of the text");
    if (s.kind === "string" && s.following() !== "(") {
      return { kind: "string", value: s.name("a string") };
    }
    if (!s.isName) s.fail("the value of an attribute");
    if (isType(s)) return this.#tensor();
    if (s.kind === "name" && isFloatWord(s.value)) {
      return { kind: "float", value: floatOf(s, "float32") };
    }
    return { kind: "graph", value: this.#graph(depth + 1) };
  }

  #tensor(): Single {
    const s = this.#s;
    const at = s.start;
    const type = readType(s);
    // The name of a tensor in an attribute means nothing.
    const named = s.isName;
    if (named) s.next();
    if (!named && s.kind !== "{" && s.kind !== "[" && s.kind !== "=" && s.kind !== "…") {
      this.#outside("attributes of type type_proto are not read", { at });
    }
    return { kind: "tensor", value: readTensor(s, type, at) };
  }

  #function(): [key: string, one: GraphFunction] {
    const s = this.#s;
    const { domain, overload, opsets = new Map<string, number>() } = this.#header();
    const op = s.name("the name of a function");
    const defaults = s.kind === "<" ? this.#formals() : NO_ATTRIBUTES;
    const inputs = this.#declared("(", ")").map((value) => value.name);
    s.take("=>");
    const outputs = this.#declared("(", ")").map((value) => value.name);
    // The graph does not keep the types of values in functions: they are inferred where one is called.
    if (s.kind === "<") this.#declared("<", ">");
    const one = { inputs, outputs, nodes: this.#nodes(0), defaults, opsets };
    return [functionKey({ domain, op, overload }), one];
  }

  /** Names of attributes that a call must give, which nodes show too, and attributes with values. */
  #formals(): Map<string, Attribute> {
    const s = this.#s;
    const defaults = new Map<string, Attribute>();
    s.take("<");
    do {
      const at = s.start;
      const name = s.name("the name of an attribute");
      if (s.kind !== ":" && s.kind !== "=") continue;
      if (defaults.has(name)) this.#twice(`the attribute "${name}"`, at);
      defaults.set(name, this.#attribute(0));
    } while (s.accept(","));
    s.take(">", '"," or ">"');
    return defaults;
  }
}

/** An attribute of one value. */
type Single = Extract<Attribute, { kind: "int" | "float" | "string" | "tensor" | "graph" }>;

/** The attribute of a list; undefined for kinds of which there are no lists. */
function listOf(items: readonly Single[], kind: Single["kind"] | undefined): Attribute | undefined {
  switch (kind) {
    case "int":
      return { kind: "ints", value: items.flatMap((one) => (one.kind === kind ? one.value : [])) };
    case "float":
      return {
        kind: "floats",
        value: items.flatMap((one) => (one.kind === kind ? one.value : [])),
      };
    case "string":
      return {
        kind: "strings",
        value: items.flatMap((one) => (one.kind === kind ? one.value : [])),
      };
    case "graph":
      return {
        kind: "graphs",
        value: items.flatMap((one) => (one.kind === kind ? one.value : [])),
      };
    default:
      return undefined;
  }
}

function attributeInt(value: bigint): AttributeInt {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

/** "ai.onnx" is another spelling of the standard domain. */
function plainDomain(domain: string): string {
  return domain === "ai.onnx" ? "" : domain;
}

function tooLong(source: string, chars: number): SkipwayError {
  return SkipwayError.fromDiagnostics("input", [
    diagnostic({
      id: "text/limit",
      severity: "error",
      where: source,
      text: `has ${chars} characters, at most ${limits.textCharsMax} are read`,
      fix: "Keep large tensors in an ONNX file; the text form is for looking at graphs.",
    }),
  ]);
}
