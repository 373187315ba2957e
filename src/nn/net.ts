// What a layer is, and how layers become a graph. A layer is a function from a value to a value that
// adds nodes and weights on the way; anything of that form is a layer, ours or a user's own.

import { diagnostic } from "../base/diagnostic.ts";
import { SkipwayError } from "../base/errors.ts";
import { TypedBuilder } from "../canonical/typed-builder.ts";
import type { EmitOptions } from "../graph/build.ts";
import type { Graph, ValueName } from "../graph/graph.ts";
import { formatShape, type Shape } from "../graph/shape.ts";
import type { Tensor } from "../graph/tensor.ts";
import { type Init, initialTensor } from "./init.ts";

/** Operator set of everything that the builder makes. */
const OPSET = 20;

/** A part of a network. */
export interface Layer {
  /** What weights and nodes of this layer are named after, such as `conv`. */
  readonly name: string;
  /** Adds the layer to the network that is being built; returns its output. */
  build(net: Net, x: ValueName): ValueName;
}

/** A network under construction, as a layer sees it. */
export interface Net {
  /** Adds one node; returns its first output. */
  emit(op: string, inputs: readonly ValueName[], options?: EmitOptions): ValueName;
  /** Adds a trainable weight, or with `trainable: false` a statistic, under a readable path. */
  weight(name: string, shape: readonly number[], init: Init): ValueName;
  constant(tensor: Tensor, stem?: string): ValueName;
  /** The shape of a value as far as it is known; the batch is a symbol. */
  shape(x: ValueName): Shape;
  /** The number of channels (axis 1) of a value. */
  channels(x: ValueName): number;
  /** Builds a layer inside this one; its weights are named `outer.inner.weight`. */
  inside(layer: Layer, x: ValueName): ValueName;
  /** Ends the building with a finding that names this layer. */
  fail(id: string, text: string, fix: string): never;
}

/** What a network takes in. The batch axis comes in front. */
export interface NetInput {
  readonly name: string;
  /** Shape of one example, such as `[1, 8, 8]`. */
  readonly shape: readonly number[];
}

/** How a network is made into a graph. */
export interface BuildOptions {
  readonly input: NetInput;
  readonly output: string;
  readonly seed: number;
  readonly name?: string;
}

/** A layer of one's own: `layer("scale", (net, x) => net.emit("Mul", [x, …]))`. */
export function layer(name: string, build: Layer["build"]): Layer {
  return { name, build };
}

/**
 * Builds the inference graph of a network: input `[N, …shape]` float32, one output, weights as
 * initializers with readable names.
 *
 * @throws SkipwayError `input` when shapes do not fit; the diagnostic names the layer and the repair.
 */
export function buildNet(root: Layer, options: BuildOptions): Graph {
  const builder = new TypedBuilder();
  const input = builder.input(options.input.name, "float32", ["N", ...options.input.shape]);
  const net = new ScopedNet(builder, options.seed, []);
  const y = root.build(net, input);
  const type = builder.typeOf(y);
  builder.emit("Identity", [y], { name: options.output, outputs: [options.output] });
  builder.output({ name: options.output, dtype: "float32", shape: type?.shape });
  return builder.finish(options.name ?? root.name, new Map([["", OPSET]]));
}

class ScopedNet implements Net {
  readonly #builder: TypedBuilder;
  readonly #seed: number;
  readonly #path: readonly string[];
  readonly #counts = new Map<string, number>();

  constructor(builder: TypedBuilder, seed: number, path: readonly string[]) {
    this.#builder = builder;
    this.#seed = seed;
    this.#path = path;
  }

  #name(own: string): string {
    return [...this.#path, own].join(".");
  }

  emit(op: string, inputs: readonly ValueName[], options: EmitOptions = {}): ValueName {
    const name = this.#name(options.name ?? op.toLowerCase());
    return this.#builder.emit(op, inputs, { ...options, name });
  }

  weight(name: string, shape: readonly number[], init: Init): ValueName {
    const path = this.#name(name);
    const start = initialTensor(init, { name: path, shape, seed: this.#seed });
    return this.#builder.initializer(path, start);
  }

  constant(tensor: Tensor, stem?: string): ValueName {
    return this.#builder.constant(tensor, stem);
  }

  shape(x: ValueName): Shape {
    const shape = this.#builder.typeOf(x)?.shape;
    if (shape !== undefined) return shape;
    return this.fail("nn/shape", `the shape of "${x}" is unknown`, "Use ops with a shape rule.");
  }

  channels(x: ValueName): number {
    const channels = this.shape(x)[1];
    if (typeof channels === "number") return channels;
    return this.fail(
      "nn/channels",
      `the channels (axis 1) of a value of shape ${formatShape(this.shape(x))} are not known`,
      "Put the layer behind one that fixes the number of channels.",
    );
  }

  inside(inner: Layer, x: ValueName): ValueName {
    const count = (this.#counts.get(inner.name) ?? 0) + 1;
    this.#counts.set(inner.name, count);
    const own = count === 1 ? inner.name : `${inner.name}${count}`;
    const scope = inner.name === "" ? this.#path : [...this.#path, own];
    return inner.build(new ScopedNet(this.#builder, this.#seed, scope), x);
  }

  fail(id: string, text: string, fix: string): never {
    const where = `layer ${this.#path.length === 0 ? "(root)" : this.#path.join(".")}`;
    throw SkipwayError.fromDiagnostics("input", [
      diagnostic({ id, severity: "error", where, text, fix }),
    ]);
  }
}
