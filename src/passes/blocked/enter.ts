// Which part of a graph runs in the blocked layout: convolutions whose channels fill blocks, the batch
// normalisations behind them with skip and Relu, global pooling, and what treats elements alone between
// them. Everything else stays as it is, behind a Leave.

import { assert } from "../../base/assert.ts";
import { TypedBuilder } from "../../canonical/typed-builder.ts";
import type { Attribute, Graph, Node, ValueName } from "../../graph/graph.ts";
import { int, intAttribute, ints, subgraphs } from "../../graph/graph.ts";
import { captures, indexOf, typeOf } from "../../graph/query.ts";
import { elementCount, isStatic, sameShape } from "../../graph/shape.ts";
import { int64 } from "../../graph/tensor.ts";
import { BLOCKED_DOMAIN, plainInput } from "../../ops/blocked.ts";
import { windowOf } from "../../ops/window.ts";
import { borderCost, type ConvolutionKind, gainOf } from "./gain.ts";
import type { WeightForm } from "./weight-form.ts";

/** The graph with its region, and the weights that the region wants in blocks. */
export interface BlockedForm {
  readonly graph: Graph;
  /** Initializers that are read as convolution weights of the region and by nothing else. */
  readonly weights: ReadonlyMap<ValueName, WeightForm>;
  /** From a value of the graph to the one that holds it in the region, where that has another name. */
  readonly inside: ReadonlyMap<ValueName, ValueName>;
}

/** What the region is built for. */
export interface BlockedOptions {
  /** Channels in a block. */
  readonly block: number;
  /** Values that must stay values of the graph. */
  readonly keep: ReadonlySet<ValueName>;
  /** Microseconds of a step that must be gained by estimate. Default 0. */
  readonly leastGainUs?: number | undefined;
}

/** Ops that give each element from that element alone, and from scalars. */
const ELEMENTWISE = new Set([
  ...["Add", "Sub", "Mul", "Div", "Sum", "Relu", "LeakyRelu", "Sigmoid", "Tanh", "HardSigmoid"],
  ...["HardSwish", "Elu", "Selu", "Softplus", "Clip", "Identity", "Neg", "Abs", "Exp", "Erf"],
]);

/**
 * Rewrites the training form of a graph, with static shapes, so that what gains runs blocked. Values keep
 * their names; those of the region that are outputs of the graph are named anew inside. The same graph
 * where the layout gains nothing (gain.ts).
 */
export function enterBlocked(graph: Graph, options: BlockedOptions): BlockedForm {
  const entering = new Entering(graph, options);
  for (const node of graph.nodes) entering.visit(node);
  return entering.finish();
}

type Window = NonNullable<ReturnType<typeof windowOf>>;

class Entering {
  readonly #graph: Graph;
  readonly #block: number;
  readonly #keep: ReadonlySet<ValueName>;
  /** Values that are known by their names outside of the region: outputs, and what bodies read. */
  readonly #outside: ReadonlySet<ValueName>;
  readonly #builder: TypedBuilder;
  /** From a value of the graph to the one that holds it in blocks, and to the one that holds it plain. */
  readonly #blocked = new Map<ValueName, ValueName>();
  readonly #plain = new Map<ValueName, ValueName>();
  readonly #weights = new Map<ValueName, WeightForm>();
  /** Nodes that an earlier one has taken in. */
  readonly #taken = new Set<Node>();
  /** Values whose producer has been visited. */
  readonly #made = new Set<ValueName>();
  /** Results of convolutions from which the running mean is taken off. */
  readonly #shifted = new Set<ValueName>();
  /** Microseconds of a step that the convolutions of the region gain. */
  #gainUs = 0;
  #any = false;
  readonly #leastGainUs: number;

  constructor(graph: Graph, { block, keep, leastGainUs = 0 }: BlockedOptions) {
    this.#leastGainUs = leastGainUs;
    this.#graph = graph;
    this.#block = block;
    const captured = graph.nodes.flatMap(subgraphs).flatMap((body) => [...captures(body)]);
    this.#outside = new Set([...graph.outputs.map((value) => value.name), ...captured]);
    this.#keep = new Set([...keep, ...this.#outside]);
    this.#builder = new TypedBuilder({ ...graph, nodes: [], outputs: [] });
    for (const value of graph.inputs) this.#made.add(value.name);
  }

