// Shape inference over a whole graph: one pass in topological order, each node by its own rule. What a
// file declares is kept where inference knows less.

import type { Graph, Node, Value, ValueName, ValueType } from "../graph/graph.ts";
import { indexOf } from "../graph/query.ts";
import { bindShape, type Shape, UNKNOWN_DIM } from "../graph/shape.ts";
import type { TensorRef } from "../graph/tensor.ts";
import { inferNode } from "./infer-node.ts";
import { type Content, propagate } from "./propagate.ts";

/**
 * Types for every value that the op table can give one. `sizes` puts numbers in place of symbolic dims
 * everywhere, inputs and outputs included. The same graph back if there is nothing to add.
 */
export function inferShapes(graph: Graph, sizes?: ReadonlyMap<string, number>): Graph {
  const inference = new Inference(graph, sizes);
  for (const node of graph.nodes) inference.visit(node);
  return inference.finish(graph.nodes);
}

/** Shape inference node by node, for passes that change the graph as they go. */
export class Inference {
  readonly #graph: Graph;
  readonly #bind: (value: Value) => Value;
  readonly #inputs: readonly Value[];
  readonly #values = new Map<ValueName, Value>();
  readonly #initializers: Map<ValueName, TensorRef>;
  readonly #contents = new Map<ValueName, Content>();
  readonly #opset: number;

  constructor(graph: Graph, sizes: ReadonlyMap<string, number> = new Map()) {
    this.#graph = graph;
    this.#bind = (value) => bindValue(value, sizes);
    this.#inputs = mapSame(graph.inputs, this.#bind);
    for (const value of graph.values.values()) this.#values.set(value.name, this.#bind(value));
    for (const value of this.#inputs) this.#values.set(value.name, value);
    this.#initializers = new Map(graph.initializers);
    this.#opset = graph.opsets.get("") ?? 1;
  }

  /** Types the outputs of a node whose inputs were visited before. */
  visit(node: Node): void {
    const typeOf = (name: ValueName): ValueType | undefined =>
      this.#values.get(name) ?? this.#initializers.get(name);
    const types = inferNode(node, this.#opset, {
      typeOf,
      constantOf: (name) => this.#initializers.get(name) ?? this.#contents.get(name)?.tensor,
      entriesOf: (name) => this.#contents.get(name)?.entries,
    });
    for (const [i, type] of types.entries()) {
      const name = node.outputs[i] ?? "";
      if (name === "" || type === undefined) continue;
      this.#values.set(name, { name, ...merge(this.#values.get(name), type) });
    }
    propagate(node, { typeOf, initializers: this.#initializers, contents: this.#contents });
  }

  /** A constant that has come in with nodes that are new. */
  addInitializer(name: ValueName, ref: TensorRef): void {
    this.#initializers.set(name, ref);
  }

  /** The single number that a value holds, if it is known. */
  numberOf(name: ValueName): number | undefined {
    const content = this.#contents.get(name);
    const [entry] = content?.entries ?? [];
    return content?.entries.length === 1 && typeof entry === "number" ? entry : undefined;
  }

  /** The graph with these nodes and all that was found; the same graph if that is nothing new. */
  finish(nodes: readonly Node[]): Graph {
    const graph = this.#graph;
    const outputs = mapSame(graph.outputs, (value) => {
      const inferred = this.#values.get(value.name);
      return this.#bind(inferred === undefined ? value : { ...value, ...merge(value, inferred) });
    });
    const same =
      nodes === graph.nodes &&
      this.#inputs === graph.inputs &&
      outputs === graph.outputs &&
      [...this.#values].every(([name, value]) =>
        sameType(value, graph.values.get(name) ?? inputOf(graph, name)),
      );
    if (same) return graph;
    const initializers =
      this.#initializers.size === graph.initializers.size ? graph.initializers : this.#initializers;
    return { ...graph, inputs: this.#inputs, outputs, nodes, initializers, values: this.#values };
  }
}

function inputOf(graph: Graph, name: ValueName): Value | undefined {
  return indexOf(graph).inputs.get(name);
}

/** What two statements about one value say together; a number wins over a symbol over unknown. */
function merge(declared: ValueType | undefined, inferred: ValueType): ValueType {
  // A rule may hand on a whole value, name included: only the type is taken.
  const { dtype, shape } = inferred;
  if (declared?.shape === undefined) return { dtype, shape };
  if (shape === undefined || shape.length !== declared.shape.length) {
    return { dtype: declared.dtype, shape: declared.shape };
  }
  const dims: Shape = shape.map((dim, axis) => {
    const said = declared.shape?.[axis] ?? UNKNOWN_DIM;
    if (typeof dim === "number") return dim;
    return typeof said === "number" || dim === UNKNOWN_DIM ? said : dim;
  });
  return { dtype: declared.dtype, shape: dims };
}

function bindValue(value: Value, sizes: ReadonlyMap<string, number>): Value {
  if (value.shape === undefined || sizes.size === 0) return value;
  const shape = bindShape(value.shape, sizes);
  return shape.every((dim, axis) => dim === value.shape?.[axis]) ? value : { ...value, shape };
}

function sameType(a: Value, b: Value | undefined): boolean {
  if (b === undefined || a.dtype !== b.dtype) return false;
  if (a.shape === undefined || b.shape === undefined) return a.shape === b.shape;
  return a.shape.length === b.shape.length && a.shape.every((dim, axis) => dim === b.shape?.[axis]);
}

/** Maps a list; the same list back if no element changes. */
function mapSame(list: readonly Value[], change: (value: Value) => Value): readonly Value[] {
  const changed = list.map(change);
  return changed.every((value, i) => value === list[i] || sameType(value, list[i]))
    ? list
    : changed;
}
