// Merges whose operands do not fit, mended in the order in which the graph runs: what is found further on
// sees the shapes that a repair before it made.

import { operandsFit } from "../../analysis/merges.ts";
import { originalOf, placeOf } from "../../analysis/standing.ts";
import { Ways } from "../../analysis/ways.ts";
import { FreshNames } from "../../canonical/fresh-names.ts";
import { Inference } from "../../canonical/infer-shapes.ts";
import { withBodies } from "../../canonical/inline.ts";
import type { Graph, Node, Original, Value, ValueName } from "../../graph/graph.ts";
import { subgraphs } from "../../graph/graph.ts";
import { captures } from "../../graph/query.ts";
import type { TensorRef } from "../../graph/tensor.ts";
import { Calls } from "./calls.ts";
import { Mending } from "./mending.ts";
import { isMerge, mendOperands, type Operand } from "./operands.ts";
import { type Attempt, type Fixed, IN_FUNCTION, type Unfixed } from "./outcome.ts";

const ID = "shape/mismatch";

/** Elements of all new weights together, 256 MiB of float32: the shapes that ask for them may be hostile. */
const WEIGHTS_MAX = 2 ** 26;

/**
 * Brings the operands of every merge together where there is one way to do it: a projection with weights to
 * be trained, padding or cropping, another layout. Weights follow from `seed` and the names of the nodes.
 */
export function repairMerges(graph: Graph, options: { seed: number }): Attempt {
  return new MergeRepairs(graph, options.seed).run();
}

/** A graph, or a body of a node in it. */
interface Scope {
  readonly inference: Inference;
  readonly ways: Ways;
  /** Values behind a repair: what the file says of their shapes may hold no longer. */
  readonly changed: Set<ValueName>;
  readonly outer?: Scope;
  readonly within?: Original;
  /** Keys of the functions in which it stands. */
  readonly keys: readonly string[];
}

class MergeRepairs {
  readonly #graph: Graph;
  readonly #seed: number;
  readonly #names: FreshNames;
  readonly #calls: Calls;
  readonly #initializers: Map<ValueName, TensorRef>;
  readonly #fixed: Fixed[] = [];
  readonly #unfixed: Unfixed[] = [];
  readonly #inside = new Set<string>();
  #elementsMax = WEIGHTS_MAX;

  constructor(graph: Graph, seed: number) {
    this.#graph = graph;
    this.#seed = seed;
    this.#names = new FreshNames(graph);
    this.#calls = new Calls(graph, this.#names);
    this.#initializers = new Map(graph.initializers);
  }

  run(): Attempt {
    const inference = new Inference(this.#graph);
    const scope: Scope = { inference, ways: new Ways(), changed: new Set(), keys: [] };
    const nodes = this.#mendedNodes(this.#graph.nodes, scope);
    const graph =
      this.#fixed.length === 0
        ? this.#graph
        : { ...finished(this.#graph, nodes, scope), initializers: this.#initializers };
    return { graph, fixed: this.#fixed, unfixed: this.#unfixed, inside: this.#inside };
  }

  #mendedNodes(nodes: readonly Node[], scope: Scope): Node[] {
    return nodes.flatMap((node) => {
      const call = this.#calls.unfold(node);
      if (call !== undefined) {
        this.#mendedNodes(call.nodes, { ...scope, keys: [...scope.keys, call.key] });
        return [node];
      }
      const bodied = withBodies(node, (body) => this.#mendedBody(node, body, scope));
      const mended = this.#mended(bodied, scope);
      if (mended.at(-1) !== node || readsChanged(node, scope)) {
        scope.inference.forget(node.outputs);
        for (const name of node.outputs) scope.changed.add(name);
      }
      for (const one of mended) {
        scope.inference.visit(one);
        scope.ways.visit(one);
      }
      return mended;
    });
  }

  #mendedBody(node: Node, body: Graph, scope: Scope): Graph {
    // Where a carried value does not keep its shape, what is seen of the first iteration holds for no other.
    if (!scope.inference.keepsShapes(node, body)) return body;
    const inside: Scope = {
      ...scope,
      inference: scope.inference.within(node, body),
      ways: new Ways(),
      changed: new Set(scope.changed),
      outer: scope,
      within: originalOf({ node, ...(scope.within && { within: scope.within }) }),
    };
    const before = this.#fixed.length;
    const nodes = this.#mendedNodes(body.nodes, inside);
    return this.#fixed.length === before ? body : finished(body, nodes, inside);
  }

  /** The node with operands that fit, behind what makes them fit; the same node alone where there is no way to do it. */
  #mended(node: Node, scope: Scope): readonly Node[] {
    const operands = isMerge(node) ? this.#operandsOf(node, scope) : undefined;
    if (
      operands === undefined ||
      operandsFit(
        node,
        operands.map(({ shape }) => shape),
      )
    )
      return [node];
    const where = `${placeOf({ node, ...(scope.within && { within: scope.within }) })} (${node.op})`;
    const opset = this.#graph.opsets.get("") ?? 1;
    const mending = new Mending({ names: this.#names, opset, stem: node.name });
    const elementsMax = this.#elementsMax;
    const done = mendOperands(node, operands, { mending, seed: this.#seed, elementsMax });
    if ("reason" in done) {
      this.#unfixed.push({ id: ID, where, reason: done.reason });
      return [node];
    }
    this.#elementsMax -= done.elements;
    addInitializers(scope, mending.initializers);
    if (scope.keys.length > 0) {
      for (const key of scope.keys) this.#inside.add(key);
      this.#unfixed.push({ id: ID, where, reason: IN_FUNCTION });
    } else {
      for (const [name, ref] of mending.initializers) this.#initializers.set(name, ref);
      this.#fixed.push({ id: ID, where, text: done.texts.join(" ") });
    }
    return [...mending.nodes, done.node];
  }

  /** All operands, where all shapes are known. */
  #operandsOf(node: Node, { inference, ways }: Scope): readonly Operand[] | undefined {
    const operands = node.inputs.flatMap((name): Operand[] => {
      const type = inference.typeOf(name);
      if (type?.shape === undefined) return [];
      const { dtype, shape } = type;
      const [length, layout] = [ways.lengthTo(name), ways.layoutOf(name)];
      const constant = inference.constantOf(name) !== undefined;
      return [{ name, dtype, shape, length, layout, constant }];
    });
    return operands.length === node.inputs.length ? operands : undefined;
  }
}

/** Weights that came in are in the graph; the bodies in which they are read capture them. */
function addInitializers(scope: Scope, initializers: ReadonlyMap<ValueName, TensorRef>): void {
  for (let at: Scope | undefined = scope; at !== undefined; at = at.outer) {
    for (const [name, ref] of initializers) at.inference.addInitializer(name, ref);
  }
}

function readsChanged(node: Node, { changed }: Scope): boolean {
  if (changed.size === 0) return false;
  const isChanged = (name: ValueName): boolean => changed.has(name);
  return (
    node.inputs.some(isChanged) ||
    subgraphs(node).some((body) => [...captures(body)].some(isChanged))
  );
}

function finished(graph: Graph, nodes: readonly Node[], { changed, inference }: Scope): Graph {
  const values = [...graph.values].filter(([name]) => !changed.has(name));
  const outputs = graph.outputs.map(
    (value): Value =>
      changed.has(value.name) ? { ...value, shape: inference.typeOf(value.name)?.shape } : value,
  );
  return { ...graph, nodes, values: new Map(values), outputs };
}