  visit(node: Node): void {
    if (!this.#taken.has(node) && !this.#intoRegion(node)) this.#asItIs(node);
    for (const name of node.outputs) this.#made.add(name);
  }

  finish(): BlockedForm {
    const none = new Map();
    if (!this.#any || this.#gainUs < this.#leastGainUs)
      return { graph: this.#graph, weights: none, inside: none };
    for (const output of this.#graph.outputs) {
      this.#plainOf(output.name);
      this.#builder.output(output);
    }
    const { name, opsets, metadata } = this.#graph;
    return {
      graph: this.#builder.finish(name, opsets, metadata),
      weights: this.#weights,
      inside: new Map([...this.#blocked].filter(([outside, inside]) => outside !== inside)),
    };
  }

  #intoRegion(node: Node): boolean {
    if (node.domain !== "") return false;
    if (node.op === "Conv") return this.#convolution(node);
    if (node.op === "BatchNormalization") return this.#norm(node);
    if (node.op === "GlobalAveragePool") return this.#globalPool(node);
    if (node.op === "Concat") return this.#concat(node);
    return ELEMENTWISE.has(node.op) && this.#elementwise(node);
  }

  #asItIs(node: Node): void {
    // A body reads values by their names in this graph.
    for (const body of subgraphs(node)) for (const name of captures(body)) this.#plainOf(name);
    const inputs = node.inputs.map((name) => this.#plainOf(name));
    this.#builder.append({ ...node, inputs });
  }

  #shape(name: ValueName): readonly number[] | undefined {
    const type = typeOf(this.#graph, name);
    return type?.dtype === "float32" && isStatic(type.shape) ? type.shape : undefined;
  }

  /** Whether a value could stand in the region: at most half of its last block may be zeros. */
  #fits(name: ValueName): boolean {
    const shape = this.#shape(name);
    return shape?.length === 4 && (shape[1] ?? 0) >= this.#block / 2;
  }

  #channels(name: ValueName): number {
    return this.#shape(name)?.[1] ?? 0;
  }

  #isWhole(name: ValueName): boolean {
    return this.#channels(name) % this.#block === 0;
  }

  /** Zeros behind a vector over channels, as many as its image has. */
  #filled(vector: ValueName): ValueName {
    const count = vector === "" ? 0 : (this.#builder.typeOf(vector)?.shape?.[0] ?? 0);
    assert(typeof count === "number", `the vector ${vector} has a static shape`);
    const more = Math.ceil(count / this.#block) * this.#block - count;
    if (vector === "" || more === 0) return vector;
    const pads = this.#builder.constant(int64([2], [0, more]), "more");
    return this.#builder.emit("Pad", [vector, pads], { name: `${vector}.filled` });
  }

  /** The first elements of a vector, under a name of the graph. */
  #first(vector: ValueName, count: number, name: ValueName): void {
    const bounds = [0, count, 0].map((value) => this.#builder.constant(int64([1], [value])));
    this.#builder.emit("Slice", [vector, ...bounds], { name, outputs: [name] });
  }

  #border(name: ValueName): Record<string, Attribute> {
    this.#gainUs -= borderCost(elementCount(this.#shape(name)) ?? 0);
    return { channels: int(this.#channels(name)), block: int(this.#block) };
  }

  #plainOf(name: ValueName): ValueName {
    const inside = this.#blocked.get(name);
    if (inside === undefined) return name;
    const known = this.#plain.get(name);
    if (known !== undefined) return known;
    const outputs = inside === name ? undefined : { outputs: [name] };
    const plain = this.#builder.emit("Leave", [inside], {
      domain: BLOCKED_DOMAIN,
      name: `${name}.plain`,
      attributes: this.#border(name),
      ...outputs,
    });
    this.#plain.set(name, plain);
    return plain;
  }

