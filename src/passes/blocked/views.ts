// What all expansions of blocked ops use: views of a value under other sizes, blocks in another order, and the
// runtime's blocked convolution.

import { assert, present } from "../../base/assert.ts";
import type { TypedBuilder } from "../../canonical/typed-builder.ts";
import type { EmitOptions } from "../../graph/build.ts";
import { type Attribute, int, ints, type Node, type ValueName } from "../../graph/graph.ts";
import { isStatic } from "../../graph/shape.ts";
import { float32, int64, scalar } from "../../graph/tensor.ts";

/** The runtime's domain for its blocked layout (onnxruntime, core/graph/contrib_ops/nchwc_schema_defs.cc). */
export const NCHWC = "com.microsoft.nchwc";

/** Replaces one node; what it gives has the node's output names. */
export type Expansion = (v: Views, node: Node) => void;

/** A blocked convolution: `sum` is added to what it gives. */
export interface BlockedConv {
  readonly x: ValueName;
  readonly w: ValueName;
  readonly bias?: ValueName | undefined;
  readonly sum?: ValueName | undefined;
  readonly kernel: readonly number[];
  readonly pads?: readonly number[] | undefined;
  readonly strides?: readonly number[] | undefined;
  readonly dilations?: readonly number[] | undefined;
  readonly group?: number | undefined;
  readonly relu?: boolean | undefined;
  /** Name of the result. */
  readonly output?: ValueName | undefined;
}

/** Emits nodes of an expansion. */
export class Views {
  /** Channels in a block. */
  readonly block: number;
  readonly #builder: TypedBuilder;
  /** Begins the names of the nodes made here. */
  readonly #prefix: string;
  /** What several expansions need of one value, by what it is. */
  readonly #shared = new Map<string, ValueName>();

  constructor(builder: TypedBuilder, block: number, prefix: string) {
    this.#builder = builder;
    this.block = block;
    this.#prefix = prefix;
  }

  /** The static shape that a value of the region has as if it lay plain. */
  shape(name: ValueName): readonly number[] {
    const shape = this.#builder.typeOf(name)?.shape;
    assert(isStatic(shape), `the blocked value ${name} has a static shape`);
    return shape;
  }

  /** An image of the region: its sizes, and how many blocks and pixels it has. */
  image(name: ValueName): Image {
    const [batch = 0, channels = 0, height = 0, width = 0] = this.shape(name);
    return {
      batch,
      channels,
      height,
      width,
      blocks: channels / this.block,
      pixels: height * width,
    };
  }

  emit(
    op: string,
    inputs: readonly ValueName[],
    output?: ValueName,
    more?: EmitOptions,
  ): ValueName {
    const outputs = output === undefined ? {} : { outputs: [output] };
    return this.#builder.emit(op, inputs, { name: `${this.#prefix}.${op}`, ...more, ...outputs });
  }

  /** The same memory under other sizes. */
  view(x: ValueName, sizes: readonly number[], output?: ValueName): ValueName {
    return this.emit("Reshape", [x, this.integers(sizes)], output);
  }

  integers(values: readonly number[]): ValueName {
    return this.#builder.constant(int64([values.length], values), "sizes");
  }

  number(value: number): ValueName {
    return this.#builder.constant(scalar(value), "number");
  }

  /** A tensor of zeros. */
  zeros(sizes: readonly number[]): ValueName {
    const zero = { kind: "tensor", value: float32([1], [0]) } as const;
    return this.emit("ConstantOfShape", [this.integers(sizes)], undefined, {
      attributes: { value: zero },
    });
  }

  transpose(x: ValueName, perm: readonly number[], output?: ValueName): ValueName {
    return this.emit("Transpose", [x], output, { attributes: { perm: ints(perm) } });
  }

  /**
   * Pieces of equal length that lie as `rows` times `columns`, as `columns` times `rows`; so in each of several parts.
   * By Gather, which copies pieces with all threads; Transpose has one.
   */
  swapped(
    x: ValueName,
    [rows, columns, length]: readonly [number, number, number],
    parts = 1,
  ): ValueName {
    if (rows === 1 || columns === 1) return x;
    const inPart = rows * columns;
    const order = Array.from({ length: parts * inPart }, (_, i) => {
      const [at, from] = [i % inPart, i - (i % inPart)];
      return from + (at % rows) * columns + Math.floor(at / rows);
    });
    const pieces = this.view(x, [parts * inPart, length]);
    return this.emit("Gather", [pieces, this.integers(order)], undefined, {
      attributes: { axis: int(0) },
    });
  }

  /** Made by the first who asks under that key. */
  once(key: string, make: () => ValueName): ValueName {
    const known = this.#shared.get(key);
    if (known !== undefined) return known;
    const made = make();
    this.#shared.set(key, made);
    return made;
  }

  nchwc(
    op: string,
    inputs: readonly ValueName[],
    attributes: Readonly<Record<string, Attribute>> = {},
    output?: ValueName,
  ): ValueName {
    return this.emit(op, inputs, output, { domain: NCHWC, attributes });
  }

  conv(parts: BlockedConv): ValueName {
    const { kernel, pads, strides, dilations, group, relu = false } = parts;
    const attributes: Record<string, Attribute> = { kernel_shape: ints(kernel) };
    if (pads?.some((pad) => pad !== 0)) attributes["pads"] = ints(pads);
    if (strides?.some((step) => step !== 1)) attributes["strides"] = ints(strides);
    if (dilations?.some((step) => step !== 1)) attributes["dilations"] = ints(dilations);
    if (group !== undefined) attributes["group"] = int(group);
    if (relu) attributes["activation"] = { kind: "string", value: "Relu" };
    const inputs = [parts.x, parts.w, parts.bias ?? "", parts.sum ?? ""];
    while (inputs.at(-1) === "") inputs.pop();
    return this.nchwc("Conv", inputs, attributes, parts.output);
  }
}

/** Sizes of an image in the region. */
export interface Image {
  readonly batch: number;
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  readonly blocks: number;
  readonly pixels: number;
}

/** An input that must be there. */
export function input(node: Node, i: number): ValueName {
  const name = node.inputs[i] ?? "";
  assert(name !== "", `${node.name} has input ${i}`);
  return name;
}

/** An input that may be left out. */
export function optional(node: Node, i: number): ValueName | undefined {
  const name = node.inputs[i] ?? "";
  return name === "" ? undefined : name;
}

/** A result by position. */
export function output(node: Node, i = 0): ValueName {
  return present(node.outputs[i], `${node.name} has output ${i}`);
}
