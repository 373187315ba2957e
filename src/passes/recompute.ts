// Values of the forward computed a second time on the way back, so that they need not be kept until then (Chen et al.,
// "Training Deep Nets with Sublinear Memory Cost", 2016). What is copied reads the kept values through a barrier: a view
// whose sizes depend on a gradient, so that ONNX Runtime neither merges the copies with the originals nor runs them early.

import { present } from "../base/assert.ts";
import { FreshNames } from "../canonical/fresh-names.ts";
import type { Attribute, Graph, Node, Value, ValueName, ValueType } from "../graph/graph.ts";
import { int, subgraphs } from "../graph/graph.ts";
import { inOrder } from "../graph/order.ts";
import { captures, typeOf } from "../graph/query.ts";
import { isStatic } from "../graph/shape.ts";
import { int64, type TensorRef } from "../graph/tensor.ts";
import { CODE_OF } from "../onnx/dtype-codes.ts";

/** A part of the forward that is computed again. */
export interface Segment {
  readonly values: readonly ValueName[];
  /** The gradient before which none of them is computed again: that of what the part gives. */
  readonly after: ValueName;
}

/** A graph that computes the same, and the second one of each value that it computes twice. */
export interface Recomputed {
  readonly graph: Graph;
  readonly copies: ReadonlyMap<ValueName, ValueName>;
}

/** Other numbers at each run: a second one would not be the first. */
const RANDOM = new Set([
  ...["RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"],
  ...["Bernoulli", "Multinomial", "Dropout"],
]);

/**
 * The parts between kept values, in the order of the graph: all that is made before the first of them, between the first
 * and the second, and so on. What is made after the last is read soon, and stays.
 *
 * @param kept With the gradient of each.
 */
export function segmentsBetween(
  graph: Graph,
  kept: ReadonlyMap<ValueName, ValueName>,
): readonly Segment[] {
  const found: Segment[] = [];
  let values: ValueName[] = [];
  for (const node of graph.nodes) {
    for (const name of node.outputs) {
      const after = kept.get(name);
      if (after === undefined) {
        if (name !== "") values.push(name);
        continue;
      }
      found.push({ values, after });
      values = [];
    }
  }
  return found;
}

/**
 * Computes values a second time for all readers that `after` does not depend on: the originals are read for the last
 * time before that gradient is there. Left as they are: outputs of the graph, what a body reads, what nodes with bodies
 * or at random give, and what depends on constants alone. Operator set 13 or later.
 */
export function recompute(graph: Graph, segments: readonly Segment[]): Recomputed {
  const work = new Recompute(graph);
  // The gradients of the last part come first, and those of others wait for them.
  for (const segment of segments.toReversed()) work.add(segment);
  return work.finish();
}

class Recompute {
  readonly #graph: Graph;
  readonly #names: FreshNames;
  /** Nodes that read other values by now than in the graph. */
  readonly #changed = new Map<Node, ValueName[]>();
  readonly #makers = new Map<ValueName, Node>();
  readonly #readers = new Map<ValueName, Set<Node>>();
  readonly #positions = new Map<Node, number>();
  /** Nodes that the runtime runs once, when it loads the model. */
  readonly #constant = new Set<Node>();
  /** What stays: outputs, and what bodies read. */
  readonly #held: Set<ValueName>;
  readonly #copies = new Map<ValueName, ValueName>();
  readonly #added: Node[] = [];
  readonly #types: Map<ValueName, Value>;
  readonly #constants: Map<ValueName, TensorRef>;

  constructor(graph: Graph) {
    this.#graph = graph;
    this.#names = new FreshNames(graph);
    this.#held = new Set(graph.outputs.map(({ name }) => name));
    this.#types = new Map(graph.values);
    this.#constants = new Map(graph.initializers);
    for (const [position, node] of graph.nodes.entries()) {
      this.#positions.set(node, position);
      this.#take(node);
      for (const body of subgraphs(node)) for (const name of captures(body)) this.#held.add(name);
      if (node.inputs.every((name) => name === "" || this.#isFixed(name))) this.#constant.add(node);
    }
  }

  #take(node: Node): void {
    for (const name of node.outputs) if (name !== "") this.#makers.set(name, node);
    for (const name of node.inputs) this.#readersOf(name).add(node);
  }

  #readersOf(name: ValueName): Set<Node> {
    const known = this.#readers.get(name) ?? new Set();
    this.#readers.set(name, known);
    return known;
  }

