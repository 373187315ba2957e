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

/** Calls within calls: real exports stay below ten. A function that calls itself ends here. */
const DEPTH_MAX = 64;

/**
 * Replaces every call of a function by the function's nodes. Names inside are prefixed with the name of
 * the call. The same graph back if it calls none.
 *
 * @throws SkipwayError `input` for functions that call themselves, or that unfold beyond `nodesMax`.
 */
export function inlineFunctions(graph: Graph): Graph {
  const { functions } = graph;
  if (functions === undefined) return graph;
  const context: Context = { functions, count: { nodes: 0 } };
  const { functions: _inlined, ...rest } = graph;
  const opsets = new Map(graph.opsets);
  for (const one of functions.values()) {
    for (const [domain, version] of one.opsets) {
      if (!opsets.has(domain)) opsets.set(domain, version);
    }
  }
  return { ...rest, opsets, nodes: expand(graph.nodes, context, 0) };
}

interface Context {
  readonly functions: ReadonlyMap<string, GraphFunction>;
  readonly count: { nodes: number };
}

function expand(nodes: readonly Node[], context: Context, depth: number): Node[] {
  return nodes.flatMap((node) => {
    const called = context.functions.get(`${node.domain}/${node.op}`);
    if (called === undefined) {
      if (++context.count.nodes > limits.nodesMax) throw tooMuch(node, "unfold beyond the limit");
      return [withBodies(node, (body) => ({ ...body, nodes: expand(body.nodes, context, depth) }))];
    }
    if (depth >= DEPTH_MAX) throw tooMuch(node, "call one another without end");
    return expand(instantiate(node, called), context, depth + 1);
  });
}

/** The nodes of one call: values renamed, attributes bound. */
function instantiate(call: Node, called: GraphFunction): Node[] {
  const names = new Map<ValueName, ValueName>([["", ""]]);
  called.inputs.forEach((name, i) => {
    names.set(name, call.inputs[i] ?? "");
  });
  called.outputs.forEach((name, i) => {
    const outside = call.outputs[i] ?? "";
    // A result that the caller does not take still needs a name of its own.
    if (outside !== "") names.set(name, outside);
  });
  const rename = (name: ValueName): ValueName => names.get(name) ?? `${call.name}/${name}`;
  return called.nodes.map((node) => renamed(bound(node, call, called.defaults), rename, call.name));
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

/** A node with its values renamed and its name prefixed; the insides of bodies too, which see the values around them. */
export function renamed(node: Node, rename: (name: ValueName) => ValueName, prefix: string): Node {
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
    nodes: body.nodes.map((one) => renamed(one, rename, prefix)),
  }));
  return {
    ...inner,
    name: `${prefix}/${node.name}`,
    inputs: node.inputs.map(rename),
    outputs: node.outputs.map(rename),
  };
}

/** A node with the graphs in its attributes changed; the same node if it has none. */
export function withBodies(node: Node, change: (body: Graph) => Graph): Node {
  const has = [...node.attributes.values()].some(
    ({ kind }) => kind === "graph" || kind === "graphs",
  );
  if (!has) return node;
  const attributes = new Map<string, Attribute>();
  for (const [name, attribute] of node.attributes) {
    if (attribute.kind === "graph") {
      attributes.set(name, { kind: "graph", value: change(attribute.value) });
    } else if (attribute.kind === "graphs") {
      attributes.set(name, { kind: "graphs", value: attribute.value.map(change) });
    } else {
      attributes.set(name, attribute);
    }
  }
  return { ...node, attributes };
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
