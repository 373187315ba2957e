// A graph builder that knows the types of what it builds: each node's outputs are inferred through the
// op table the moment it is added. Layers, gradient rules and the training program are written on it.

import { assert, present } from "../base/assert.ts";
import { type EmitOptions, GraphBuilder } from "../graph/build.ts";
import type { DType } from "../graph/dtype.ts";
import type { Attribute, Graph, Node, Value, ValueName, ValueType } from "../graph/graph.ts";
import type { Shape } from "../graph/shape.ts";
import { hasBytes, type TensorRef } from "../graph/tensor.ts";
import type { Emitter } from "../ops/op.ts";
import { tensorOfConstant } from "./constant-node.ts";
import { inferNode } from "./infer-node.ts";
import type { Content, KnownValues } from "./known.ts";
import { propagate } from "./propagate.ts";

/** Constants up to this size are shared when they are equal. */
const SHARED_BYTES_MAX = 256;

/** Builds graphs for one version of the standard operator set. */
export class TypedBuilder implements Emitter {
  readonly #builder: GraphBuilder;
  readonly #opset: number;
  readonly #shared = new Map<string, ValueName>();
  /** Integers that are computed from shapes, by the value that holds them. */
  readonly #contents = new Map<ValueName, Content>();
  /** What Constant nodes hold. */
  readonly #constants = new Map<ValueName, TensorRef>();
  /** The graph around, for the body of a control-flow node. */
  readonly #outer: TypedBuilder | undefined;

  /** Starts from an existing graph, or empty. */
  constructor(
    base?: Graph,
    opset: number = base?.opsets.get("") ?? 20,
    around?: { readonly outer: TypedBuilder; readonly prefix: string },
  ) {
    this.#outer = around?.outer;
    this.#builder = new GraphBuilder(
      base,
      around && { outer: around.outer.#builder, prefix: around.prefix },
    );
    this.#opset = opset;
  }

  /** Version of the standard operator set that is built for. */
  get opset(): number {
    return this.#opset;
  }

  /**
   * A builder for a body inside this graph: it sees the values here. Names that are made in it begin with
   * the prefix. It starts from a given body or empty.
   */
  body(prefix = "", base?: Graph): TypedBuilder {
    return new TypedBuilder(base, this.#opset, { outer: this, prefix });
  }

  /** Keeps the names of nodes and of what they make, for nodes that are still to be added. */
  reserve(nodes: readonly Node[]): void {
    for (const { name, outputs } of nodes) {
      for (const one of [name, ...outputs]) if (one !== "") this.#builder.reserve(one);
    }
  }

  /** A name that is free here and around, made from a stem. */
  unique(stem: string): string {
    return this.#builder.unique(stem);
  }

  /** Declares a graph input. */
  input(name: ValueName, dtype: DType, shape: Shape): ValueName {
    return this.#builder.input(name, dtype, shape);
  }

  /** Adds a weight under a name that must be free. */
  initializer(name: ValueName, ref: TensorRef): ValueName {
    return this.#builder.initializer(name, ref);
  }

  constant(ref: TensorRef, stem = "constant"): ValueName {
    if (!hasBytes(ref) || ref.data.bytes.byteLength > SHARED_BYTES_MAX) {
      return this.#builder.initializer(this.#builder.unique(stem), ref);
    }
    const key = `${ref.dtype}[${ref.shape.join()}]${Buffer.from(ref.data.bytes).toString("latin1")}`;
    const known = this.#shared.get(key);
    if (known !== undefined) return known;
    const name = this.#builder.initializer(this.#builder.unique(stem), ref);
    this.#shared.set(key, name);
    return name;
  }

  emit(op: string, inputs: readonly ValueName[], options?: EmitOptions): ValueName {
    return present(this.emitAll(op, inputs, options)[0], `${op} has an output`);
  }

  emitAll(op: string, inputs: readonly ValueName[], options?: EmitOptions): readonly ValueName[] {
    const node = this.#builder.emit(op, inputs, options);
    this.#infer(node);
    return node.outputs;
  }

  /** Adds a node as it is; its outputs are typed where they are not yet. */
  append(node: Node): void {
    this.#builder.append(node);
    this.#infer(node);
  }

  #infer(node: Node): void {
    const known: KnownValues = {
      typeOf: (name) => this.typeOf(name),
      constantOf: (name) => this.constantOf(name),
      contentOf: (name) => this.#contentOf(name),
    };
    const held = tensorOfConstant(node);
    if (held !== undefined) this.#constants.set(node.outputs[0] ?? "", held);
    const types = inferNode(node, this.#opset, known);
    for (const [i, type] of types.entries()) {
      const name = node.outputs[i] ?? "";
      if (name === "" || type === undefined || this.typeOf(name)?.shape !== undefined) continue;
      this.#builder.setType(name, type);
    }
    propagate(node, known, this.#contents);
  }

  #contentOf(name: ValueName): Content | undefined {
    return (
      this.#contents.get(name) ??
      (this.#outer === undefined ? undefined : this.#outer.#contentOf(name))
    );
  }

  typeOf(name: ValueName): ValueType | undefined {
    return this.#builder.typeOf(name) ?? this.#outer?.typeOf(name);
  }

  constantOf(name: ValueName): TensorRef | undefined {
    return (
      this.#builder.constantOf(name) ?? this.#constants.get(name) ?? this.#outer?.constantOf(name)
    );
  }

  bodyOf(
    name: string,
    inputs: readonly ValueType[],
    build: (body: Emitter, inputs: readonly ValueName[]) => readonly ValueName[],
  ): Attribute {
    const body = this.body(`${this.unique(name)}/`);
    const names = inputs.map(({ dtype, shape }, i) =>
      body.input(body.unique(`input${i}`), dtype, present(shape, "the rank of an input is known")),
    );
    for (const result of build(body, names)) {
      // An output of its own, also where it is an input or a value from outside.
      const value = body.emit("Identity", [result]);
      body.output({ name: value, ...present(body.typeOf(value), "an output is typed") });
    }
    return { kind: "graph", value: body.finish(name, new Map([["", this.#opset]])) };
  }

  /** Marks a value as a graph output. */
  output(value: Value): void {
    assert(value.name !== "", "a graph output has a name");
    this.#builder.output(value);
  }

  /** The finished graph. */
  finish(
    name: string,
    opsets: ReadonlyMap<string, number>,
    metadata?: ReadonlyMap<string, string>,
  ): Graph {
    return this.#builder.finish(name, opsets, metadata);
  }
}
