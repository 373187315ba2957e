// A graph for any batch: its inputs, and node by node what holds it to one size, in bodies too. Where a function
// does, that is told, and its calls are left.

import { canonicalize } from "../../canonical/canonical.ts";
import { FreshNames } from "../../canonical/fresh-names.ts";
import { Inference, inferShapes } from "../../canonical/infer-shapes.ts";
import { withBodies } from "../../canonical/inline.ts";
import { type Graph, type Node, subgraphs, type Value, type ValueName } from "../../graph/graph.ts";
import { captures, indexOf, typeOf } from "../../graph/query.ts";
import type { TensorRef } from "../../graph/tensor.ts";
import { Calls } from "./calls.ts";
import { Copies } from "./copies.ts";
import { type Around, freedConstants, freedTarget, type Sizes } from "./examples.ts";
import { Mending } from "./mending.ts";
import { ExampleOrder } from "./order.ts";

/** A graph for any batch. */
export interface Freed {
  readonly freed: Graph;
  /** How many shapes to which values are brought have room for any batch now. */
  readonly targets: number;
  /** How many constants have one row now, or as many as there are examples. */
  readonly constants: number;
  /** Why nodes that hold the graph to the old batch stayed as they are. */
  readonly refused: readonly string[];
  /** Keys of functions in which there is something to do; it was not done. */
  readonly inside: ReadonlySet<string>;
}

/** A graph, or a body of a node in it. */
interface Scope {
  /** With another batch. */
  readonly inference: Inference;
  /** Of the nodes as they are in the file, with the old batch. */
  readonly old: Inference;
  readonly outer?: Scope;
  /** Keys of the functions in which it stands. */
  readonly keys: readonly string[];
}

/** Frees one graph. */
export class Freeing {
  readonly #graph: Graph;
  readonly #sizes: Sizes;
  readonly #opset: number;
  readonly #names: FreshNames;
  readonly #calls: Calls;
  readonly #copies: Copies;
  readonly #order: ExampleOrder;
  readonly #initializers: Map<ValueName, TensorRef>;
  readonly #inside = new Set<string>();
  readonly #refused: string[] = [];
  #targets = 0;
  #constants = 0;

  constructor(graph: Graph, sizes: Sizes) {
    this.#graph = graph;
    this.#sizes = sizes;
    this.#opset = graph.opsets.get("") ?? 1;
    this.#names = new FreshNames(graph);
    this.#calls = new Calls(graph, this.#names);
    const fed = graph.inputs.filter(({ name }) => !graph.initializers.has(name));
    this.#copies = new Copies(fed.map(({ name }) => name));
    this.#order = new ExampleOrder(sizes.other);
    this.#initializers = new Map(graph.initializers);
  }

