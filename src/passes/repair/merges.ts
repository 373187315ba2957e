// Merges whose operands do not fit, mended in the order in which the graph runs: what is found further on
// sees the shapes that a repair before it made.

import { operandsFit } from "../../analysis/merges.ts";
import { Ways } from "../../analysis/ways.ts";
import { FreshNames } from "../../canonical/fresh-names.ts";
import { Inference } from "../../canonical/infer-shapes.ts";
import type { Graph, Node, Value, ValueName } from "../../graph/graph.ts";
import { subgraphs } from "../../graph/graph.ts";
import { captures } from "../../graph/query.ts";
import type { TensorRef } from "../../graph/tensor.ts";
import { Mending } from "./mending.ts";
import { isMerge, mendOperands, type Operand } from "./operands.ts";
import type { Fixed, Outcome, Unfixed } from "./outcome.ts";

const ID = "shape/mismatch";

/** Elements of all new weights together, 256 MiB of float32: the shapes that ask for them may be hostile. */
const WEIGHTS_MAX = 2 ** 26;

/**
 * Brings the operands of every merge together where there is one way to do it: a projection with weights to
 * be trained, padding or cropping, another layout. Weights follow from `seed` and the names of the nodes.
 */
export function repairMerges(graph: Graph, options: { seed: number }): Outcome {
  return new MergeRepairs(graph, options.seed).run();
}

class MergeRepairs {
  readonly #graph: Graph;
  readonly #seed: number;
  readonly #inference: Inference;
  readonly #ways = new Ways();
  readonly #names: FreshNames;
  readonly #initializers: Map<ValueName, TensorRef>;
  readonly #nodes: Node[] = [];
  /** Values behind a repair: what the file says of their shapes may hold no longer. */
  readonly #changed = new Set<ValueName>();
  readonly #fixed: Fixed[] = [];
  readonly #unfixed: Unfixed[] = [];
  #elementsMax = WEIGHTS_MAX;

  constructor(graph: Graph, seed: number) {
    this.#graph = graph;
    this.#seed = seed;
    this.#inference = new Inference(graph);
    this.#names = new FreshNames(graph);
    this.#initializers = new Map(graph.initializers);
  }

  run(): Outcome {
    for (const node of this.#graph.nodes) {
      const mended = this.#mended(node);
      if (mended !== node || this.#readsChanged(node)) {
        this.#inference.forget(node.outputs);
        for (const name of node.outputs) this.#changed.add(name);
      }
      this.#append(mended);
    }
    const graph = this.#fixed.length === 0 ? this.#graph : this.#finished();
    return { graph, fixed: this.#fixed, unfixed: this.#unfixed };
  }

  #append(node: Node): void {
    this.#inference.visit(node);
    this.#ways.visit(node);
    this.#nodes.push(node);
  }

  #readsChanged(node: Node): boolean {
    const changed = (name: ValueName): boolean => this.#changed.has(name);
    if (this.#changed.size === 0) return false;
    return (
      node.inputs.some(changed) || subgraphs(node).some((body) => [...captures(body)].some(changed))
    );
  }

  #finished(): Graph {
    const values = [...this.#graph.values].filter(([name]) => !this.#changed.has(name));
    const outputs = this.#graph.outputs.map(
      (value): Value =>
        this.#changed.has(value.name)
          ? { ...value, shape: this.#inference.typeOf(value.name)?.shape }
          : value,
    );
    const initializers = this.#initializers;
    return { ...this.#graph, nodes: this.#nodes, initializers, values: new Map(values), outputs };
  }

  /** The node with operands that fit; the same node where there is nothing to do, or no way to do it. */
  #mended(node: Node): Node {
    const operands = isMerge(node) ? this.#operandsOf(node) : undefined;
    if (
      operands === undefined ||
      operandsFit(
        node,
        operands.map(({ shape }) => shape),
      )
    )
      return node;
    const where = `node ${node.name} (${node.op})`;
    const opset = this.#graph.opsets.get("") ?? 1;
    const mending = new Mending({ names: this.#names, opset, stem: node.name });
    const elementsMax = this.#elementsMax;
    const done = mendOperands(node, operands, { mending, seed: this.#seed, elementsMax });
    if ("reason" in done) {
      this.#unfixed.push({ id: ID, where, reason: done.reason });
      return node;
    }
    this.#elementsMax -= done.elements;
    for (const [name, ref] of mending.initializers) {
      this.#initializers.set(name, ref);
      this.#inference.addInitializer(name, ref);
    }
    for (const one of mending.nodes) this.#append(one);
    this.#fixed.push({ id: ID, where, text: done.texts.join(" ") });
    return done.node;
  }

  /** All operands, where all shapes are known. */
  #operandsOf(node: Node): readonly Operand[] | undefined {
    const operands = node.inputs.flatMap((name): Operand[] => {
      const type = this.#inference.typeOf(name);
      if (type?.shape === undefined) return [];
      const { dtype, shape } = type;
      const [length, layout] = [this.#ways.lengthTo(name), this.#ways.layoutOf(name)];
      return [{ name, dtype, shape, length, layout, constant: this.#initializers.has(name) }];
    });
    return operands.length === node.inputs.length ? operands : undefined;
  }
}
