// Shape inference over a whole graph: one pass in topological order, each node by its own rule. What a
// file declares is kept where inference knows less.

import type { Graph, Node, Value, ValueName, ValueType } from "../graph/graph.ts";
import { captures } from "../graph/query.ts";
import type { TensorRef } from "../graph/tensor.ts";
import { bindType, merge, sameType, typeOnly } from "../graph/value-type.ts";
import { bearsOut, enter } from "./bodies.ts";
import { tensorOfConstant } from "./constant-node.ts";
import { inferNode } from "./infer-node.ts";
import { withBodies } from "./inline.ts";
import type { Content, KnownValues } from "./known.ts";
import { propagate } from "./propagate.ts";

/**
 * Types for every value that the op table can give one. `sizes` puts numbers in place of symbolic dims
 * everywhere, inputs and outputs included. The same graph back if there is nothing to add.
 */
export function inferShapes(graph: Graph, sizes?: ReadonlyMap<string, number>): Graph {
  if (isInferred(graph) && (sizes === undefined || sizes.size === 0)) return graph;
  return markInferred(inferWithin(graph, { sizes }));
}

/** Graphs to which inference has nothing to add. */
const inferred = new WeakSet<Graph>();

/** Whether a graph is known to be the result of inference. */
export function isInferred(graph: Graph): boolean {
  return inferred.has(graph);
}

/** Remembers a graph as the result of inference over all its nodes. */
export function markInferred(graph: Graph): Graph {
  inferred.add(graph);
  return graph;
}

/** What surrounds a body: the values of the graphs around it. */
interface Surroundings {
  readonly sizes?: ReadonlyMap<string, number> | undefined;
  readonly outer?: KnownValues;
}

function inferWithin(graph: Graph, surroundings: Surroundings): Graph {
  const inference = new Inference(graph, surroundings);
  const nodes = graph.nodes.map((node) => inference.visit(node));
  return inference.finish(nodes.every((node, i) => node === graph.nodes[i]) ? graph.nodes : nodes);
}

/** Shape inference node by node, for passes that change the graph as they go. */
export class Inference {
  readonly #graph: Graph;
  readonly #bind: (value: Value) => Value;
  readonly #inputs: readonly Value[];
  readonly #values = new Map<ValueName, Value>();
  readonly #initializers: Map<ValueName, TensorRef>;
  readonly #contents = new Map<ValueName, Content>();
  /** Of Constant nodes; apart from the initializers, which go into the result. */
  readonly #constants = new Map<ValueName, TensorRef>();
  readonly #opset: number;
  readonly #sizes: ReadonlyMap<string, number> | undefined;
  /** What may be asked for; in a body, the names around it included. */
  readonly #known: KnownValues;

  constructor(graph: Graph, { sizes, outer }: Surroundings = {}) {
    this.#graph = graph;
    this.#sizes = sizes;
    this.#known = outer === undefined ? this.#own() : this.#within(outer);
    this.#bind = (value) => bindValue(value, sizes ?? new Map());
    this.#inputs = mapSame(graph.inputs, this.#bind);
    for (const value of graph.values.values()) this.#values.set(value.name, this.#bind(value));
    for (const value of this.#inputs) this.#values.set(value.name, value);
    this.#initializers = new Map(graph.initializers);
    this.#opset = graph.opsets.get("") ?? 1;
  }

  #own(): KnownValues {
    return {
      typeOf: (name) => this.#values.get(name) ?? this.#initializers.get(name),
      constantOf: (name) =>
        this.#initializers.get(name) ??
        this.#constants.get(name) ??
        this.#contents.get(name)?.tensor,
      contentOf: (name) => this.#contents.get(name),
    };
  }

  /** A name that the body makes itself hides one outside. */
  #within(outer: KnownValues): KnownValues {
    const own = this.#own();
    const free = captures(this.#graph);
    return {
      typeOf: (name) => (free.has(name) ? outer : own).typeOf(name),
      constantOf: (name) => (free.has(name) ? outer : own).constantOf(name),
      contentOf: (name) => (free.has(name) ? outer : own).contentOf?.(name),
    };
  }

