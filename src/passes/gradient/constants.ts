// Constants of an imported graph as initializers: those that it has as nodes, and small ones that it computes
// from shapes and from each other, such as the scales of a Resize. Weights are left as they are, and what is
// computed from them too: a gradient has to come through.

import { tensorOfConstant } from "../../canonical/constant-node.ts";
import { Evaluation } from "../../canonical/evaluate.ts";
import { withBodies } from "../../canonical/inline.ts";
import type { Content, KnownValues } from "../../canonical/known.ts";
import { propagate } from "../../canonical/propagate.ts";
import { isFloat } from "../../graph/dtype.ts";
import { type Graph, type Node, subgraphs, type ValueName } from "../../graph/graph.ts";
import { typeOf } from "../../graph/query.ts";
import { isStatic } from "../../graph/shape.ts";
import type { TensorRef } from "../../graph/tensor.ts";

/** Constant nodes as initializers of their names, in bodies too. The same graph if there is none. */
export function withoutConstantNodes(graph: Graph): Graph {
  const initializers = new Map<ValueName, TensorRef>(graph.initializers);
  let changed = false;
  const outputs = new Set(graph.outputs.map(({ name }) => name));
  const nodes = graph.nodes.flatMap((node) => {
    const [name = ""] = node.outputs;
    const held = tensorOfConstant(node);
    if (held !== undefined && name !== "" && !outputs.has(name)) {
      initializers.set(name, held);
      changed = true;
      return [];
    }
    const kept = withBodies(node, withoutConstantNodes);
    changed ||= kept !== node;
    return [kept];
  });
  return changed ? { ...graph, nodes, initializers } : graph;
}

/** Elements of a constant that is written out in place of the nodes that compute it. */
const ELEMENTS_MAX = 64;

/**
 * Small constants in the place of the nodes that compute them, in a graph whose shapes are inferred.
 *
 * @param weights Float initializers that are no constants.
 */
export function withComputedConstants(graph: Graph, weights: ReadonlySet<ValueName>): Graph {
  const initializers = new Map<ValueName, TensorRef>(graph.initializers);
  const contents = new Map<ValueName, Content>();
  const known: KnownValues = {
    typeOf: (name) => typeOf(graph, name),
    constantOf: (name) => initializers.get(name),
    contentOf: (name) => contents.get(name),
  };
  const evaluation = new Evaluation();
  const outputs = new Set(graph.outputs.map(({ name }) => name));
  const isFixed = (name: ValueName): boolean =>
    name === "" || (initializers.has(name) && !weights.has(name));
  const nodes = graph.nodes.filter((node) => {
    propagate(node, known, contents);
    const [name = "", ...more] = node.outputs;
    if (more.length > 0 || outputs.has(name) || !dependsOnConstants(graph, node, isFixed))
      return true;
    const type = typeOf(graph, name);
    if (type === undefined || !isStatic(type.shape)) return true;
    if (type.shape.reduce((product, dim) => product * dim, 1) > ELEMENTS_MAX) return true;
    const followed = contents.get(name)?.tensor;
    const found =
      followed?.dtype === type.dtype
        ? followed
        : evaluation.evaluate(node, type, (input) => initializers.get(input));
    if (found === undefined) return true;
    initializers.set(name, found);
    return false;
  });
  return nodes.length === graph.nodes.length ? graph : { ...graph, nodes, initializers };
}

function dependsOnConstants(
  graph: Graph,
  node: Node,
  isFixed: (name: ValueName) => boolean,
): boolean {
  if (subgraphs(node).length > 0) return false;
  const [first = ""] = node.inputs;
  if (node.op === "Shape" || node.op === "Size") return isStatic(typeOf(graph, first)?.shape);
  return node.inputs.length > 0 && node.inputs.every(isFixed);
}

/** The float initializers that a file has. */
export function floatInitializers(graph: Graph): Set<ValueName> {
  const found = new Set<ValueName>();
  for (const [name, { dtype }] of graph.initializers) if (isFloat(dtype)) found.add(name);
  return found;
}
