// Norms that are written out with rounding between their ops, as tools that quantize every op leave them: no
// op computes the same, so the canonical form keeps their nodes, and the census reads them as norms.

import type { Node, ValueName } from "../../graph/graph.ts";
import type { Flow } from "./flow.ts";
import { wordOf } from "./vocabulary.ts";

/** For each node of such a norm the quotient that the norm ends in. */
export type RoundedNorms = ReadonlyMap<Node, Node>;

const cache = new WeakMap<Flow, RoundedNorms>();

/** The norms of a graph that are written out, whatever rounds or casts between their ops. O(nodes) once. */
export function roundedNorms(flow: Flow): RoundedNorms {
  const known = cache.get(flow);
  if (known !== undefined) return known;
  const found = new Map<Node, Node>();
  for (const node of flow.graph.nodes) {
    for (const part of partsOf(flow, node)) found.set(part, node);
  }
  cache.set(flow, found);
  return found;
}

/** The nodes of u / √(mean(u²) + ε), if a quotient, or a product with one over the root, is that. */
function partsOf(flow: Flow, end: Node): readonly Node[] {
  const word = wordOf(end);
  const inputs = flow.activationInputs(end).map((name) => flow.unrounded(name));
  if ((word !== "Div" && word !== "Mul") || inputs.length !== 2) return [];
  for (const [u, other] of word === "Div" ? [inputs] : [inputs, inputs.toReversed()]) {
    const inverse = word === "Mul" ? made(flow, other, "Reciprocal", "Div") : undefined;
    if (word === "Mul" && inverse === undefined) continue;
    const root = made(flow, inverse === undefined ? other : operandOf(flow, inverse), "Sqrt");
    const sum = root && made(flow, operandOf(flow, root), "Add");
    const mean = sum && made(flow, operandOf(flow, sum), "ReduceMean");
    const square = mean && made(flow, operandOf(flow, mean), "Pow", "Mul");
    if (root === undefined || sum === undefined || square === undefined) continue;
    const squared = flow.activationInputs(square).map((name) => flow.unrounded(name));
    if (u === undefined || squared.length === 0 || squared.some((name) => name !== u)) continue;
    const nodes = [end, inverse, root, sum, mean, square, ...centreOf(flow, u)];
    return nodes.filter((node) => node !== undefined);
  }
  return [];
}

/** The nodes of x - mean(x). */
function centreOf(flow: Flow, name: ValueName): readonly Node[] {
  const node = made(flow, name, "Sub");
  const [x, other] = node === undefined ? [] : flow.activationInputs(node);
  const mean = made(flow, other, "ReduceMean");
  if (node === undefined || mean === undefined || x === undefined) return [];
  return operandOf(flow, mean) === flow.unrounded(x) ? [node, mean] : [];
}

/** The node that makes a value, rounded or not, if it is one of the given words. */
function made(flow: Flow, name: ValueName | undefined, ...words: string[]): Node | undefined {
  const node = name === undefined ? undefined : flow.producer(flow.unrounded(name));
  return node !== undefined && words.includes(wordOf(node)) ? node : undefined;
}

/** The one activation that a node reads, before it was rounded. */
function operandOf(flow: Flow, node: Node): ValueName | undefined {
  const [only, ...more] = flow.activationInputs(node);
  return only === undefined || more.length > 0 ? undefined : flow.unrounded(only);
}
