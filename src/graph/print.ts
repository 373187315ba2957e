// A graph as text, in ONNX's textual syntax: for people who look at a model or at a difference, and for
// tests. docs/reference/text-form.md says what the form holds; `parse.ts` reads it.

import { diagnostic } from "../base/diagnostic.ts";
import { SkipwayError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { boundNames, type Callee, calleeOf, calleesOf } from "./callee.ts";
import type { Attribute, Attributes, Graph, GraphFunction, Node, Value } from "./graph.ts";
import { subgraphs } from "./graph.ts";
import { NodeNames } from "./node-names.ts";
import { elementCount } from "./shape.ts";
import type { TensorRef } from "./tensor.ts";
import { float32Text, numbersPerElement, numberText } from "./text/elements.ts";
import { dataText, typeText } from "./text/types.ts";
import { nameText, quoted, wordText } from "./text/words.ts";

/** How a graph is printed. */
export interface PrintOptions {
  /**
   * Tensors with more elements are printed without them, as `{…}`, which reads back as a tensor whose data
   * is absent. All are printed where left out.
   */
  readonly elideAbove?: number;
}

/** IR version of ONNX 1.16, which skipway writes: a graph does not say what file it came from. */
const IR_VERSION = 10;
const LINE_CHARS = 100;
/** `-2.2250738585072014e-308,` */
const NUMBER_CHARS_MAX = 25;

/**
 * The text form of a graph. Reads back as the same graph, but for attributes of kinds that the form does
 * not have, which it names and leaves out, and for what it has no words for: the lengths of sequences, and
 * what a file says of its nodes besides.
 *
 * @throws SkipwayError `input` if the text would be longer than a string can be.
 * @example
 * console.log(printGraph(model.graph, { elideAbove: 8 }));
 */
export function printGraph(graph: Graph, options: PrintOptions = {}): string {
  const printer = new Printer(options.elideAbove ?? Number.POSITIVE_INFINITY);
  printer.model(graph);
  return printer.text();
}

class Printer {
  readonly #elideAbove: number;
  readonly #pieces: string[] = [];
  #chars = 0;

  constructor(elideAbove: number) {
    this.#elideAbove = elideAbove;
  }

  text(): string {
    return this.#pieces.join("");
  }

  #write(text: string): void {
    this.#chars += text.length;
    if (this.#chars > limits.textCharsMax) throw tooLong();
    this.#pieces.push(text);
  }

  model(graph: Graph): void {
    const { opsets, metadata, functions = new Map<string, GraphFunction>() } = graph;
    if (opsets.size > 0 || metadata.size > 0) {
      const fields = [`ir_version: ${IR_VERSION}`, `opset_import: ${opsetsText(opsets)}`];
      const entries = [...metadata].map(([key, value]) => `${quoted(key)}: ${quoted(value)}`);
      if (entries.length > 0) fields.push(`metadata_props: [${entries.join(", ")}]`);
      this.#list("<", fields, ">", "");
      this.#write("\n");
    }
    this.#graph(graph, "");
    this.#write("\n");
    const called = functions.size === 0 ? new Map<string, Callee>() : calleesOf(graph);
    for (const [key, one] of functions) this.#function(called.get(key) ?? calleeOf(key), one);
  }

  /** Items on one line, or on a line each where that is too long. */
  #list(open: string, items: readonly string[], close: string, indent: string): void {
    const chars = items.reduce((sum, item) => sum + item.length + 2, 0);
    const [start, between, end] =
      chars <= LINE_CHARS ? ["", ", ", ""] : [`\n${indent}  `, `,\n${indent}  `, `\n${indent}`];
    for (const [i, item] of items.entries()) {
      this.#write(`${i === 0 ? `${open}${start}` : between}${item}`);
    }
    this.#write(items.length === 0 ? `${open}${close}` : `${end}${close}`);
  }

  #graph(graph: Graph, indent: string): void {
    this.#write(`${nameText(graph.name)} `);
    this.#list("(", graph.inputs.map(valueText), ")", indent);
    this.#write(" => ");
    this.#list("(", graph.outputs.map(valueText), ")", indent);
    this.#write("\n");
    this.#known(graph, indent);
    this.#nodes(graph.nodes, indent);
  }

  /** Initializers, and what is known of other values. */
  #known({ initializers, values }: Graph, indent: string): void {
    if (initializers.size + values.size === 0) return;
    let separator = `${indent}<\n`;
    for (const [name, ref] of initializers) {
      this.#write(`${separator}${indent}  ${typeText(ref)} ${nameText(name)} = `);
      this.#data(ref);
      separator = ",\n";
    }
    for (const value of values.values()) {
      this.#write(`${separator}${indent}  ${valueText(value)}`);
      separator = ",\n";
    }
    this.#write(`\n${indent}>\n`);
  }

  #data(ref: TensorRef): void {
    const count = elementCount(ref.shape) ?? 0;
    const elide = count > this.#elideAbove;
    const chars = count * numbersPerElement(ref.dtype) * NUMBER_CHARS_MAX;
    if (!elide && ref.data.kind === "bytes" && chars > limits.textCharsMax) throw tooLong();
    this.#write(dataText(ref, elide));
  }

  #nodes(nodes: readonly Node[], indent: string): void {
    const names = new NodeNames();
    this.#write(`${indent}{\n`);
    for (const node of nodes) this.#node(node, names, `${indent}  `);
    this.#write(`${indent}}`);
  }

  #node(node: Node, names: NodeNames, indent: string): void {
    // A name that would be made up again need not be said.
    const label = names.implied(node.op) === node.name ? "" : `[${nameText(node.name)}] `;
    names.take(node.name, node.op);
    this.#write(`${indent}${label}${node.outputs.map(nameText).join(", ")} = ${opText(node)} `);
    const inputs = `(${node.inputs.map(nameText).join(", ")})`;
    // Graphs come last: between an op and its inputs they would part them by pages.
    const graphs = subgraphs(node).length > 0;
    if (graphs) this.#write(`${inputs} `);
    if (node.attributes.size > 0) this.#attributes(node.attributes, graphs ? indent : undefined);
    if (!graphs) this.#write(node.attributes.size > 0 ? ` ${inputs}` : inputs);
    this.#write("\n");
  }

  /** On a line each below `indent`, or on one line. */
  #attributes(attributes: Attributes, indent: string | undefined): void {
    let separator = indent === undefined ? "<" : `<\n${indent}  `;
    for (const [name, attribute] of attributes) {
      this.#write(`${separator}${wordText(name)}`);
      this.#attribute(attribute, `${indent ?? ""}  `);
      separator = indent === undefined ? ", " : `,\n${indent}  `;
    }
    this.#write(indent === undefined ? ">" : `\n${indent}>`);
  }

  /** What stands after the name: the type where the value does not show it, and the value. */
  #attribute(attribute: Attribute, indent: string): void {
    switch (attribute.kind) {
      case "graph":
        this.#write(" = ");
        this.#graph(attribute.value, indent);
        break;
      case "graphs":
        this.#write(": graphs = [");
        for (const [i, graph] of attribute.value.entries()) {
          if (i > 0) this.#write(", ");
          this.#graph(graph, indent);
        }
        this.#write("]");
        break;
      case "tensor": {
        // Without the equals sign, where the data of a scalar is would be read as its shape.
        const equals = attribute.value.data.kind === "external" ? " =" : "";
        this.#write(` = ${typeText(attribute.value)}${equals} `);
        this.#data(attribute.value);
        break;
      }
      default:
        this.#write(plainText(attribute));
    }
  }

  #function({ domain, op, overload = "" }: Callee, one: GraphFunction): void {
    const variant = overload === "" ? "" : `, overload: ${quoted(overload)}`;
    const opsets = opsetsText(one.opsets);
    this.#write(`\n<domain: ${quoted(domain)}${variant}, opset_import: ${opsets}>\n`);
    this.#write(nameText(op));
    const required = [...boundNames(one.nodes)].filter((name) => !one.defaults.has(name));
    if (required.length + one.defaults.size > 0) this.#formals(required, one.defaults);
    this.#write(` (${one.inputs.map(nameText).join(", ")}) =>`);
    this.#write(` (${one.outputs.map(nameText).join(", ")})\n`);
    this.#nodes(one.nodes, "");
    this.#write("\n");
  }

  /** The attributes of a function: those that a call must give, then those with a value of their own. */
  #formals(required: readonly string[], defaults: Attributes): void {
    this.#write(` <${required.map(wordText).join(", ")}`);
    let separator = required.length === 0 ? "" : ", ";
    for (const [name, attribute] of defaults) {
      this.#write(`${separator}${wordText(name)}`);
      this.#attribute(attribute, "  ");
      separator = ", ";
    }
    this.#write(">");
  }
}

