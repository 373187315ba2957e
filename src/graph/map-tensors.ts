// The tensors of a graph, wherever they stand (weights, attributes, bodies, functions): listed, or replaced
// one by one.

import type { Attribute, Graph, GraphFunction, Node } from "./graph.ts";
import type { TensorRef } from "./tensor.ts";

/** Gives the tensor to take the place of one; the same one where it stays. */
export type TensorChange = (ref: TensorRef, name: string) => TensorRef;

/** The graph with every tensor changed; the same graph if none changes. */
export function mapTensors(graph: Graph, change: TensorChange): Graph {
  const initializers = mapValues(graph.initializers, change);
  const nodes = mapList(graph.nodes, (node) => ofNode(node, change));
  const functions = graph.functions && mapValues(graph.functions, (one) => ofFunction(one, change));
  const same = initializers === graph.initializers && nodes === graph.nodes;
  if (same && functions === graph.functions) return graph;
  return { ...graph, initializers, nodes, ...(functions === undefined ? {} : { functions }) };
}

function ofFunction(called: GraphFunction, change: TensorChange): GraphFunction {
  const nodes = mapList(called.nodes, (node) => ofNode(node, change));
  return nodes === called.nodes ? called : { ...called, nodes };
}

function ofNode(node: Node, change: TensorChange): Node {
  const attributes = mapValues(node.attributes, (one) => ofAttribute(one, node.name, change));
  return attributes === node.attributes ? node : { ...node, attributes };
}

function ofAttribute(attribute: Attribute, node: string, change: TensorChange): Attribute {
  switch (attribute.kind) {
    case "tensor": {
      const value = change(attribute.value, node);
      return value === attribute.value ? attribute : { kind: "tensor", value };
    }
    case "graph": {
      const value = mapTensors(attribute.value, change);
      return value === attribute.value ? attribute : { kind: "graph", value };
    }
    case "graphs": {
      const value = mapList(attribute.value, (body) => mapTensors(body, change));
      return value === attribute.value ? attribute : { kind: "graphs", value };
    }
    default:
      return attribute;
  }
}

function mapList<T>(list: readonly T[], change: (one: T) => T): readonly T[] {
  const changed = list.map(change);
  return changed.every((one, i) => one === list[i]) ? list : changed;
}

function mapValues<T>(
  map: ReadonlyMap<string, T>,
  change: (one: T, key: string) => T,
): ReadonlyMap<string, T> {
  let changed: Map<string, T> | undefined;
  for (const [key, one] of map) {
    const next = change(one, key);
    if (next === one) continue;
    changed ??= new Map(map);
    changed.set(key, next);
  }
  return changed ?? map;
}

/** Every tensor of a graph, its bodies and its functions. */
export function tensorsOf(graph: Graph): TensorRef[] {
  const found: TensorRef[] = [];
  mapTensors(graph, (ref) => {
    found.push(ref);
    return ref;
  });
  return found;
}
