// How layers become a graph: the network under construction as layers see it, and the function that makes
// a graph of a layer.

import { diagnostic } from "../base/diagnostic.ts";
import { SkipwayError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { TypedBuilder } from "../canonical/typed-builder.ts";
import type { EmitOptions } from "../graph/build.ts";
import type { DType } from "../graph/dtype.ts";
import { gatesMetadata } from "../graph/gates.ts";
import type { Graph, Value, ValueName } from "../graph/graph.ts";
import { formatShape, type Shape } from "../graph/shape.ts";
import { int64, type TensorRef } from "../graph/tensor.ts";
import { type FanOptions, type Init, initialTensor, isInit } from "./init.ts";
import { type Layer, named, type Origin } from "./layer.ts";
import {
  attributeFault,
  axisOf,
  type Fault,
  layerFault,
  mergeFault,
  schemaFault,
} from "./node-check.ts";

/** Operator set of everything that the builder makes. */
const OPSET = 20;

/** A network under construction, as a layer sees it. */
export interface Net {
  /** Where this layer stands, such as `stage2.block1`: what its weights are named after. Empty at the root. */
  readonly path: string;
  /** Whether this is the form for training, in which random layers are at work. */
  readonly training: boolean;
  /** Whether this is inside a branch or a loop, the values of which are not seen from outside. */
  readonly inBody: boolean;
  /** Adds one node; returns its first output. */
  emit(op: string, inputs: readonly ValueName[], options?: EmitOptions): ValueName;
  /** Adds one node; returns all its outputs. */
  emitAll(op: string, inputs: readonly ValueName[], options?: EmitOptions): readonly ValueName[];
  /**
   * Adds a weight under a readable path. Asked for twice under one name, it is shared. `fans` says how its
   * fan-in follows from its shape, where it is not `[out, in, …kernel]`. A single number has shape `[1]`:
   * one of shape `[]` is refused, since training takes it for a constant.
   */
  weight(name: string, shape: readonly number[], init: Init, fans?: FanOptions): ValueName;
  /** A tensor that stays as it is: what training changes are weights alone. */
  constant(tensor: TensorRef, stem?: string): ValueName;
  /** The shape of a value as far as it is known; the batch is a symbol. */
  shape(x: ValueName): Shape;
  /** The number of channels (axis 1) of a value. */
  channels(x: ValueName): number;
  /** The size of a value along an axis, which may count from the end, where it is a number. */
  size(x: ValueName, axis: number): number;
  /** Builds a layer inside this one; its weights are named `outer.inner.weight`. */
  inside(layer: Layer, x: ValueName): ValueName;
  /** A further input of the whole network, such as a mask. Asked for twice, it is the same. */
  input(name: string, shape: Shape, dtype?: DType): ValueName;
  /**
   * What many layers read and none owns, such as the positions of a sequence: made where it is first asked
   * for, under its own name, and the same for all who ask for that name in the same graph or body.
   */
  once(name: string, part: Part): ValueName;
  /**
   * Makes a value a further output of the whole network, such as a gate or a second head; names are its own. `opensAbove`:
   * it is a gate, and the block behind it runs where its mean over the batch lies above; the file says so.
   */
  output(name: string, x: ValueName, gate?: { readonly opensAbove: number }): void;
  /**
   * One of two parts, chosen when the network runs: a real ONNX `If`, so that the other costs nothing.
   * `condition` is a bool of one element.
   */
  either(condition: ValueName, yes: Part, no: Part): ValueName;
  /** The same part so many times, one after another, with the same weights: an ONNX `Loop`. */
  repeat(times: number, x: ValueName, part: (net: Net, x: ValueName) => ValueName): ValueName;
  /** Ends the building with a finding that names this layer and the line that asked for it. */
  fail(id: string, text: string, fix: string): never;
}

/** A part of a network that sees the values around it. */
export type Part = (net: Net) => ValueName;

/** What a network takes in. The batch axis `N` comes in front. */
export interface NetInput {
  readonly name: string;
  /** Shape of one example, such as `[1, 8, 8]`; symbols such as `"S"` for sizes that vary. */
  readonly shape: Shape;
  /** Default `float32`. */
  readonly dtype?: DType;
}

/** An input of which every size but the batch is fixed, as examples of a data set are. */
export interface FixedInput extends NetInput {
  readonly shape: readonly number[];
}

/** How a network is made into a graph. */
export interface BuildOptions {
  readonly input: NetInput;
  /** What the output is called. Default `output`. */
  readonly output?: string;
  /** Of the weights: the same seed gives the same ones. Default 1. */
  readonly seed?: number;
  readonly name?: string;
  /** `training` puts random layers to work. Weights have the same names in both. Default `inference`. */
  readonly mode?: "inference" | "training";
  /** `absent` leaves weights without values, for looking at structure alone. Default `initial`. */
  readonly weights?: "initial" | "absent";
}

/**
 * Builds the graph of a network: input `[N, …shape]`, one output, further ones that layers ask for,
 * weights as initializers with readable names.
 *
 * @throws SkipwayError `input` when shapes do not fit; the diagnostic names the layer, the line that asked
 * for it, and the repair.
 */
export function buildNet(root: Layer, options: BuildOptions): Graph {
  const { name, shape, dtype = "float32" } = options.input;
  const builder = new TypedBuilder();
  const input = builder.input(name, dtype, ["N", ...shape]);
  const shared: Shared = {
    builder,
    options,
    inputs: new Map(),
    outputs: [],
    made: new Set(),
    weights: new Map(),
    once: new Map(),
  };
  const scope = { path: [], origin: undefined, paths: new Map<string, number>() };
  const net = new ScopedNet(shared, builder, scope);
  net.checkInput(options.input);
  // Its name is that of the graph, and stands in no path.
  const y = net.inside(named("", root), input);
  for (const { name: output, value } of [
    { name: outputOf(options), value: y },
    ...shared.outputs,
  ]) {
    const type = builder.typeOf(value);
    net.mustBeFree(output, "output");
    builder.emit("Identity", [value], { name: output, outputs: [output] });
    builder.output({ name: output, dtype: type?.dtype ?? "float32", shape: type?.shape });
  }
  const gates = shared.outputs.flatMap(({ name: output, opensAbove }) =>
    opensAbove === undefined ? [] : [[output, opensAbove] as const],
  );
  return builder.finish(
    options.name ?? (root.name === "" ? "net" : root.name),
    new Map([["", OPSET]]),
    gatesMetadata(new Map(gates)),
  );
}

function outputOf(options: BuildOptions): string {
  return options.output ?? "output";
}

/** What all parts of one network have in common. */
interface Shared {
  /** Of the whole graph; weights and constants go there from inside bodies too. */
  readonly builder: TypedBuilder;
  readonly options: BuildOptions;
  readonly inputs: Map<string, ValueName>;
  readonly outputs: { readonly name: string; readonly value: ValueName; opensAbove?: number }[];
  /** Outputs of nodes, also of those whose type is unknown. */
  readonly made: Set<ValueName>;
  readonly weights: Map<string, readonly number[]>;
  /** What is made once, by the graph or body that it stands in. */
  readonly once: Map<TypedBuilder, Map<string, ValueName>>;
}

interface Scope {
  readonly path: readonly string[];
  /** The innermost layer that knows where it was written. */
  readonly origin: Origin | undefined;
  /** How often each path has been asked for: no two layers stand at one, whose weights would be shared. */
  readonly paths: Map<string, number>;
}

/** The place of a layer, or where it has none that of the layer around it; sought when it is asked for. */
function innermost(inner: Origin | undefined, outer: Origin | undefined): Origin | undefined {
  if (inner === undefined || outer === undefined) return inner ?? outer;
  return { place: () => inner.place() ?? outer.place() };
}

class ScopedNet implements Net {
  readonly path: string;
  readonly training: boolean;
  readonly inBody: boolean;
  readonly #shared: Shared;
  /** Of the graph or body that nodes go into. */
  readonly #builder: TypedBuilder;
  readonly #scope: Scope;

  constructor(shared: Shared, builder: TypedBuilder, scope: Scope) {
    this.path = scope.path.join(".");
    this.training = shared.options.mode === "training";
    this.inBody = builder !== shared.builder;
    this.#shared = shared;
    this.#builder = builder;
    this.#scope = scope;
  }

  #name(own: string): string {
    return [...this.#scope.path, own].join(".");
  }

  emit(op: string, inputs: readonly ValueName[], options: EmitOptions = {}): ValueName {
    return this.emitAll(op, inputs, options)[0] ?? "";
  }

  emitAll(
    op: string,
    inputs: readonly ValueName[],
    options: EmitOptions = {},
  ): readonly ValueName[] {
    const name = this.#name(options.name ?? op.toLowerCase());
    for (const input of inputs) if (input !== "") this.#mustExist(input, `${op} reads`);
    this.#refuse(attributeFault(op, options.attributes));
    const typeOf = (input: ValueName) => this.#builder.typeOf(input);
    this.#refuse(schemaFault({ op, inputs, ...options }, OPSET, typeOf));
    const outputs = this.#builder.emitAll(op, inputs, { ...options, name });
    for (const output of outputs) this.#shared.made.add(output);
    const operands = inputs.flatMap((input) => {
      const shape = typeOf(input)?.shape;
      return shape === undefined ? [] : [{ name: input, shape }];
    });
    this.#refuse(mergeFault(op, operands, axisOf(options.attributes)));
    return outputs;
  }

  #refuse(fault: Fault | undefined): void {
    if (fault !== undefined) this.fail(fault.id, fault.text, fault.fix);
  }

  /** A value of this network: a layer may hand on what is none, from JavaScript or from another network. */
  #mustExist(value: ValueName, what: string): void {
    if (this.#shared.made.has(value) || this.#builder.typeOf(value) !== undefined) return;
    const text = `${what} ${value === undefined ? "undefined" : `"${value}"`}, which is no value of this network`;
    this.fail("nn/value", text, "Use what net.emit, net.weight, net.inside or net.input gave.");
  }

  weight(name: string, shape: readonly number[], init: Init, fans: FanOptions = {}): ValueName {
    const path = this.#name(name);
    const { builder, options, weights } = this.#shared;
    this.#checkWeight(path, shape);
    if (!isInit(init)) {
      const text = `the weight "${path}" is to start as ${JSON.stringify(init) ?? String(init)}`;
      this.fail("nn/init", text, 'Give a finite number, or a rule such as "he"; see nn.Init.');
    }
    const known = weights.get(path);
    if (known !== undefined) {
      if (formatShape(known) === formatShape(shape)) return path;
      const shapes = `${formatShape(known)} and ${formatShape(shape)}`;
      this.fail("nn/weight", `the weight "${path}" has two shapes, ${shapes}`, "Name them apart.");
    }
    this.mustBeFree(path, "weight");
    weights.set(path, shape);
    const ref: TensorRef =
      options.weights === "absent"
        ? { dtype: "float32", shape, data: { kind: "absent" } }
        : initialTensor(init, { ...fans, name: path, shape, seed: options.seed ?? 1 });
    return builder.initializer(path, ref);
  }

  #checkWeight(path: string, shape: readonly number[]): void {
    const text = `the weight "${path}" has shape ${formatShape(shape)}`;
    // Training takes initializers without axes for constants, as exporters write them.
    if (shape.length === 0) {
      this.fail("nn/weight", `${text}, which training would leave as it is`, "Give it shape [1].");
    }
    if (!shape.every((size) => Number.isSafeInteger(size) && size > 0)) {
      this.fail("nn/weight", text, "Give it sizes that are whole numbers from 1.");
    }
    const bytes = shape.reduce((a, b) => a * b, 4);
    if (bytes > limits.tensorBytesMax) {
      this.fail("nn/weight", `${text}, which is ${bytes} bytes`, "Make the layer smaller.");
    }
  }

  constant(tensor: TensorRef, stem?: string): ValueName {
    const { builder } = this.#shared;
    const { dtype, shape } = tensor;
    if (dtype !== "float32" || shape.length === 0) return builder.constant(tensor, stem);
    // Float initializers with axes are what training moves.
    const attributes = { value: { kind: "tensor", value: tensor } } as const;
    return builder.emit("Constant", [], { name: this.#name(stem ?? "constant"), attributes });
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

  size(x: ValueName, axis: number): number {
    const size = this.shape(x).at(axis);
    if (typeof size === "number") return size;
    return this.fail(
      "nn/size",
      `axis ${axis} of a value of shape ${formatShape(this.shape(x))} must be a number`,
      "Give the input a fixed size on that axis.",
    );
  }

  inside(inner: Layer, x: ValueName): ValueName {
    this.#refuse(layerFault(inner));
    const origin = innermost(inner.origin, this.#scope.origin);
    // What has no name stands where this layer stands: what is inside it is numbered along.
    const path = inner.name === "" ? this.#scope.path : this.#freePath(inner.name);
    const scope = { path, origin, paths: this.#scope.paths };
    const net = new ScopedNet(this.#shared, this.#builder, scope);
    const y = inner.build(net, x);
    net.#mustExist(y, "the layer gives");
    return y;
  }

  /** The path of a layer of that name inside this one: numbered where another stands there. */
  #freePath(name: string): readonly string[] {
    const { path, paths } = this.#scope;
    const stem = this.#name(name);
    for (let n = (paths.get(stem) ?? 0) + 1; ; n++) {
      const own = n === 1 ? name : `${name}${n}`;
      const whole = this.#name(own);
      if (n > 1 && paths.has(whole)) continue;
      paths.set(whole, paths.get(whole) ?? 1);
      paths.set(stem, n);
      return [...path, own];
    }
  }

  /** Whether a value or node of the whole graph has that name already, from a layer without a path. */
  mustBeFree(name: string, what: "input" | "output" | "weight"): void {
    const { builder, made } = this.#shared;
    // Nodes are known by their first output, which is called after them.
    if (builder.typeOf(name) === undefined && !made.has(name) && !made.has(`${name}.output`))
      return;
    const text = `the ${what} "${name}" has the name of another value or node`;
    this.fail(`nn/${what}`, text, "Name the two apart.");
  }

  /** The sizes of one example: whole numbers, and symbols that are not the batch. */
  checkInput({ name, shape }: NetInput): void {
    const sound = shape.every((size) =>
      typeof size === "number" ? Number.isSafeInteger(size) && size > 0 : !["", "N"].includes(size),
    );
    if (sound) return;
    const text = `the input "${name}" is to have examples of shape ${formatShape(shape)}`;
    this.fail(
      "nn/input",
      text,
      'Give whole numbers from 1, or symbols; the batch "N" is not said.',
    );
  }

  input(name: string, shape: Shape, dtype: DType = "float32"): ValueName {
    const { inputs, builder, options } = this.#shared;
    if (name === options.input.name) {
      const text = `the network's own input is called "${name}" already`;
      this.fail("nn/input", text, "Give the further input a name of its own.");
    }
    if (!inputs.has(name)) this.mustBeFree(name, "input");
    const known = inputs.get(name) ?? builder.input(name, dtype, shape);
    inputs.set(name, known);
    const asked = `${dtype}${formatShape(shape)}`;
    const type = builder.typeOf(known);
    const made = `${type?.dtype}${formatShape(type?.shape ?? [])}`;
    if (made !== asked) {
      const text = `the input "${name}" is asked for as ${made} and as ${asked}`;
      this.fail("nn/input", text, "Name the two apart, or ask for one type and shape.");
    }
    return known;
  }

  once(name: string, part: Part): ValueName {
    const { once } = this.#shared;
    const known = once.get(this.#builder) ?? new Map<string, ValueName>();
    once.set(this.#builder, known);
    const { origin } = this.#scope;
    const scope = { path: [name], origin, paths: new Map<string, number>() };
    const net = new ScopedNet(this.#shared, this.#builder, scope);
    const value = known.get(name) ?? part(net);
    known.set(name, value);
    return value;
  }

  output(name: string, x: ValueName, gate?: { readonly opensAbove: number }): void {
    const { options, outputs } = this.#shared;
    this.#mustExist(x, "an output of the network is");
    if (this.inBody) {
      const fix = "Make it an output where net.inBody is false, or hand it out of the branch.";
      this.fail(
        "nn/output",
        `"${name}" is made inside a branch or a loop, which only hands on its result`,
        fix,
      );
    }
    if (name === outputOf(options) || outputs.some((one) => one.name === name)) {
      const fix = "Name them apart, by net.path for example.";
      this.fail("nn/output", `two outputs of the network are called "${name}"`, fix);
    }
    outputs.push({ name, value: x, ...gate });
  }

  either(condition: ValueName, yes: Part, no: Part): ValueName {
    const branch = (name: string, part: Part): Graph => {
      const body = this.#builder.body();
      const net = this.#within(body, name);
      // A branch gives a value of its own, also where it hands on one from outside.
      const y = net.emit("Identity", [part(net)], { name: "result" });
      body.output(this.#valueOf(body, y));
      return body.finish(this.#name(name), new Map([["", OPSET]]));
    };
    const attributes = {
      then_branch: { kind: "graph", value: branch("then", yes) },
      else_branch: { kind: "graph", value: branch("else", no) },
    } as const;
    return this.emit("If", [condition], { name: "if", attributes });
  }

  repeat(times: number, x: ValueName, part: (net: Net, x: ValueName) => ValueName): ValueName {
    const body = this.#builder.body();
    const net = this.#within(body, "body");
    const type = this.#builder.typeOf(x);
    body.input(net.#name("iteration"), "int64", []);
    const go = body.input(net.#name("go"), "bool", []);
    const state = body.input(net.#name("state"), type?.dtype ?? "float32", this.shape(x));
    const next = net.emit("Identity", [part(net, state)], { name: "next" });
    const goOn = net.emit("Identity", [go], { name: "go_on" });
    body.output(this.#valueOf(body, goOn));
    body.output(this.#valueOf(body, next));
    const trips = this.constant(int64([], [times]), "trips");
    const value = body.finish(this.#name("body"), new Map([["", OPSET]]));
    return this.emit("Loop", [trips, "", x], {
      name: "loop",
      attributes: { body: { kind: "graph", value } },
    });
  }

  #within(body: TypedBuilder, name: string): ScopedNet {
    const { origin, paths } = this.#scope;
    return new ScopedNet(this.#shared, body, { path: this.#freePath(name), origin, paths });
  }

  #valueOf(builder: TypedBuilder, name: ValueName): Value {
    const type = builder.typeOf(name);
    return { name, dtype: type?.dtype ?? "float32", shape: type?.shape };
  }

  fail(id: string, text: string, fix: string): never {
    const { path, origin } = this.#scope;
    const place = origin?.place();
    const name = path.length === 0 ? "(root)" : path.join(".");
    const where = `layer ${name}${place === undefined ? "" : ` (${place})`}`;
    throw SkipwayError.fromDiagnostics("input", [
      diagnostic({ id, severity: "error", where, text, fix }),
    ]);
  }
}