function plainText(attribute: Exclude<Attribute, { kind: "graph" | "graphs" | "tensor" }>): string {
  switch (attribute.kind) {
    case "int":
      return ` = ${attribute.value}`;
    case "float":
      return ` = ${floatText(attribute.value)}`;
    case "string":
      return ` = ${quoted(attribute.value)}`;
    case "ints":
      return listText("ints", attribute.value.map(String));
    case "floats":
      return listText("floats", attribute.value.map(floatText));
    case "strings":
      return listText("strings", attribute.value.map(quoted));
    case "reference": {
      const type = attribute.type === undefined ? "" : `: ${attribute.type}`;
      return `${type} = @${wordText(attribute.attribute)}`;
    }
    case "opaque":
      return " = …";
  }
}

/** An empty list does not show its type. */
function listText(type: string, items: readonly string[]): string {
  return `${items.length === 0 ? `: ${type}` : ""} = [${items.join(", ")}]`;
}

function valueText(value: Value): string {
  return `${typeText(value)} ${nameText(value.name)}`;
}

function opsetsText(opsets: ReadonlyMap<string, number>): string {
  const entries = [...opsets].map(([domain, version]) => `${quoted(domain)} : ${version}`);
  return `[${entries.join(", ")}]`;
}

/** A domain whose parts are names is written as it is, as in `ai.onnx.ml.Scaler`. */
function opText({ domain, op, overload = "" }: Callee): string {
  const called = overload === "" ? wordText(op) : `${wordText(op)}:${wordText(overload)}`;
  if (domain === "") return called;
  const plain = domain.split(".").every((part) => wordText(part) === part);
  return `${plain ? domain : quoted(domain)}.${called}`;
}

/** With a point or exponent, by which a float is told from an integer. */
function floatText(value: number): string {
  const text = Math.fround(value) === value ? float32Text(value) : numberText(value);
  return /^-?\d+$/.test(text) ? `${text}.0` : text;
}

function tooLong(): SkipwayError {
  return SkipwayError.fromDiagnostics("input", [
    diagnostic({
      id: "text/limit",
      severity: "error",
      where: "the text of the graph",
      text: `would have more than ${limits.textCharsMax} characters`,
      fix: "Leave out the elements of large tensors (elideAbove).",
    }),
  ]);
}