  #blockedOf(name: ValueName): ValueName {
    const known = this.#blocked.get(name);
    if (known !== undefined) return known;
    const inside = this.#builder.emit("Enter", [name], {
      domain: BLOCKED_DOMAIN,
      name: `${name}.blocked`,
      attributes: this.#border(name),
    });
    this.#plain.set(name, name);
    this.#blocked.set(name, inside);
    return inside;
  }

  /** The name of a result in the region: its own, unless its shape is not, or it must be had plain. */
  #resultName(name: ValueName): ValueName {
    const other = this.#outside.has(name) || !this.#isWhole(name);
    const inside = other ? `${name}.inside` : name;
    this.#blocked.set(name, inside);
    return inside;
  }

  #emit(op: string, node: Node, inputs: readonly ValueName[], parts: Emitted): void {
    const { result, further = [], attributes } = parts;
    this.#builder.emitAll(op, inputs, {
      domain: BLOCKED_DOMAIN,
      name: node.name,
      outputs: [this.#resultName(result), ...further],
      attributes,
    });
  }

  #convolution(node: Node): boolean {
    const [x = "", w = "", bias = ""] = node.inputs;
    const [y = ""] = node.outputs;
    const [image = [], kernel = []] = [this.#shape(x), this.#shape(w)];
    const kind = this.#kindOf(node);
    const window = windowOf(node, kernel.slice(2), image.slice(2));
    if (kind === undefined || window === undefined) return false;
    if (bias !== "" && this.#shape(bias) === undefined) return false;
    const [batch = 0, outputs = 0, ...size] = this.#shape(y) ?? [];
    if (!suits(window, image.slice(2), size) || (kind === "depthwise" && !seesAll(window)))
      return false;
    const flops = [batch, ...size, ...kernel].reduce((a, b) => a * b, 2);
    this.#any = true;
    this.#gainUs += gainOf({ flops, batch, inputs: image[1] ?? 0, outputs, kind }, this.#block);
    const weight = this.#weight(w, kind);
    const shift = this.#runningMean(y);
    if (shift !== undefined) this.#shifted.add(y);
    const from = kind === "first" ? x : this.#blockedOf(x);
    this.#emit("Conv", node, [from, weight, this.#filled(this.#bias(node, bias, shift))], {
      result: y,
      attributes: {
        kernel_shape: ints(window.kernel),
        strides: ints(window.strides),
        pads: ints([...window.padsBegin, ...window.padsEnd]),
        ...(kind === "first" ? plainInput : {}),
        ...(kind === "depthwise" ? { depthwise: int(1) } : {}),
      },
    });
    return true;
  }

  /** How the region computes a convolution: undefined where not at all. */
  #kindOf(node: Node): ConvolutionKind | undefined {
    const [x = "", w = ""] = node.inputs;
    const [y = ""] = node.outputs;
    const [image, kernel] = [this.#shape(x), this.#shape(w)];
    if (image === undefined || kernel?.length !== 4 || !this.#fits(y)) return undefined;
    const group = intAttribute(node, "group", 1);
    if (group !== 1) {
      const each = group === image[1] && group === kernel[0] && this.#fits(x);
      return each ? "depthwise" : undefined;
    }
    const few = (image[1] ?? 0) < this.#block;
    if (few && !this.#blocked.has(x) && this.#isGraphInput(x)) return "first";
    return this.#fits(x) ? "dense" : undefined;
  }

  #isGraphInput(x: ValueName): boolean {
    return this.#graph.inputs.some((value) => value.name === x) && !this.#keep.has(x);
  }

  #weight(w: ValueName, kind: ConvolutionKind): ValueName {
    const form: WeightForm = kind === "dense" ? "blocks" : "outputs";
    const uses = indexOf(this.#graph).uses.get(w) ?? [];
    const alone = uses.length === 1 && this.#graph.initializers.has(w) && !this.#keep.has(w);
    const [outputs = 0, inputs = 0] = this.#shape(w) ?? [];
    const whole = outputs % this.#block === 0 && (form === "outputs" || inputs % this.#block === 0);
    if (alone && whole) {
      this.#weights.set(w, form);
      return w;
    }
    return this.#builder.emit("BlockWeight", [w], {
      domain: BLOCKED_DOMAIN,
      name: `${w}.blocks`,
      attributes: {
        size: ints([outputs, inputs]),
        block: int(this.#block),
        ...(form === "outputs" ? plainInput : {}),
      },
    });
  }

  /** The running mean of the normalisation behind a value, if it alone reads it. */
  #runningMean(y: ValueName): ValueName | undefined {
    const use = this.#onlyUse(y);
    if (use?.op !== "BatchNormalization" || use.inputs[0] !== y) return undefined;
    return isTraining(use) ? use.inputs[3] : undefined;
  }

  #bias(node: Node, bias: ValueName, shift: ValueName | undefined): ValueName {
    if (shift === undefined) return bias;
    const name = `${node.name}.shift`;
    return bias === ""
      ? this.#builder.emit("Neg", [shift], { name })
      : this.#builder.emit("Sub", [bias, shift], { name });
  }

  /** The one node that reads a value, unless the value must stay. */
  #onlyUse(name: ValueName): Node | undefined {
    const uses = indexOf(this.#graph).uses.get(name) ?? [];
    const [first] = uses;
    return uses.length === 1 && !this.#keep.has(name) && first?.input !== -1
      ? first?.node
      : undefined;
  }

  #norm(node: Node): boolean {
    const [x = "", ...vectors] = node.inputs;
    const inside = this.#blocked.get(x);
    if (inside === undefined || !isTraining(node)) return false;
    if (!vectors.every((vector) => this.#shape(vector) !== undefined)) return false;
    const shifted = this.#shifted.has(x);
    const { skip, last } = this.#behind(node);
    const [y = "", mean = "", variance = ""] = node.outputs;
    const relu = last.op === "Relu";
    const result = last === node ? y : (last.outputs[0] ?? "");
    const whole = this.#isWhole(x);
    const filled = vectors.map((vector) => this.#filled(vector));
    const next = [mean, variance].map((name) =>
      whole && name !== "" ? name : `${node.name}.${name}`,
    );
    const further = [...next, `${node.name}.mean`, `${node.name}.inverse`];
    const own: [string, Attribute][] = [...node.attributes].filter(([name]) =>
      ["epsilon", "momentum"].includes(name),
    );
    this.#emit("Norm", node, [inside, ...filled, skip === undefined ? "" : this.#blockedOf(skip)], {
      result,
      further,
      attributes: {
        ...Object.fromEntries(own),
        ...(relu ? { relu: int(1) } : {}),
        ...(shifted ? { shifted: int(1) } : {}),
      },
    });
    for (const [i, name] of [mean, variance].entries()) {
      if (!whole && name !== "") this.#first(next[i] ?? "", this.#channels(x), name);
    }
    return true;
  }

  /** The skip that is added behind a normalisation and the last node that it takes in. */
  #behind(node: Node): { skip: ValueName | undefined; last: Node } {
    let last = node;
    let skip: ValueName | undefined;
    const [y = ""] = node.outputs;
    const sum = this.#onlyUse(y);
    if (sum?.op === "Add" && sum.domain === "") {
      const other = sum.inputs.find((name) => name !== y);
      const same = other !== undefined && sameShape(this.#shape(other), this.#shape(y));
      if (same && (this.#made.has(other) || this.#graph.initializers.has(other))) {
        skip = other;
        last = sum;
      }
    }
    const [z = ""] = last.outputs;
    const relu = this.#onlyUse(z);
    if (relu?.op === "Relu" && relu.domain === "") last = relu;
    if (last !== node) this.#taken.add(last);
    if (skip !== undefined && sum !== undefined) this.#taken.add(sum);
    return { skip, last };
  }

  #globalPool(node: Node): boolean {
    const [x = ""] = node.inputs;
    const [y = ""] = node.outputs;
    const inside = this.#blocked.get(x);
    if (inside === undefined) return false;
    const whole = this.#isWhole(x);
    const mean = whole ? y : `${node.name}.filled`;
    const options = { domain: BLOCKED_DOMAIN, name: node.name, outputs: [mean] };
    this.#builder.emit("GlobalAveragePool", [inside], options);
    if (!whole) {
      const bounds = [0, this.#channels(x), 1].map((value) =>
        this.#builder.constant(int64([1], [value])),
      );
      this.#builder.emit("Slice", [mean, ...bounds], { name: y, outputs: [y] });
    }
    return true;
  }

  /** Along channels: blocks lie one after another as channels do. */
  #concat(node: Node): boolean {
    const axis = intAttribute(node, "axis", 1);
    if (axis !== 1 && axis !== -3) return false;
    if (!node.inputs.some((name) => this.#blocked.has(name))) return false;
    if (!node.inputs.every((name) => this.#fits(name) && this.#isWhole(name))) return false;
    this.#again(node, node.inputs);
    return true;
  }

  #elementwise(node: Node): boolean {
    const [y = ""] = node.outputs;
    const shape = this.#shape(y);
    // Zeros that fill a block up, divided by each other, would be no numbers.
    if (node.op === "Div" && !this.#isWhole(y)) return false;
    if (shape === undefined || !node.inputs.some((name) => this.#blocked.has(name))) return false;
    const whole = node.inputs.filter(
      (name) => name !== "" && elementCount(this.#shape(name)) !== 1,
    );
    if (!whole.every((name) => sameShape(this.#shape(name), shape) && this.#fits(name)))
      return false;
    this.#again(node, whole);
    return true;
  }

  /** The same node on the blocked forms of some of its operands. */
  #again(node: Node, whole: readonly ValueName[]): void {
    const inputs = node.inputs.map((name) => (whole.includes(name) ? this.#blockedOf(name) : name));
    const [y = ""] = node.outputs;
    this.#builder.append({ ...node, inputs, outputs: [this.#resultName(y)] });
  }
}

interface Emitted {
  readonly result: ValueName;
  readonly further?: readonly ValueName[];
  readonly attributes: Readonly<Record<string, Attribute>>;
}

/** Whether forward and both gradients of a window are written for the region. */
function suits(window: Window, input: readonly number[], output: readonly number[]): boolean {
  const [stride = 1] = window.strides;
  if (window.strides.some((one) => one !== stride)) return false;
  if (window.dilations.some((one) => one !== 1)) return false;
  return window.kernel.every((k, axis) => {
    const [begin = 0, end = 0] = [window.padsBegin[axis], window.padsEnd[axis]];
    const size = input[axis] ?? 0;
    const even = size % stride === 0 && output[axis] === size / stride;
    const meetsAll = k - stride - begin >= 0 || k === 1;
    return begin < k && end < k && even && meetsAll;
  });
}

/** Whether every pixel is met by a tap. */
function seesAll({ kernel, strides }: Window): boolean {
  return kernel.every((k, axis) => k >= (strides[axis] ?? 1));
}

function isTraining(node: Node): boolean {
  return intAttribute(node, "training_mode", 0) !== 0;
}
