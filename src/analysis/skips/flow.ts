// How activations flow through a graph: which values carry them, and what lies between two values.
// Weights, masks and shape computations carry none.

import { tensorOfConstant } from "../../canonical/constant-node.ts";
import { isFloat } from "../../graph/dtype.ts";
import {
  type Graph,
  intAttribute,
  type Node,
  subgraphs,
  type ValueName,
  type ValueType,
} from "../../graph/graph.ts";
import { captures, type GraphIndex, indexOf, typeOf, type Use } from "../../graph/query.ts";
import { elementCount } from "../../graph/shape.ts";
import type { TensorRef } from "../../graph/tensor.ts";
import { scanParts } from "../../ops/control.ts";
import { clips } from "./clipping.ts";
import {
  fusedActivation,
  isActivation,
  isLinear,
  isNorm,
  isRounding,
  type Mark,
  markOf,
  type Role,
  roleOf,
  shrinks,
  wordOf,
} from "./vocabulary.ts";

/** Ops that bring activations to integers. */
const QUANTIZING = new Set(["QuantizeLinear", "DynamicQuantizeLinear"]);

/** Ops that tell something of their operand, in integers or truth values, and do not carry it on. */
const TELLING = new Set([
  ...["Shape", "Size", "ArgMax", "ArgMin", "NonZero", "Equal", "Greater", "Less", "IsNaN"],
  ...["GreaterOrEqual", "LessOrEqual", "Not", "And", "Or", "Xor", "IsInf"],
]);

const RESHAPING = new Set(["Reshape", "Flatten", "Squeeze", "Unsqueeze"]);

/** Ops of the runtime that begin with the rows of a weight. */
const EMBEDDING = new Set(["EmbedLayerNormalization", "GatherBlockQuantized"]);

/** Outputs that carry nothing of the value: scale and zero point of a quantization, the ends of sequences. */
const ASIDE: ReadonlyMap<string, readonly number[]> = new Map([
  ["DynamicQuantizeLinear", [1, 2]],
  ["EmbedLayerNormalization", [1]],
]);

/** One step back along a shortcut. */
export interface ShortcutStep {
  /** The value that is reached. */
  readonly value: ValueName;
  /** Nodes between it and the merge, nearest to the merge first. */
  readonly nodes: readonly Node[];
  readonly transforms: number;
  readonly marks: ReadonlySet<Mark>;
}

/** The graph around a body, and the node that has it. */
export interface Outer {
  readonly flow: Flow;
  readonly node: Node;
}

/** The flow of activations in one graph. */
export class Flow {
  readonly graph: Graph;
  readonly index: GraphIndex;
  /** Version of the standard operator set. */
  readonly opset: number;
  readonly #activations = new Set<ValueName>();
  /** Those that are rounded to integers. */
  readonly #integers = new Set<ValueName>();
  /** Activations that the bodies of a node read. */
  readonly #captured = new Map<Node, readonly ValueName[]>();
  readonly #inside = new Map<Node, number>();
  /** The activation operands of each node: known once the nodes before it, in topological order, were visited. */
  readonly #operands = new Map<Node, readonly ValueName[]>();

  /** Of the graph around and the node whose body this is: what lies before it there is seen from here. */
  readonly #outer: Outer | undefined;

