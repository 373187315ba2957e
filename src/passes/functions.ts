// Layers as functions of the model. The names of nodes are paths (`stage2.block1.conv.conv`); the nodes of
// one layer become one function, called with its activations and weights, and layers of the same make call
// the same one. `inlineFunctions` is the way back. Exporters write networks like this.

import type { Attribute, Graph, GraphFunction, Node, ValueName } from "../graph/graph.ts";
import { functionKey, subgraphs } from "../graph/graph.ts";
import { captures, indexOf } from "../graph/query.ts";

/** The domain of the functions made here. */
const DOMAIN = "skipway.layers";

/** Layers within layers that become calls within calls; half of what inlining follows. */
const DEPTH_MAX = 32;

/**
 * The graph with a function for every layer, nested as the layers are. Bodies of control flow stay whole.
 * The same graph back if the name of no node is a path.
 *
 * @example
 * withFunctions(graph) // residual2 = skipway.layers.residual (relu.output, residual2.conv.weight, …)
 */
export function withFunctions(graph: Graph): Graph {
  if (!graph.nodes.some((node) => pathOf(node).length > 0)) return graph;
  const extraction = new Extraction(graph);
  const nodes = extraction.calls(graph.nodes, 0);
  const visible = new Set([...graph.inputs, ...graph.outputs].map(({ name }) => name));
  for (const node of nodes) for (const name of node.outputs) visible.add(name);
  return {
    ...graph,
    nodes,
    values: new Map([...graph.values].filter(([name]) => visible.has(name))),
    opsets: extraction.opsets,
    functions: extraction.functions,
  };
}

/** The layers around a node, outermost first. One that is called as what it gives hands on an output. */
function pathOf(node: Node): readonly string[] {
  if (node.outputs.includes(node.name)) return [];
  return node.name.split(".").slice(0, -1);
}

class Extraction {
  readonly functions: Map<string, GraphFunction>;
  readonly opsets: ReadonlyMap<string, number>;
  readonly #graph: Graph;
  /** Names of functions by what they compute: the same nodes under the same names. */
  readonly #known = new Map<string, string>();
  readonly #nodeNames: Set<string>;
  readonly #lastReads: ReadonlyMap<ValueName, number>;

  constructor(graph: Graph) {
    this.#graph = graph;
    this.functions = new Map(graph.functions);
    this.opsets = new Map([...graph.opsets, [DOMAIN, 1]]);
    this.#nodeNames = new Set(graph.nodes.map((node) => node.name));
    this.#lastReads = lastReads(graph);
  }

