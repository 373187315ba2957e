// Model-local functions, put in the place of their calls. Exporters wrap every layer of a network in
// one; skips can only be seen across them.

import { diagnostic } from "../base/diagnostic.ts";
import { SkipwayError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import type {
  Attribute,
  Attributes,
  Graph,
  GraphFunction,
  Node,
  ValueName,
} from "../graph/graph.ts";
import { functionKey, NO_ATTRIBUTES, subgraphs } from "../graph/graph.ts";
import { originalsWithin, ownOriginals } from "../graph/original.ts";
import { FreshNames } from "./fresh-names.ts";

/** Calls within calls: real exports stay below ten. A function that calls itself ends here. */
const DEPTH_MAX = 64;

/**
 * Replaces every call of a function by the function's nodes. Names inside are prefixed with the name of
 * the call. The same graph back if it calls none.
 *
 * @param wanted keys of the functions to be replaced; all if left out. Calls within functions that stay, stay.
 * @throws SkipwayError `input` for functions that call themselves, or that unfold beyond `nodesMax`.
 */
export function inlineFunctions(graph: Graph, wanted?: ReadonlySet<string>): Graph {
  const { functions: all } = graph;
  if (all === undefined) return graph;
  const functions = new Map([...all].filter(([key]) => wanted === undefined || wanted.has(key)));
  new Unfolding(functions).count(graph.nodes, 0);
  const { functions: _inlined, ...rest } = graph;
  const opsets = new Map(graph.opsets);
  for (const one of functions.values()) {
    for (const [domain, version] of one.opsets) {
      if (!opsets.has(domain)) opsets.set(domain, version);
    }
  }
  const calls = { functions, names: new FreshNames(graph) };
  const nodes = expand(graph.nodes, calls, 0);
  const left = functions.size === all.size ? undefined : stillCalled(nodes, all);
  return { ...rest, opsets, nodes, ...(left && { functions: left }) };
}

/** The functions that nodes call, and those that these call. */
function stillCalled(nodes: readonly Node[], all: Functions): Functions | undefined {
  const found = new Map<string, GraphFunction>();
  const open = [nodes];
  for (let within = open.pop(); within !== undefined; within = open.pop()) {
    for (const node of within) {
      open.push(...subgraphs(node).map((body) => body.nodes));
      const key = functionKey(node);
      const called = all.get(key);
      if (called === undefined || found.has(key)) continue;
      found.set(key, called);
      open.push(called.nodes);
    }
  }
  // In the order of the file.
  return found.size === 0 ? undefined : new Map([...all].filter(([key]) => found.has(key)));
}

/** What calls are unfolded with. */
interface Calls {
  readonly functions: Functions;
  readonly names: FreshNames;
}

type Functions = ReadonlyMap<string, GraphFunction>;

function calledBy(node: Node, functions: Functions): GraphFunction | undefined {
  return functions.get(functionKey(node));
}

/** What nodes unfold to: how many, and how many names of values, attributes and weights they have. */
interface Size {
  nodes: number;
  names: number;
}

/**
 * Counts what nodes unfold to before anything is unfolded: each function once, however often it is
 * called.
 */
class Unfolding {
  readonly #functions: Functions;
  readonly #sizes = new Map<GraphFunction, Size>();

  constructor(functions: Functions) {
    this.#functions = functions;
  }

  /** Size of nodes, with that of their bodies. */
  count(nodes: readonly Node[], depth: number): Size {
    const total: Size = { nodes: 0, names: 0 };
    const add = (size: Size): void => {
      total.nodes += size.nodes;
      total.names += size.names;
    };
    for (const node of nodes) {
      const called = calledBy(node, this.#functions);
      if (called === undefined) {
        add({ nodes: 1, names: namesOf(node) });
        for (const body of subgraphs(node)) {
          add({ nodes: 0, names: namesOfBody(body) });
          add(this.count(body.nodes, depth));
        }
      } else {
        if (depth >= DEPTH_MAX) throw tooMuch(node, "call one another without end");
        add(this.#sizeOf(called, depth + 1));
      }
      if (total.nodes > limits.nodesMax || total.names > limits.unfoldedNamesMax) {
        throw tooMuch(node, "unfold beyond the limit");
      }
    }
    return total;
  }

  #sizeOf(called: GraphFunction, depth: number): Size {
    const size = this.#sizes.get(called) ?? this.count(called.nodes, depth);
    this.#sizes.set(called, size);
    return { nodes: size.nodes, names: size.names + called.inputs.length + called.outputs.length };
  }
}

function namesOf({ inputs, outputs, attributes }: Node): number {
  return inputs.length + outputs.length + attributes.size;
}

function namesOfBody({ inputs, outputs, initializers, values }: Graph): number {
  return inputs.length + outputs.length + initializers.size + values.size;
}

function expand(nodes: readonly Node[], calls: Calls, depth: number): Node[] {
  return nodes.flatMap((node) => {
    const called = calledBy(node, calls.functions);
    if (called === undefined) {
      return [withBodies(node, (body) => ({ ...body, nodes: expand(body.nodes, calls, depth) }))];
    }
    if (depth >= DEPTH_MAX) throw tooMuch(node, "call one another without end");
    return expand(instantiate(node, called, calls.names), calls, depth + 1);
  });
}

/** The nodes of one call: values renamed, attributes bound; calls among them stay. */
export function instantiate(call: Node, called: GraphFunction, fresh: FreshNames): Node[] {
  const names = new Map<ValueName, ValueName>([["", ""]]);
  called.inputs.forEach((name, i) => {
    names.set(name, call.inputs[i] ?? "");
  });
  const handedOn: Node[] = [];
  called.outputs.forEach((name, i) => {
    const outside = call.outputs[i] ?? "";
    // A result that the caller does not take still needs a name of its own.
    if (outside === "") return;
    // What is an input too, or was named already, has its name: it is handed on under another.
    const taken = names.get(name);
    if (taken === undefined) names.set(name, outside);
    else handedOn.push(handOn(call, fresh, taken, outside));
  });
  const rename = fresh.renaming(call.name, names);
  const nodes = called.nodes.map((node) =>
    renamed(bound(node, call, called.defaults), { rename, fresh }, call),
  );
  return [...nodes, ...handedOn];
}

/** The node by which a call or a branch hands a value on under a second name. */
export function handOn(outer: Node, fresh: FreshNames, input: ValueName, output: ValueName): Node {
  return {
    name: fresh.node(`${outer.name}/${output}`),
    op: "Identity",
    domain: "",
    inputs: [input],
    outputs: [output],
    attributes: NO_ATTRIBUTES,
    originals: ownOriginals(outer),
  };
}

function bound(node: Node, call: Node, defaults: Attributes): Node {
  const attributes = new Map<string, Attribute>();
  for (const [name, attribute] of node.attributes) {
    if (attribute.kind !== "reference") {
      attributes.set(name, attribute);
      continue;
    }
    const value = call.attributes.get(attribute.attribute) ?? defaults.get(attribute.attribute);
    if (value !== undefined) attributes.set(name, value);
  }
  return withBodies({ ...node, attributes }, (body) => ({
    ...body,
    nodes: body.nodes.map((inner) => bound(inner, call, defaults)),
  }));
}

/**
 * A node out of a call or branch: its values renamed, its name behind that of the outer node; the insides
 * of bodies too, which see the values around them.
 */
export function renamed(node: Node, by: Renaming, outer: Node): Node {
  return { ...relabelled(node, by, outer.name), originals: originalsWithin(outer, node) };
}

/** How values are renamed, and where nodes get their names. */
interface Renaming {
  readonly rename: (name: ValueName) => ValueName;
  readonly fresh: FreshNames;
}

function relabelled(node: Node, by: Renaming, prefix: string): Node {
  const { rename } = by;
  const inner = withBodies(node, (body) => ({
    ...body,
    inputs: body.inputs.map((value) => ({ ...value, name: rename(value.name) })),
    outputs: body.outputs.map((value) => ({ ...value, name: rename(value.name) })),
    initializers: new Map([...body.initializers].map(([name, ref]) => [rename(name), ref])),
    values: new Map(
      [...body.values.values()].map((value) => {
        const name = rename(value.name);
        return [name, { ...value, name }];
      }),
    ),
    nodes: body.nodes.map((one) => relabelled(one, by, prefix)),
  }));
  return {
    ...inner,
    name: by.fresh.node(`${prefix}/${node.name}`),
    inputs: node.inputs.map(rename),
    outputs: node.outputs.map(rename),
    // Those of a node in a body count from the body.
    originals: ownOriginals(node),
  };
}

/** A node with the graphs in its attributes changed; the same node if none of them changes. */
export function withBodies(node: Node, change: (body: Graph) => Graph): Node {
  let attributes: Map<string, Attribute> | undefined;
  for (const [name, attribute] of node.attributes) {
    const changed = withBody(attribute, change);
    if (changed === attribute) continue;
    attributes ??= new Map(node.attributes);
    attributes.set(name, changed);
  }
  return attributes === undefined ? node : { ...node, attributes };
}

function withBody(attribute: Attribute, change: (body: Graph) => Graph): Attribute {
  if (attribute.kind === "graph") {
    const value = change(attribute.value);
    return value === attribute.value ? attribute : { kind: "graph", value };
  }
  if (attribute.kind !== "graphs") return attribute;
  const value = attribute.value.map(change);
  const same = value.every((body, i) => body === attribute.value[i]);
  return same ? attribute : { kind: "graphs", value };
}

function tooMuch(node: Node, what: string): SkipwayError {
  return SkipwayError.fromDiagnostics("input", [
    diagnostic({
      id: "onnx/function-recursion",
      severity: "error",
      where: `node ${node.name.slice(0, 200)} (${node.op})`,
      text: `the functions of this model ${what}`,
      fix: "Export the model again; no exporter writes such functions.",
    }),
  ]);
}