  constructor(graph: Graph, outer?: Outer) {
    this.graph = graph;
    this.index = indexOf(graph);
    this.opset = graph.opsets.get("") ?? outer?.flow.opset ?? 1;
    this.#outer = outer;
    if (outer !== undefined) {
      for (const name of captures(graph)) {
        if (outer.flow.activations.has(name)) this.#activations.add(name);
        if (outer.flow.#integers.has(name)) this.#integers.add(name);
      }
    }
    const weights = outer === undefined ? undefined : slicedWeights(graph, outer);
    for (const value of graph.inputs) {
      const given = graph.initializers.has(value.name) || weights?.has(value.name);
      if (isFloat(value.dtype) && !given) this.#activations.add(value.name);
    }
    for (const node of graph.nodes) this.#visit(node);
  }

  #visit(node: Node): void {
    const bodies = subgraphs(node);
    if (bodies.length > 0) {
      const captured = new Set(bodies.flatMap((body) => [...captures(body)]));
      const read = new Set(node.inputs);
      this.#captured.set(
        node,
        [...captured].filter((name) => this.#activations.has(name) && !read.has(name)),
      );
    }
    const carries = this.activationInputs(node).length > 0 || this.#isEmbedding(node);
    if (!carries && bodies.length === 0) return;
    const carried = node.outputs.filter((_, i) => !ASIDE.get(node.op)?.includes(i));
    for (const name of carried) {
      const type = this.typeOf(name);
      if (name !== "" && (type === undefined || isFloat(type.dtype) || this.#rounds(node))) {
        this.#activations.add(name);
        if (type !== undefined && !isFloat(type.dtype)) this.#integers.add(name);
      }
    }
  }

  /** Whether a node computes with activations in integers: it makes them, or carries them on. */
  #rounds(node: Node): boolean {
    if (TELLING.has(node.op)) return false;
    if (QUANTIZING.has(node.op) || node.op.startsWith("QLinear")) return true;
    if (this.#isEmbedding(node)) return true;
    return this.activationInputs(node).some((name) => this.#integers.has(name));
  }

  /** Rows of a weight chosen by tokens: where the activations of a language model begin. */
  #isEmbedding(node: Node): boolean {
    const [table = "", indices = ""] = node.inputs;
    const weight = this.constantOf(table);
    if (EMBEDDING.has(wordOf(node))) return true;
    return (
      node.op === "Gather" &&
      weight !== undefined &&
      (isFloat(weight.dtype) || weight.dtype === "uint8" || weight.dtype === "int8") &&
      weight.shape.length === 2 &&
      this.constantOf(indices) === undefined
    );
  }

  /** Type and shape of a value, here or in the graph around. */
  typeOf(name: ValueName): ValueType | undefined {
    return typeOf(this.graph, name) ?? this.#outer?.flow.typeOf(name);
  }

  /** The weight or constant of that name, here or in the graph around. */
  constantOf(name: ValueName): TensorRef | undefined {
    const own = this.graph.initializers.get(name);
    if (own !== undefined) return own;
    const node = this.index.producers.get(name);
    return node === undefined ? this.#outer?.flow.constantOf(name) : tensorOfConstant(node);
  }

  /** All activations of this graph, and those that it captures. */
  get activations(): ReadonlySet<ValueName> {
    return this.#activations;
  }

  /** The activation operands of a node, with what its bodies capture; those that say where or how much are none. */
  activationInputs(node: Node): readonly ValueName[] {
    const known = this.#operands.get(node);
    if (known !== undefined) return known;
    const found = this.#outerOf(node)?.activationInputs(node) ?? this.#operandsOf(node);
    this.#operands.set(node, found);
    return found;
  }

  #operandsOf(node: Node): ValueName[] {
    // The second operand of CastLike lends its type, nothing else.
    const first = node.op === "CastLike" || node.op === "QuantizeLinear";
    const read = first || node.op === "DequantizeLinear" ? node.inputs.slice(0, 1) : node.inputs;
    const given = read.filter((name) => this.#activations.has(name));
    const captured = this.#captured.get(node);
    return captured === undefined ? given : [...given, ...captured];
  }

  /** The most transforms on a path through the bodies of a node. */
  #transformsInside(node: Node): number {
    const outer = this.#outerOf(node);
    if (outer !== undefined) return outer.#transformsInside(node);
    const known = this.#inside.get(node);
    if (known !== undefined) return known;
    const most = Math.max(0, ...subgraphs(node).map((body) => this.#deepest(body, node)));
    this.#inside.set(node, most);
    return most;
  }

  #deepest(body: Graph, node: Node): number {
    const flow = new Flow(body, { flow: this, node });
    const depths = new Map<ValueName, number>();
    for (const node of body.nodes) {
      const inputs = flow.activationInputs(node);
      const before = Math.max(0, ...inputs.map((name) => depths.get(name) ?? 0));
      const own = flow.role(node) === "transform" ? 1 : 0;
      for (const name of node.outputs) {
        depths.set(name, before + own + flow.#transformsInside(node));
      }
    }
    return Math.max(0, ...body.outputs.map(({ name }) => depths.get(name) ?? 0));
  }

  /** The flow of the graph around in which a node stands, if it does not stand here. */
  #outerOf(node: Node): Flow | undefined {
    return this.#outer === undefined || this.index.positions.has(node)
      ? undefined
      : this.#outer.flow;
  }

  /** Whether a value is one of the graph around. */
  #isCaptured(name: ValueName): boolean {
    const { producers, inputs } = this.index;
    return this.#outer !== undefined && !producers.has(name) && !inputs.has(name);
  }