  #inputsOf(node: Node): readonly ValueName[] {
    return this.#changed.get(node) ?? node.inputs;
  }

  #isFixed(name: ValueName): boolean {
    const maker = this.#makers.get(name);
    return maker === undefined ? this.#graph.initializers.has(name) : this.#constant.has(maker);
  }

  add({ values, after }: Segment): void {
    const start = this.#makers.get(after);
    // A gradient that is constant is there before everything else.
    if (start === undefined) return;
    const before = this.#neededFor(start);
    const own = new Set(values.filter((name) => this.#canRepeat(name, before)));
    const late = new Map(
      [...own].map((name) => [
        name,
        [...this.#readersOf(name)].filter((reader) => !before.has(reader)),
      ]),
    );
    const makers = this.#makersOf(
      [...own].filter((name) => (late.get(name) ?? []).length > 0),
      own,
    );
    if (makers.length === 0) return;
    const copies = new Map<ValueName, ValueName>();
    for (const name of makers.flatMap(({ outputs }) => outputs)) {
      if (name !== "") copies.set(name, this.#value(`${name}.again`, this.typeOf(name)));
    }
    const barrier = new Barrier(this, after);
    for (const node of makers) {
      const inputs = node.inputs.map((name, i) => {
        if (isStatistic(node, i)) return barrier.unlike(name, i);
        return name === "" || this.#isFixed(name) ? name : (copies.get(name) ?? barrier.view(name));
      });
      const outputs = node.outputs.map((name) => copies.get(name) ?? "");
      this.#append({ ...node, name: this.#names.node(`${node.name}.again`), inputs, outputs });
    }
    for (const [name, readers] of late) {
      const copy = copies.get(name);
      if (copy === undefined) continue;
      for (const reader of readers) this.#redirect(reader, name, copy);
      if (readers.length > 0) this.#copies.set(name, copy);
    }
  }

  /** All nodes that have run when this one has. */
  #neededFor(start: Node): ReadonlySet<Node> {
    const found = new Set([start]);
    // A set goes on over what is added to it meanwhile.
    for (const node of found) {
      const bodies = subgraphs(node).flatMap((body) => [...captures(body)]);
      for (const name of [...this.#inputsOf(node), ...bodies]) {
        const maker = this.#makers.get(name);
        if (maker !== undefined) found.add(maker);
      }
    }
    return found;
  }

  #canRepeat(name: ValueName, before: ReadonlySet<Node>): boolean {
    const maker = this.#makers.get(name);
    if (maker === undefined || !before.has(maker) || this.#held.has(name)) return false;
    return !this.#constant.has(maker) && !RANDOM.has(maker.op) && subgraphs(maker).length === 0;
  }

  /** The nodes that make these values of what may be repeated, in the order of the graph. */
  #makersOf(values: readonly ValueName[], own: ReadonlySet<ValueName>): readonly Node[] {
    const wanted = new Set(values);
    const makers = new Set<Node>();
    for (const name of wanted) {
      const maker = present(this.#makers.get(name), "what is repeated has a maker");
      makers.add(maker);
      for (const input of maker.inputs) if (own.has(input)) wanted.add(input);
    }
    const at = (node: Node): number => this.#positions.get(node) ?? 0;
    return [...makers].sort((a, b) => at(a) - at(b));
  }

  #redirect(reader: Node, from: ValueName, to: ValueName): void {
    const inputs = this.#inputsOf(reader).map((name) => (name === from ? to : name));
    this.#changed.set(reader, inputs);
    this.#readersOf(from).delete(reader);
    this.#readersOf(to).add(reader);
  }

  /** Adds a node with one output. */
  emit(
    op: string,
    inputs: readonly ValueName[],
    type: ValueType | undefined,
    attributes: Readonly<Record<string, Attribute>> = {},
  ): ValueName {
    const name = this.#names.node(`barrier.${op}`);
    const output = this.#value(name, type);
    const given = new Map(Object.entries(attributes));
    this.#append({ name, op, domain: "", inputs, outputs: [output], attributes: given });
    return output;
  }

  #append(node: Node): void {
    this.#added.push(node);
    this.#take(node);
  }

  #value(wanted: ValueName, type: ValueType | undefined): ValueName {
    const name = this.#names.value(wanted);
    if (type !== undefined) this.#types.set(name, { ...type, name });
    return name;
  }

  /** A constant vector. */
  integers(values: readonly number[]): ValueName {
    const name = this.#names.value("barrier.sizes");
    this.#constants.set(name, int64([values.length], values));
    return name;
  }

  typeOf(name: ValueName): ValueType | undefined {
    return typeOf(this.#graph, name);
  }

  finish(): Recomputed {
    if (this.#added.length === 0) return { graph: this.#graph, copies: this.#copies };
    // Copies stand just before their first reader: behind all that the forward still reads.
    const nodes = inOrder(
      [...this.#graph.nodes, ...this.#added].map((node) => {
        const inputs = this.#changed.get(node);
        return inputs === undefined ? node : { ...node, inputs };
      }),
    );
    const [values, initializers] = [this.#types, this.#constants];
    return { graph: { ...this.#graph, nodes, values, initializers }, copies: this.#copies };
  }
}

/**
 * Whether an input is a running statistic of a normalisation over the batch. The runtime writes the next one over it
 * (onnxruntime, core/providers/cpu/nn/batch_norm.cc: Alias), where a copy would move it a second time. What is normalised
 * does not depend on it.
 */
function isStatistic(node: Node, input: number): boolean {
  return node.op === "BatchNormalization" && node.domain === "" && (input === 3 || input === 4);
}

/** What is not there before a gradient is. */
class Barrier {
  readonly #work: Recompute;
  readonly #zero: ValueName;
  readonly #views = new Map<ValueName, ValueName>();

  constructor(work: Recompute, after: ValueName) {
    this.#work = work;
    this.#zero = zeroOf(work, after);
  }

  /** The same memory; its sizes are its own plus 0. */
  view(name: ValueName): ValueName {
    const known = this.#views.get(name);
    if (known !== undefined) return known;
    const sizes = this.#work.emit("Add", [this.#sizes(name), this.#zero], vector(name, this.#work));
    const view = this.#work.emit("Reshape", [name, sizes], this.#work.typeOf(name));
    this.#views.set(name, view);
    return view;
  }

  /** Numbers of its type and sizes in memory of their own, which may be written over. */
  unlike(name: ValueName, number: number): ValueName {
    const type = this.#work.typeOf(name);
    const dtype = present(type, "a statistic has a type").dtype;
    const given = [this.#zero, this.#work.integers([number])];
    const sum = this.#work.emit("Add", given, { dtype: "int64", shape: [1] });
    const to = int(present(CODE_OF.get(dtype), "every element type has a number"));
    const cast = this.#work.emit("Cast", [sum], { dtype, shape: [1] }, { to });
    return this.#work.emit("Expand", [cast, this.#sizes(name)], type);
  }

  #sizes(name: ValueName): ValueName {
    const shape = this.#work.typeOf(name)?.shape;
    return isStatic(shape)
      ? this.#work.integers(shape)
      : this.#work.emit("Shape", [name], vector(name, this.#work));
  }
}

function vector(name: ValueName, work: Recompute): ValueType {
  return { dtype: "int64", shape: [work.typeOf(name)?.shape?.length ?? "?"] };
}

/** 0 as an int64 scalar, once a value is there; of one without elements too, and of one that is no number. */
function zeroOf(work: Recompute, value: ValueName): ValueName {
  const dtype = work.typeOf(value)?.dtype ?? "float32";
  const some = (of: ValueType["dtype"]): ValueType => ({ dtype: of, shape: ["?"] });
  const flat = work.emit("Reshape", [value, work.integers([-1])], some(dtype));
  const first = work.emit("Slice", [flat, work.integers([0]), work.integers([1])], some(dtype));
  const to = int(present(CODE_OF.get("int64"), "every element type has a number"));
  const whole = work.emit("Cast", [first], some("int64"), { to });
  const none = work.emit("Mul", [whole, work.integers([0])], some("int64"));
  return work.emit("ReduceSum", [none], { dtype: "int64", shape: [] }, { keepdims: int(0) });
}