  run(): Freed {
    const base = undeclared(this.#graph, this.#sizes);
    const { symbol, batch, other } = this.#sizes;
    const bound = (size: number): Inference =>
      new Inference(base, { sizes: new Map([[symbol, size]]) });
    const scope: Scope = { inference: bound(other), old: bound(batch), keys: [] };
    const nodes = this.#nodes(base.nodes, scope);
    const graph = withoutUnread({ ...base, nodes, initializers: this.#initializers }, this.#graph);
    const inferred = unfolded(graph);
    const outputs = graph.outputs.map(
      (value): Value => ({ ...value, shape: typeOf(inferred, value.name)?.shape }),
    );
    return {
      freed: { ...graph, outputs },
      targets: this.#targets,
      constants: this.#constants,
      refused: this.#refused,
      inside: this.#inside,
    };
  }

  #nodes(nodes: readonly Node[], scope: Scope): Node[] {
    return nodes.flatMap((node) => {
      const call = this.#calls.unfold(node);
      if (call !== undefined) {
        this.#nodes(call.nodes, { ...scope, keys: [...scope.keys, call.key] });
        return [node];
      }
      scope.old.visit(node);
      const freed = this.#freed(
        withBodies(node, (body) => this.#body(node, body, scope)),
        scope,
      );
      for (const one of freed) {
        scope.inference.visit(one);
        this.#copies.visit(one);
        this.#order.visit(one, (name) => scope.inference.typeOf(name)?.shape);
      }
      return freed;
    });
  }

  #body(node: Node, body: Graph, scope: Scope): Graph {
    const base = this.#undeclaredBody(body, scope);
    this.#copies.feed(base.inputs.map(({ name }) => name));
    const inference = scope.inference.within(node, base);
    const old = scope.old.within(node, base);
    const nodes = this.#nodes(base.nodes, { ...scope, inference, old, outer: scope });
    const same =
      nodes.every((one, i) => one === base.nodes[i]) && nodes.length === base.nodes.length;
    return same ? base : { ...base, nodes };
  }

  /** Without what the file says of shapes inside, where the batch may be among it. */
  #undeclaredBody(body: Graph, scope: Scope): Graph {
    const all = [...body.inputs, ...body.outputs, ...body.values.values()];
    const hasBatch = ({ shape }: Value): boolean => shape?.includes(this.#sizes.batch) === true;
    if (!all.some(hasBatch)) return body;
    this.#reach(scope);
    const bare = (value: Value): Value =>
      hasBatch(value) ? { ...value, shape: undefined } : value;
    const [inputs, outputs] = [body.inputs.map(bare), body.outputs.map(bare)];
    return { ...body, inputs, outputs, values: new Map() };
  }

  /** The node for any batch, behind what it needs. */
  #freed(node: Node, scope: Scope): readonly Node[] {
    const { inference } = scope;
    const around: Around = {
      ...this.#sizes,
      known: inference,
      copies: this.#copies,
      order: this.#order,
      before: (name) => scope.old.typeOf(name)?.shape,
      opset: this.#opset,
      refuse: (reason) => this.#refused.push(reason),
    };
    const mending = new Mending({ names: this.#names, opset: this.#opset, stem: node.name });
    const target = freedTarget(node, around, mending);
    const freed = target ?? freedConstants(node, around, mending);
    if (freed === undefined) return [node];
    this.#reach(scope);
    if (target === undefined) this.#constants++;
    else this.#targets++;
    for (const [name, ref] of mending.initializers) {
      // Bodies capture what comes in: it is in the graph.
      this.#initializers.set(name, ref);
      for (let at: Scope | undefined = scope; at !== undefined; at = at.outer) {
        at.inference.addInitializer(name, ref);
      }
    }
    return [...mending.nodes, freed];
  }

  #reach({ keys }: Scope): void {
    for (const key of keys) this.#inside.add(key);
  }
}

/** Without weights and nodes that were read before and are no longer: targets that have others in their place. */
function withoutUnread(graph: Graph, before: Graph): Graph {
  const once = indexOf(before).uses;
  const read = new Set([...graph.outputs, ...graph.inputs].map(({ name }) => name));
  const isIdle = (name: ValueName): boolean => !read.has(name) && once.has(name);
  const nodes = graph.nodes.toReversed().filter((node) => {
    if (node.outputs.every(isIdle)) return false;
    for (const name of node.inputs) read.add(name);
    for (const body of subgraphs(node)) for (const name of captures(body)) read.add(name);
    return true;
  });
  const initializers = new Map([...graph.initializers].filter(([name]) => !isIdle(name)));
  return { ...graph, nodes: nodes.toReversed(), initializers };
}

/** The batch of a value that has one: a first axis that is a number. */
export function batchOf({ shape }: Value): number | undefined {
  const [first] = shape ?? [];
  return shape !== undefined && shape.length > 1 && typeof first === "number" ? first : undefined;
}

/** The graph with symbolic inputs, and nothing said of the values that are computed. */
function undeclared(graph: Graph, { batch, symbol }: Sizes): Graph {
  const inputs = graph.inputs.map((value) =>
    !graph.initializers.has(value.name) && batchOf(value) === batch
      ? { ...value, shape: [symbol, ...(value.shape?.slice(1) ?? [])] }
      : value,
  );
  const outputs = graph.outputs.map((value) => ({ ...value, shape: undefined }));
  return { ...graph, inputs, outputs, values: new Map() };
}

/** With the functions of the file unfolded: shapes are followed through them. */
export function unfolded(graph: Graph, sizes?: ReadonlyMap<string, number>): Graph {
  return inferShapes(canonicalize(graph, { idioms: false }), sizes);
}