  /**
   * Types the outputs of a node whose inputs were visited before. Gives the node back, with what was
   * found inside its bodies.
   */
  visit(given: Node): Node {
    const node = withBodies(given, (body) => this.#inside(given, body));
    const types = this.#decided(node) ?? inferNode(node, this.#opset, this.#known);
    for (const [i, type] of types.entries()) {
      const name = node.outputs[i] ?? "";
      if (name === "" || type === undefined) continue;
      this.#values.set(name, { name, ...merge(this.#values.get(name), type) });
    }
    const constant = tensorOfConstant(node);
    if (constant !== undefined) this.#constants.set(node.outputs[0] ?? "", constant);
    propagate(node, this.#known, this.#contents);
    return node;
  }

  /** What an If gives whose condition follows from shapes: exporters leave such questions in the file. */
  #decided(node: Node): readonly (ValueType | undefined)[] | undefined {
    const condition = node.op === "If" ? this.numberOf(node.inputs[0] ?? "") : undefined;
    if (condition === undefined || node.domain !== "") return undefined;
    const taken = node.attributes.get(condition === 0 ? "else_branch" : "then_branch");
    return taken?.kind === "graph" ? taken.value.outputs.map(typeOnly) : undefined;
  }

  #inside(node: Node, body: Graph): Graph {
    const inferred = inferWithin(this.#entered(node, body), {
      sizes: this.#sizes,
      outer: this.#known,
    });
    return bearsOut(node, body, inferred) ? inferred : body;
  }

  /**
   * Inference within a body of a node whose inputs were visited before. Carried values of a Loop are taken to keep
   * their shapes.
   */
  within(node: Node, body: Graph): Inference {
    return new Inference(this.#entered(node, body), this.#surroundings());
  }

  #surroundings(): Surroundings {
    return { sizes: this.#sizes, outer: this.#known };
  }

  /** Whether a body bears that out. */
  keepsShapes(node: Node, body: Graph): boolean {
    const inferred = inferWithin(this.#entered(node, body), this.#surroundings());
    return bearsOut(node, body, inferred);
  }

  #entered(node: Node, body: Graph): Graph {
    return enter(node, body, (name) => this.#known.typeOf(name), this.#opset);
  }

  /** A constant that has come in with nodes that are new. */
  addInitializer(name: ValueName, ref: TensorRef): void {
    this.#initializers.set(name, ref);
  }

  /** What is known of a value so far. */
  typeOf(name: ValueName): ValueType | undefined {
    return this.#known.typeOf(name);
  }

  /** Lets go of what the file declares of values, where it may hold no longer. */
  forget(names: readonly ValueName[]): void {
    for (const name of names) this.#values.delete(name);
  }

  /** The single number that a value holds, if it is known. */
  numberOf(name: ValueName): number | undefined {
    const content = this.#contents.get(name);
    const [entry] = content?.entries ?? [];
    return content?.entries.length === 1 && typeof entry === "number" ? entry : undefined;
  }

  /** The elements of a weight, a Constant, or a list of integers that does not depend on symbols. */
  constantOf(name: ValueName): TensorRef | undefined {
    return this.#known.constantOf(name);
  }

  /** The graph with these nodes and all that was found; the same graph if that is nothing new. */
  finish(nodes: readonly Node[]): Graph {
    const graph = this.#graph;
    const outputs = mapSame(graph.outputs, (value) => {
      const inferred = this.#values.get(value.name);
      return this.#bind(inferred === undefined ? value : { ...value, ...merge(value, inferred) });
    });
    // What a file declares of an output may be more than what its node tells, as the iterations of a loop.
    for (const { name, ...type } of outputs) {
      const inferred = this.#values.get(name);
      const contradicts =
        inferred?.shape !== undefined && inferred.shape.length !== type.shape?.length;
      if (contradicts || this.#initializers.has(name)) continue;
      this.#values.set(name, { name, ...(inferred === undefined ? type : merge(type, inferred)) });
    }
    const given = new Map(graph.inputs.map((value) => [value.name, value]));
    const same =
      nodes === graph.nodes &&
      this.#inputs === graph.inputs &&
      outputs === graph.outputs &&
      [...this.#values].every(([name, value]) =>
        sameType(value, graph.values.get(name) ?? given.get(name)),
      );
    if (same) return graph;
    const initializers =
      this.#initializers.size === graph.initializers.size ? graph.initializers : this.#initializers;
    return { ...graph, inputs: this.#inputs, outputs, nodes, initializers, values: this.#values };
  }
}

function bindValue(value: Value, sizes: ReadonlyMap<string, number>): Value {
  const type = sizes.size === 0 ? value : bindType(value, sizes);
  return sameType(value, type) ? value : { name: value.name, ...type };
}

/** Maps a list; the same list back if no element changes. */
function mapSame(list: readonly Value[], change: (value: Value) => Value): readonly Value[] {
  const changed = list.map(change);
  return changed.every((value, i) => value === list[i] || sameType(value, list[i]))
    ? list
    : changed;
}
