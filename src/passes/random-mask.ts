// Dropout in training as plain ONNX without hidden state. Which elements are kept is a function of the seed,
// the node, the step and the place alone: the same counter-based hash as in base/random, written as a graph.
// The runtime's own Dropout draws from a generator inside the session, so that a run that is started again
// could not have the same bits.

import { present } from "../base/assert.ts";
import { hashName, mix32 } from "../base/random.ts";
import { TypedBuilder } from "../canonical/typed-builder.ts";
import type { DType } from "../graph/dtype.ts";
import type { Graph, Node, ValueName } from "../graph/graph.ts";
import { floatAttribute, int, string } from "../graph/graph.ts";
import { elementCount } from "../graph/shape.ts";
import { bytesOf, int64, numbersOf, scalar, type Tensor, tensor } from "../graph/tensor.ts";
import { CODE_OF } from "../onnx/dtype-codes.ts";

/** BitwiseXor came with this operator set. */
const OPSET_MIN = 18;

/** So many bits decide about an element; float32 holds them exactly. */
const BITS = 24;

/** A graph whose random nodes depend on a step. */
export interface Stepped {
  readonly graph: Graph;
  /** The further input, an int64 scalar, that the step is fed to; undefined where nothing is random. */
  readonly step: ValueName | undefined;
}

/**
 * Replaces each Dropout by a product with a mask: 0 with probability `ratio`, else 1 / (1 - ratio). `step` is
 * what the further input is called; it counts modulo 2^32. A Dropout inside a body, or whose ratio is
 * computed, stays what it is.
 */
export function withMasks(graph: Graph, options: { seed: number; step: ValueName }): Stepped {
  const ratios = new Map(graph.nodes.map((node) => [node, ratioOf(graph, node)]));
  const random = [...ratios.values()].some((ratio) => ratio !== undefined);
  if (!random || (graph.opsets.get("") ?? 0) < OPSET_MIN) return { graph, step: undefined };
  const builder = new TypedBuilder({ ...graph, nodes: [] });
  builder.input(options.step, "int64", []);
  const masks = new Masks(builder, freeStem(graph), options);
  for (const node of graph.nodes) {
    const ratio = ratios.get(node);
    if (ratio === undefined) builder.append(node);
    else masks.replace(node, ratio);
  }
  const { inputs, nodes, initializers, values } = builder.finish(graph.name, graph.opsets);
  return { graph: { ...graph, inputs, nodes, initializers, values }, step: options.step };
}

/** The ratio of a Dropout where it is known; undefined for other nodes. */
function ratioOf(graph: Graph, node: Node): number | undefined {
  if (node.op !== "Dropout" || node.domain !== "") return undefined;
  const [, given = ""] = node.inputs;
  // An input since operator set 12, an attribute before; 0.5 where neither is there.
  if (given === "") return floatAttribute(node, "ratio", 0.5);
  const constant = graph.initializers.get(given);
  const ratio = constant === undefined ? undefined : numbersOf(constant)?.[0];
  return ratio !== undefined && ratio >= 0 && ratio < 1 ? ratio : undefined;
}

/** A stem that no name of the graph begins with: what is named after it is new. */
function freeStem(graph: Graph): string {
  const names = [
    ...graph.nodes.flatMap((node) => [node.name, ...node.outputs]),
    ...graph.inputs.map((input) => input.name),
    ...graph.initializers.keys(),
  ];
  let stem = "mask";
  while (names.some((name) => name.startsWith(stem))) stem = `${stem}_`;
  return stem;
}

/** Writes masks; what they have in common is computed once. */
class Masks {
  readonly #builder: TypedBuilder;
  readonly #stem: string;
  readonly #seed: number;
  /** The step as a counter of the hash. */
  readonly #step: ValueName;

  constructor(builder: TypedBuilder, stem: string, options: { seed: number; step: ValueName }) {
    this.#builder = builder;
    this.#stem = stem;
    this.#seed = options.seed;
    this.#step = this.#counter(this.#cast(options.step, "uint32"));
  }

