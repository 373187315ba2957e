// How activations flow through a graph: which values carry them, and what lies between two values.
// Weights, masks and shape computations carry none.

import { isFloat } from "../../graph/dtype.ts";
import type { Graph, Node, ValueName } from "../../graph/graph.ts";
import { type GraphIndex, indexOf, typeOf } from "../../graph/query.ts";
import { isLinear, isRounding, type Mark, markOf, roleOf } from "./vocabulary.ts";

/** One step back along a shortcut. */
export interface ShortcutStep {
  /** The value that is reached. */
  readonly value: ValueName;
  /** Nodes between it and the merge, nearest to the merge first. */
  readonly nodes: readonly Node[];
  readonly transforms: number;
  readonly marks: ReadonlySet<Mark>;
}

/** The flow of activations in one graph. */
export class Flow {
  readonly graph: Graph;
  readonly index: GraphIndex;
  readonly #activations = new Set<ValueName>();

  /** `outer` are activations of an enclosing graph that this one captures. */
  constructor(graph: Graph, outer: ReadonlySet<ValueName> = new Set()) {
    this.graph = graph;
    this.index = indexOf(graph);
    for (const name of outer) this.#activations.add(name);
    for (const value of graph.inputs) {
      if (isFloat(value.dtype) && !graph.initializers.has(value.name)) {
        this.#activations.add(value.name);
      }
    }
    for (const node of graph.nodes) this.#visit(node);
  }