  /** The node that makes a value, here or in the graph around. */
  producer(name: ValueName): Node | undefined {
    if (!this.#isCaptured(name)) return this.index.producers.get(name);
    return this.#outer?.flow.producer(name);
  }

  /** Where a value is read; of a captured one, also in the graph around, but in no other body of the same node. */
  usesOf(name: ValueName): readonly Use[] {
    const own = this.index.uses.get(name) ?? [];
    if (this.#outer === undefined || !this.#isCaptured(name)) return own;
    const { flow, node } = this.#outer;
    return [...flow.usesOf(name).filter((use) => use.node !== node), ...own];
  }

  /** Number of places that read a value; being an output of the graph counts. */
  useCount(name: ValueName): number {
    return this.usesOf(name).length + (this.#isOutput(name) ? 1 : 0);
  }

  #isOutput(name: ValueName): boolean {
    if (this.index.outputs.has(name)) return true;
    const { flow } = this.#outer ?? {};
    return flow !== undefined && this.#isCaptured(name) && flow.#isOutput(name);
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

  /** The value whose elements these are, in the same order, rounded or not. */
  unmoved(name: ValueName): ValueName {
    let value = this.unrounded(name);
    for (;;) {
      const node = this.producer(value);
      if (node === undefined || !RESHAPING.has(wordOf(node))) return value;
      value = this.unrounded(node.inputs[0] ?? "");
    }
  }

  /** The node that alone reads a value, or a rounded copy of it. */
  onlyReader(name: ValueName): Node | undefined {
    let value = name;
    for (;;) {
      const reader = this.useCount(value) === 1 ? this.usesOf(value)[0]?.node : undefined;
      if (reader === undefined || !isRounding(reader) || clips(this, reader)) return reader;
      value = reader.outputs[0] ?? "";
    }
  }

  /** What a node does to a signal here, where the weights are known. */
  role(node: Node): Role {
    const { length } = this.activationInputs(node);
    const role = roleOf(node, length);
    if (role !== "transform" || !this.scalesChannels(node)) return role;
    if (fusedActivation(node) !== undefined) return "nonlinear";
    return length === 1 ? "transparent" : "other";
  }

  /**
   * Whether a convolution has one weight for each channel: it scales and shifts by constants, as a batch norm
   * does. The runtime writes one that follows no layer so.
   */
  scalesChannels(node: Node): boolean {
    const word = wordOf(node);
    if (word !== "Conv" && word !== "FusedConv") return false;
    const weight = node.inputs[node.op === "QLinearConv" ? 3 : 1] ?? "";
    const [channels, ...rest] = this.typeOf(weight)?.shape ?? [];
    const group = intAttribute(node, "group", 1);
    return group > 1 && channels === group && rest.every((dim) => dim === 1) && !shrinks(node);
  }

  /** Whether all constants beside an activation are single numbers. */
  scalesByOne(node: Node): boolean {
    const constants = node.inputs.filter((name) => !this.#activations.has(name));
    return constants.every((name) => elementCount(this.typeOf(name)?.shape) === 1);
  }

  /** Whether a node is an activation function, or acts as one. */
  activates(node: Node): boolean {
    return isActivation(node) || fusedActivation(node) !== undefined || clips(this, node);
  }

  /** Whether a value is clipped behind the fork: a path in which this happens is no longer linear. */
  #bends(node: Node): boolean {
    if (!clips(this, node)) return false;
    if (!isRounding(node)) return true;
    // A value that all its readers clip was clipped before the paths parted.
    const readers = this.usesOf(node.inputs[0] ?? "");
    return readers.length < 2 || !readers.every((use) => clips(this, use.node));
  }

  /** Whether two paths can start at a value, or a rounded copy of it: it is read twice, or split into parts. */
  forks(name: ValueName): boolean {
    let value = name;
    for (;;) {
      if (this.useCount(value) > 1) return true;
      const reader = this.usesOf(value)[0]?.node;
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
      if (this.#bends(node)) return steps;
      const role = this.role(node);
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

  /** Position of the node that makes a value: -1 for inputs and weights, less for values of the graph around. */
  position(name: ValueName): number {
    const { flow } = this.#outer ?? {};
    if (flow !== undefined && this.#isCaptured(name)) {
      return flow.position(name) - flow.graph.nodes.length - 1;
    }
    const node = this.index.producers.get(name);
    return node === undefined ? -1 : this.positionOf(node);
  }

  /** Position of a node in the order of execution, as `position`. */
  positionOf(node: Node): number {
    const outer = this.#outerOf(node);
    if (outer !== undefined) return outer.positionOf(node) - outer.graph.nodes.length - 1;
    return this.index.positions.get(node) ?? -1;
  }

  /**
   * The most transforms on any path from `source` to `target`, or undefined if there is no path.
   * `avoid` closes one value to paths; with `mixing`, pooling with stride 1 behind a norm is a transform too
   * (Yu et al. 2022, MetaFormer: it mixes what stands in the place of tokens).
   */
  longest(
    source: ValueName,
    target: ValueName,
    { avoid, mixing = false }: { avoid?: ValueName; mixing?: boolean } = {},
  ): number | undefined {
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
      const transforms = this.role(node) === "transform" || (mixing && this.#mixes(node, first));
      known.set(name, best + (transforms ? 1 : 0) + this.#transformsInside(node));
      open.pop();
    }
    const found = known.get(target) ?? Number.NEGATIVE_INFINITY;
    return Number.isFinite(found) ? found : undefined;
  }

  /** Whether a node pools with stride 1 what a norm behind position `after` gives. */
  #mixes(node: Node, after: number): boolean {
    if (markOf(node) !== "pooled" || shrinks(node)) return false;
    let value = node.inputs[0] ?? "";
    for (;;) {
      const before = this.producer(value);
      if (before === undefined || this.position(value) <= after) return false;
      if (isNorm(before)) return true;
      const inputs = this.activationInputs(before);
      const moves = this.role(before) === "transparent";
      if (!moves || markOf(before) === "pooled") return false;
      value = inputs[0] ?? "";
    }
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
    return [...region]
      .sort((a, b) => this.positionOf(a) - this.positionOf(b))
      .filter((node) => {
        if (!this.activationInputs(node).some((name) => reached.has(name))) return false;
        for (const name of node.outputs) reached.add(name);
        return true;
      });
  }
}

/** Inputs of a Scan's body that are slices of weights: networks whose layers are its rounds have them. */
export function slicedWeights(body: Graph, { flow, node }: Outer): ReadonlySet<ValueName> {
  const parts = node.op === "Scan" ? scanParts(node, flow.opset) : undefined;
  if (parts === undefined) return new Set();
  const names = body.inputs.map(
    ({ name }, i) => [name, node.inputs[i + parts.first] ?? ""] as const,
  );
  const cut = names.slice(parts.states);
  return new Set(cut.flatMap(([name, whole]) => (flow.activations.has(whole) ? [] : [name])));
}