  /**
   * Nodes with those of one layer, which stand together, as one call. `depth` is the number of layers around
   * them. A layer whose nodes are torn apart becomes several calls.
   */
  calls(nodes: readonly Node[], depth: number): Node[] {
    if (depth === DEPTH_MAX) return [...nodes];
    const found: Node[] = [];
    for (let at = 0; at < nodes.length; ) {
      const [first, end] = [nodes[at], endOfLayer(nodes, at, depth)];
      if (first === undefined) break;
      const layer = nodes.slice(at, end);
      const isLayer = pathOf(first).length > depth;
      found.push(...(isLayer ? this.#call(layer, depth) : layer));
      at = end;
    }
    return found;
  }

  /** The call that stands for a layer; its nodes as they are, where nobody reads what they make. */
  #call(layer: readonly Node[], depth: number): readonly Node[] {
    const path = layer[0] === undefined ? [] : pathOf(layer[0]).slice(0, depth + 1);
    const { inputs, outputs } = this.#ends(layer);
    if (outputs.length === 0) return layer;
    const inner = this.calls(layer, depth + 1);
    const rename = new LocalNames(`${path.join(".")}.`, this.#graph);
    const one: GraphFunction = {
      inputs: inputs.map(rename.value),
      nodes: inner.map((node) => local(node, rename)),
      outputs: outputs.map(rename.value),
      defaults: new Map(),
      opsets: this.opsets,
    };
    const op = this.#take(one, path.at(-1) ?? "");
    const name = this.#free(path.join("."));
    return [{ name, op, domain: DOMAIN, inputs, outputs, attributes: new Map() }];
  }

  /** What the nodes of a layer read from outside, and what of theirs is read there. */
  #ends(layer: readonly Node[]): { inputs: ValueName[]; outputs: ValueName[] } {
    const { positions, outputs } = indexOf(this.#graph);
    const made = new Set(layer.flatMap((node) => node.outputs));
    const read = new Set(layer.flatMap(readsOf));
    const last = layer.at(-1);
    const end = last === undefined ? -1 : (positions.get(last) ?? -1);
    const isRead = (name: ValueName): boolean =>
      outputs.has(name) || (this.#lastReads.get(name) ?? -1) > end;
    return {
      inputs: [...read].filter((name) => name !== "" && !made.has(name)),
      outputs: [...made].filter((name) => name !== "" && isRead(name)),
    };
  }

  /** The name of a function that computes this. `conv2` is the second `conv` of its layer. */
  #take(one: GraphFunction, layer: string): string {
    const content = JSON.stringify([one.inputs, one.outputs, one.nodes], plain);
    const stem = layer.replace(/\d+$/, "").replaceAll(/\W/g, "_") || "layer";
    const known = this.#known.get(`${stem} ${content}`);
    if (known !== undefined) return known;
    const keyOf = (n: number): string => (n === 1 ? stem : `${stem}_${n}`);
    let n = 1;
    while (this.functions.has(functionKey({ domain: DOMAIN, op: keyOf(n) }))) n++;
    const op = keyOf(n);
    this.functions.set(functionKey({ domain: DOMAIN, op }), one);
    this.#known.set(`${stem} ${content}`, op);
    return op;
  }

  #free(stem: string): string {
    let name = stem;
    for (let n = 2; this.#nodeNames.has(name); n++) name = `${stem}_${n}`;
    this.#nodeNames.add(name);
    return name;
  }
}

/** Where the nodes end that are in the same layer as the one at a position, or beside it in none. */
function endOfLayer(nodes: readonly Node[], at: number, depth: number): number {
  const layerOf = (position: number): string | undefined => {
    const node = nodes[position];
    return node === undefined ? undefined : pathOf(node)[depth];
  };
  const layer = layerOf(at);
  let end = at + 1;
  while (end < nodes.length && layerOf(end) === layer) end++;
  return end;
}

/** The position of the last node that reads each value. */
function lastReads(graph: Graph): ReadonlyMap<ValueName, number> {
  const found = new Map<ValueName, number>();
  graph.nodes.forEach((node, position) => {
    for (const name of readsOf(node)) found.set(name, position);
  });
  return found;
}

function readsOf(node: Node): ValueName[] {
  return [...node.inputs, ...subgraphs(node).flatMap((body) => [...captures(body)])];
}

/** Names inside a function: without the path of the layer, so that layers of the same make agree. */
class LocalNames {
  readonly #prefix: string;
  readonly #graph: Graph;
  readonly #names = new Map<ValueName, ValueName>([["", ""]]);
  readonly #taken = new Set<ValueName>();

  constructor(prefix: string, graph: Graph) {
    this.#prefix = prefix;
    this.#graph = graph;
  }

  node = (name: string): string =>
    name.startsWith(this.#prefix) ? name.slice(this.#prefix.length) : name;

  value = (name: ValueName): ValueName => {
    const known = this.#names.get(name);
    if (known !== undefined) return known;
    const stem = this.#stem(name);
    let chosen = stem;
    for (let n = 2; this.#taken.has(chosen); n++) chosen = `${stem}${n}`;
    this.#names.set(name, chosen);
    this.#taken.add(chosen);
    return chosen;
  };

  /** What comes from other layers is called after what it is, not after where it comes from. */
  #stem(name: ValueName): string {
    if (name.startsWith(this.#prefix)) return name.slice(this.#prefix.length);
    return this.#graph.initializers.has(name) ? "constant" : "x";
  }
}

/** A node as it stands in a function, with the bodies inside it. */
function local(node: Node, rename: LocalNames): Node {
  const { originals: _of, ...rest } = node;
  return {
    ...rest,
    name: rename.node(node.name),
    inputs: node.inputs.map(rename.value),
    outputs: node.outputs.map(rename.value),
    attributes: new Map(
      [...node.attributes].map(([name, attribute]) => [name, localAttribute(attribute, rename)]),
    ),
  };
}

function localAttribute(attribute: Attribute, rename: LocalNames): Attribute {
  if (attribute.kind === "graph")
    return { kind: "graph", value: localBody(attribute.value, rename) };
  if (attribute.kind !== "graphs") return attribute;
  return { kind: "graphs", value: attribute.value.map((body) => localBody(body, rename)) };
}

function localBody(body: Graph, rename: LocalNames): Graph {
  const value = <V extends { name: ValueName }>(one: V): V => ({
    ...one,
    name: rename.value(one.name),
  });
  return {
    ...body,
    name: rename.node(body.name),
    inputs: body.inputs.map(value),
    outputs: body.outputs.map(value),
    initializers: new Map([...body.initializers].map(([name, ref]) => [rename.value(name), ref])),
    // As of the function's own values, nothing is said of types: the runtime infers them for each call.
    values: new Map(),
    nodes: body.nodes.map((node) => local(node, rename)),
  };
}

/** What JSON leaves out. */
function plain(_key: string, value: unknown): unknown {
  if (value instanceof Map) return [...value];
  if (value instanceof Uint8Array) return Buffer.from(value).toString("base64");
  return typeof value === "bigint" ? `${value}n` : value;
}