  /** y = x · mask, under the names that the node's results have. */
  replace(node: Node, ratio: number): void {
    const [x = ""] = node.inputs;
    const [y = "", kept = ""] = node.outputs;
    const key = this.#hash(this.#word(mix32(this.#seed, hashName(node.name))), this.#step);
    const bits = this.#shift(this.#hash(key, this.#places(x)), 32 - BITS);
    // Exact: the threshold is a whole number of that many bits.
    const threshold = this.#constant(scalar(Math.round(ratio * 2 ** BITS)));
    const keeps = this.#emit("GreaterOrEqual", [this.#cast(bits, "float32"), threshold]);
    const shaped = this.#emit("Reshape", [keeps, this.#shapeOf(x)]);
    const dtype = this.#builder.typeOf(x)?.dtype ?? "float32";
    const gain = this.#cast(this.#constant(scalar(1 / (1 - ratio))), dtype);
    const mask = this.#emit("Mul", [this.#cast(shaped, dtype), gain]);
    if (kept !== "") this.#emit("Identity", [shaped], [kept]);
    this.#emit("Mul", [x, mask], [y]);
  }

  /** The number of each element of a value, in order, as a counter of the hash. */
  #places(x: ValueName): ValueName {
    const count = elementCount(this.#builder.typeOf(x)?.shape);
    const end = count === undefined ? this.#emit("Size", [x]) : this.#constant(int64([], [count]));
    const [zero, one] = [this.#constant(int64([], [0])), this.#constant(int64([], [1]))];
    const range = this.#emit("Range", [zero, end, one]);
    return this.#counter(this.#cast(range, "uint32"));
  }

  #shapeOf(x: ValueName): ValueName {
    const shape = this.#builder.typeOf(x)?.shape;
    const sizes = shape?.filter((dim) => typeof dim === "number");
    return sizes === undefined || sizes.length !== shape?.length
      ? this.#emit("Shape", [x])
      : this.#constant(int64([sizes.length], sizes));
  }

  /** A Weyl sequence, as `mix32` has it: (n + 1) · golden ratio. */
  #counter(n: ValueName): ValueName {
    return this.#emit("Mul", [this.#emit("Add", [n, this.#word(1)]), this.#word(0x9e3779b9)]);
  }

  /** `mix32` of a seed and what `#counter` gives. */
  #hash(seed: ValueName, counter: ValueName): ValueName {
    let h = this.#emit("BitwiseXor", [seed, counter]);
    h = this.#emit("Mul", [this.#fold(h, 16), this.#word(0x85ebca6b)]);
    h = this.#emit("Mul", [this.#fold(h, 13), this.#word(0xc2b2ae35)]);
    return this.#fold(h, 16);
  }

  /** h xor (h >> places). */
  #fold(h: ValueName, places: number): ValueName {
    return this.#emit("BitwiseXor", [h, this.#shift(h, places)]);
  }

  #shift(h: ValueName, places: number): ValueName {
    return this.#builder.emit("BitShift", [h, this.#word(places)], {
      name: `${this.#stem}.shift`,
      attributes: { direction: string("RIGHT") },
    });
  }

  #cast(x: ValueName, dtype: DType): ValueName {
    if (this.#builder.typeOf(x)?.dtype === dtype) return x;
    const code = present(CODE_OF.get(dtype), "every element type has a number");
    return this.#builder.emit("Cast", [x], {
      name: `${this.#stem}.cast`,
      attributes: { to: int(code) },
    });
  }

  /** A uint32 scalar. */
  #word(value: number): ValueName {
    return this.#constant(tensor("uint32", [], bytesOf(Uint32Array.of(value))));
  }

  #constant(value: Tensor): ValueName {
    return this.#builder.constant(value, this.#stem);
  }

  #emit(op: string, inputs: readonly ValueName[], outputs?: readonly ValueName[]): ValueName {
    const name = `${this.#stem}.${op.toLowerCase()}`;
    return this.#builder.emit(op, inputs, outputs === undefined ? { name } : { name, outputs });
  }
}