  #visit(node: Node): void {
    const carries = this.activationInputs(node).length > 0 || this.#isEmbedding(node);
    const captures = [...node.attributes.values()].some(
      (attribute) => attribute.kind === "graph" || attribute.kind === "graphs",
    );
    if (!carries && !captures) return;
    for (const name of node.outputs) {
      const type = typeOf(this.graph, name);
      if (name !== "" && (type === undefined || isFloat(type.dtype) || quantized(node))) {
        this.#activations.add(name);
      }
    }
  }

  /** Rows of a weight chosen by tokens: where the activations of a language model begin. */
  #isEmbedding(node: Node): boolean {
    const [table = "", indices = ""] = node.inputs;
    const weight = this.graph.initializers.get(table);
    return (
      node.op === "Gather" &&
      weight !== undefined &&
      isFloat(weight.dtype) &&
      weight.shape.length === 2 &&
      !this.graph.initializers.has(indices)
    );
  }

  /** All activations. */
  get activations(): ReadonlySet<ValueName> {
    return this.#activations;
  }

  /** The activation operands of a node; operands that say where or how much are none. */
  activationInputs(node: Node): ValueName[] {
    // The second operand of CastLike lends its type, nothing else.
    const read = node.op === "CastLike" ? node.inputs.slice(0, 1) : node.inputs;
    return read.filter((name) => this.#activations.has(name));
  }

  /** The node that makes a value. */
  producer(name: ValueName): Node | undefined {
    return this.index.producers.get(name);
  }

  /** Number of places that read a value; being an output of the graph counts. */
  useCount(name: ValueName): number {
    const uses = this.index.uses.get(name)?.length ?? 0;
    return uses + (this.index.outputs.has(name) ? 1 : 0);
  }

  /** The value of which this one is a rounded copy, as quantized models write them; else the value itself. */
  unrounded(name: ValueName): ValueName {
    let value = name;
    for (;;) {
      const node = this.producer(value);
      if (node === undefined || !isRounding(node)) return value;
      value = node.inputs[0] ?? "";
    }
  }

  /** The node that alone reads a value, or a rounded copy of it. */
  onlyReader(name: ValueName): Node | undefined {
    let value = name;
    for (;;) {
      const reader = this.useCount(value) === 1 ? this.index.uses.get(value)?.[0]?.node : undefined;
      if (reader === undefined || !isRounding(reader)) return reader;
      value = reader.outputs[0] ?? "";
    }
  }

  /** Whether two paths can start at a value, or a rounded copy of it: it is read twice, or split into parts. */
  forks(name: ValueName): boolean {
    let value = name;
    for (;;) {
      if (this.useCount(value) > 1) return true;
      const reader = this.index.uses.get(value)?.[0]?.node;
      if (reader === undefined || !isRounding(reader)) {
        return reader?.op === "Split" && reader.outputs.length > 1;
      }
      value = reader.outputs[0] ?? "";
    }
  }

  /**
   * The values from which `operand` is reached by transparent nodes only, and with `linear` also by
   * linear transforms; nearest first, `operand` itself included.
   */
  shortcut(operand: ValueName, linear: boolean): ShortcutStep[] {
    const steps: ShortcutStep[] = [];
    let step: ShortcutStep = { value: operand, nodes: [], transforms: 0, marks: new Set() };
    for (;;) {
      steps.push(step);
      const node = this.producer(step.value);
      if (node === undefined) return steps;
      const inputs = this.activationInputs(node);
      const [value] = inputs;
      if (value === undefined || inputs.length !== 1) return steps;
      const role = roleOf(node, 1);
      const passes = role === "transparent" || role === "norm";
      const projects = linear && role === "transform" && isLinear(node, 1);
      if (!passes && !projects) return steps;
      const mark = role === "norm" ? "norm" : projects ? undefined : markOf(node);
      step = {
        value,
        nodes: [...step.nodes, node],
        transforms: step.transforms + (projects ? 1 : 0),
        marks: mark === undefined ? step.marks : new Set([...step.marks, mark]),
      };
    }
  }

  /** Position of the node that makes a value; -1 for inputs and weights. */
  position(name: ValueName): number {
    const node = this.producer(name);
    return node === undefined ? -1 : (this.index.positions.get(node) ?? -1);
  }

  /**
   * The most transforms on any path from `source` to `target`, or undefined if there is no path.
   * `avoid` closes one value to paths.
   */
  longest(source: ValueName, target: ValueName, avoid?: ValueName): number | undefined {
    const first = this.position(source);
    const known = new Map<ValueName, number>([[source, 0]]);
    if (avoid !== undefined && avoid !== source) known.set(avoid, Number.NEGATIVE_INFINITY);
    const open: ValueName[] = [target];
    while (open.length > 0) {
      const name = open.at(-1) ?? "";
      if (known.has(name)) {
        open.pop();
        continue;
      }
      const node = this.producer(name);
      if (node === undefined || this.position(name) <= first) {
        known.set(name, Number.NEGATIVE_INFINITY);
        open.pop();
        continue;
      }
      const inputs = this.activationInputs(node);
      const missing = inputs.filter((input) => !known.has(input));
      if (missing.length > 0) {
        open.push(...missing);
        continue;
      }
      const best = Math.max(
        ...inputs.map((input) => known.get(input) ?? 0),
        Number.NEGATIVE_INFINITY,
      );
      known.set(name, best + (roleOf(node, inputs.length) === "transform" ? 1 : 0));
      open.pop();
    }
    const found = known.get(target) ?? Number.NEGATIVE_INFINITY;
    return Number.isFinite(found) ? found : undefined;
  }

  /** The nodes on paths from `source` to `target`, in order. */
  between(source: ValueName, target: ValueName): Node[] {
    const first = this.position(source);
    const seen = new Set<ValueName>();
    const region = new Set<Node>();
    const open: ValueName[] = [target];
    while (open.length > 0) {
      const name = open.pop() ?? "";
      const node = this.producer(name);
      if (seen.has(name) || name === source || node === undefined) continue;
      if (this.position(name) <= first) continue;
      seen.add(name);
      region.add(node);
      open.push(...this.activationInputs(node));
    }
    // Kept are those that the source reaches.
    const reached = new Set<ValueName>([source]);
    const at = (node: Node): number => this.index.positions.get(node) ?? 0;
    return [...region]
      .sort((a, b) => at(a) - at(b))
      .filter((node) => {
        if (!node.inputs.some((name) => reached.has(name))) return false;
        for (const name of node.outputs) reached.add(name);
        return true;
      });
  }
}

function quantized(node: Node): boolean {
  return node.op.startsWith("QLinear") || node.op === "QuantizeLinear";
}
