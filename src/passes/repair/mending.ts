// Nodes that come into a graph beside its own, under names that nothing there has. Written for the operator
// set of the graph: what is an input today was an attribute before.

import { hashName, Random } from "../../base/random.ts";
import type { FreshNames } from "../../canonical/fresh-names.ts";
import type { DType } from "../../graph/dtype.ts";
import { type Attribute, int, ints, type Node, type ValueName } from "../../graph/graph.ts";
import { float32, int64, type TensorRef } from "../../graph/tensor.ts";
import { CODE_OF } from "../../onnx/dtype-codes.ts";

/** What new nodes are written for. */
export interface MendingOptions {
  readonly names: FreshNames;
  readonly opset: number;
  /** Names of what is made begin with it. */
  readonly stem: string;
}

/** Collects the new nodes and constants of one repair. */
export class Mending {
  readonly nodes: Node[] = [];
  readonly initializers: Map<ValueName, TensorRef> = new Map();
  readonly #options: MendingOptions;

  constructor(options: MendingOptions) {
    this.#options = options;
  }

  /** A node of one output. */
  emit(
    op: string,
    inputs: readonly ValueName[],
    attributes: Readonly<Record<string, Attribute>> = {},
  ): ValueName {
    const { names, stem } = this.#options;
    const name = names.node(`${stem}.${op.toLowerCase()}`);
    const output = names.value(name);
    const entries = new Map(Object.entries(attributes));
    this.nodes.push({ name, op, domain: "", inputs, outputs: [output], attributes: entries });
    return output;
  }

  /** A list of integers. */
  integers(what: string, values: readonly number[]): ValueName {
    return this.#constant(what, int64([values.length], values));
  }

  /** A weight to be trained: normal with variance 2 / fan-in (He et al. 2015, equation 10). */
  weight(
    shape: readonly number[],
    { fanIn, seed, dtype }: { fanIn: number; seed: number; dtype: DType },
  ): ValueName {
    const values = new Float32Array(shape.reduce((product, dim) => product * dim, 1));
    const stream = hashName(this.#options.stem);
    new Random(seed, stream).fillNormal(values, Math.sqrt(2 / fanIn));
    const name = this.#constant("weight", float32(shape, values));
    const code = CODE_OF.get(dtype) ?? 1;
    return dtype === "float32" ? name : this.emit("Cast", [name], { to: int(code) });
  }

  unsqueeze(x: ValueName, axes: readonly number[]): ValueName {
    return this.#options.opset < 13
      ? this.emit("Unsqueeze", [x], { axes: ints(axes) })
      : this.emit("Unsqueeze", [x, this.integers("axes", axes)]);
  }

  /** Zeros at the end of some axes. */
  padEnd(x: ValueName, rank: number, by: ReadonlyMap<number, number>): ValueName {
    const pads = Array.from({ length: 2 * rank }, (_, i) => by.get(i - rank) ?? 0);
    return this.#options.opset < 11
      ? this.emit("Pad", [x], { pads: ints(pads) })
      : this.emit("Pad", [x, this.integers("pads", pads)]);
  }

  /** From one place to another along some axes. */
  slice(x: ValueName, along: readonly { axis: number; from: number; to: number }[]): ValueName {
    const starts = along.map(({ from }) => from);
    const ends = along.map(({ to }) => to);
    const axes = along.map(({ axis }) => axis);
    if (this.#options.opset < 10) {
      return this.emit("Slice", [x], { starts: ints(starts), ends: ints(ends), axes: ints(axes) });
    }
    const inputs = [
      this.integers("starts", starts),
      this.integers("ends", ends),
      this.integers("axes", axes),
    ];
    return this.emit("Slice", [x, ...inputs]);
  }

  /** The size along an axis, as a list of one. */
  dimOf(x: ValueName, axis: number): ValueName {
    return this.slice(this.emit("Shape", [x]), [{ axis: 0, from: axis, to: axis + 1 }]);
  }

  /** What has 1 along an axis, as often as another value is large along one of its own. */
  expandAlong(
    x: ValueName,
    { rank, axis, like }: { rank: number; axis: number; like: readonly [ValueName, number] },
  ): ValueName {
    const ones = (what: string, count: number): ValueName[] =>
      count === 0 ? [] : [this.integers(what, new Array(count).fill(1))];
    const parts = [
      ...ones("before", axis),
      this.dimOf(...like),
      ...ones("behind", rank - axis - 1),
    ];
    return this.emit("Expand", [x, this.emit("Concat", parts, { axis: int(0) })]);
  }

  #constant(what: string, ref: TensorRef): ValueName {
    const { names, stem } = this.#options;
    const name = names.value(`${stem}.${what}`);
    this.initializers.set(name, ref);
    return name;
  }
}
