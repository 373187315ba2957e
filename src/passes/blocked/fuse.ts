// What the gradient of a blocked region does in fewer passes over its images: factors over channels go into
// weights, sums of gradients into the convolutions that add to them.

import type { Graph, Node, ValueName } from "../../graph/graph.ts";
import { ints, intsAttribute, subgraphs } from "../../graph/graph.ts";
import { captures, indexOf } from "../../graph/query.ts";
import { BLOCKED_DOMAIN, isDepthwise } from "../../ops/blocked.ts";

/** The same graph with fewer nodes. Values that nothing reads are gone. */
export function fuseBlocked(graph: Graph): Graph {
  const scaled = { ...graph, nodes: graph.nodes.map((node) => withScales(graph, node)) };
  return withoutUnread(withSums(withoutUnread(scaled)));
}

function isBlocked(node: Node, op: string): boolean {
  return node.domain === BLOCKED_DOMAIN && node.op === op;
}

/** Positions of dy among the inputs of a convolution's gradient; its scale stands at `scale`. */
function gradientOperands(node: Node): readonly { dy: number; scale: number }[] {
  if (isBlocked(node, "WeightGradient")) return [{ dy: 1, scale: 2 }];
  if (!isBlocked(node, "InputGradient")) return [];
  const count = (node.inputs.length - 1) / 3;
  return Array.from({ length: count }, (_, i) => ({ dy: 3 * i + 1, scale: 3 * i + 3 }));
}

function withScales(graph: Graph, node: Node): Node {
  const inputs = [...node.inputs];
  let changed = false;
  for (const { dy, scale } of gradientOperands(node)) {
    const made = indexOf(graph).producers.get(inputs[dy] ?? "");
    if (made === undefined || !isBlocked(made, "ScaleChannels") || inputs[scale] !== "") continue;
    const [e = "", a = "", sum = ""] = made.inputs;
    if (sum !== "") continue;
    inputs[dy] = e;
    inputs[scale] = a;
    changed = true;
  }
  return changed ? { ...node, inputs } : node;
}

/** Sums of gradients, made by the last of the nodes that they sum. */
function withSums(graph: Graph): Graph {
  const { producers, uses, outputs } = indexOf(graph);
  const gone = new Set<Node>();
  const replaced = new Map<Node, readonly Node[]>();
  for (const node of graph.nodes) {
    if (node.op !== "Sum" || node.domain !== "") continue;
    const parts = node.inputs.map((name) => {
      const made = producers.get(name);
      const alone = uses.get(name)?.length === 1 && !outputs.has(name);
      return { name, made: made !== undefined && alone && canAdd(made) ? made : undefined };
    });
    const adders = parts.flatMap(({ made }) => (made === undefined ? [] : [made]));
    if (adders.length === 0) continue;
    for (const adder of adders) gone.add(adder);
    const rest = parts.filter(({ made }) => made === undefined).map(({ name }) => name);
    replaced.set(node, summed(node, rest, adders));
  }
  if (replaced.size === 0) return graph;
  const nodes = graph.nodes.flatMap((node) =>
    gone.has(node) ? [] : (replaced.get(node) ?? [node]),
  );
  return { ...graph, nodes };
}

function canAdd(node: Node): boolean {
  if (isBlocked(node, "InputGradient")) return node.inputs[0] === "";
  return isBlocked(node, "ScaleChannels") && node.inputs[2] === "";
}

/** A chain of nodes, each of which adds to what the one before gave; the last has the name of the sum. */
function summed(sum: Node, rest: readonly ValueName[], adders: readonly Node[]): readonly Node[] {
  const made: Node[] = [];
  let total = rest[0] ?? "";
  if (rest.length > 1) {
    total = `${sum.name}.rest`;
    made.push({ ...sum, name: total, inputs: rest, outputs: [total] });
  }
  const chain = merged(adders);
  for (const [i, adder] of chain.entries()) {
    const inputs = [...adder.inputs];
    inputs[isBlocked(adder, "ScaleChannels") ? 2 : 0] = total;
    const isLast = i === chain.length - 1;
    total = isLast ? (sum.outputs[0] ?? "") : (adder.outputs[0] ?? "");
    made.push({ ...adder, inputs, outputs: [total] });
  }
  return made;
}

/** Gradients of strided convolutions share their phases: they become one node. Others stay as they are. */
function merged(adders: readonly Node[]): readonly Node[] {
  const byStrides = new Map<string, Node>();
  const chain: Node[] = [];
  for (const adder of adders) {
    const strides = intsAttribute(adder, "strides") ?? [1];
    const key = `${strides.join()} ${isDepthwise(adder)}`;
    const known = byStrides.get(key);
    if (!isBlocked(adder, "InputGradient") || strides[0] === 1) chain.push(adder);
    else byStrides.set(key, known === undefined ? adder : joined(known, adder));
  }
  // The strided ones first: what they give is put together from phases, and the others add to it.
  return [...byStrides.values(), ...chain];
}

function joined(a: Node, b: Node): Node {
  const both = (name: string) =>
    ints([...(intsAttribute(a, name) ?? []), ...(intsAttribute(b, name) ?? [])]);
  return {
    ...a,
    inputs: [...a.inputs, ...b.inputs.slice(1)],
    attributes: new Map([
      ...a.attributes,
      ["kernel_shape", both("kernel_shape")],
      ["pads", both("pads")],
    ]),
  };
}

/** Without the nodes from which nothing leads to an output. */
export function withoutUnread(graph: Graph): Graph {
  const read = new Set<ValueName>(graph.outputs.map((value) => value.name));
  const kept: Node[] = [];
  for (const node of graph.nodes.toReversed()) {
    if (!node.outputs.some((name) => read.has(name))) continue;
    for (const name of node.inputs) read.add(name);
    for (const body of subgraphs(node)) for (const name of captures(body)) read.add(name);
    kept.push(node);
  }
  return kept.length === graph.nodes.length ? graph : { ...graph, nodes: kept.reverse() };
}
