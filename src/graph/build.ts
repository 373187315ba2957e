// Building a graph node by node: names are made unique here, and the result is immutable.

import { assert } from "../base/assert.ts";
import type { DType } from "./dtype.ts";
import type { Attribute, Attributes, Graph, Node, Value, ValueName, ValueType } from "./graph.ts";
import { NO_ATTRIBUTES } from "./graph.ts";
import type { Shape } from "./shape.ts";
import type { TensorRef } from "./tensor.ts";
import { typeOnly } from "./value-type.ts";

/** What a node needs besides its op and inputs. */
export interface EmitOptions {
  readonly attributes?: Readonly<Record<string, Attribute>> | Attributes;
  readonly domain?: string;
  /** Node name; outputs are named after it. */
  readonly name?: string;
  /** Output names; made from the node's name where left out. */
  readonly outputs?: readonly ValueName[];
  readonly outputCount?: number;
}

/** Collects nodes. `types` tells the type of outputs where the caller knows them. */
export class GraphBuilder {
  readonly #inputs: Value[] = [];
  readonly #outputs: Value[] = [];
  readonly #nodes: Node[] = [];
  readonly #initializers = new Map<ValueName, TensorRef>();
  readonly #values = new Map<ValueName, Value>();
  readonly #names = new Set<string>();
  readonly #counters = new Map<string, number>();
  readonly #outer: GraphBuilder | undefined;
  readonly #prefix: string;

  /**
   * Starts from an existing graph whose names stay taken, or from nothing.
   *
   * @param around For the body of a control-flow node: the graph around it, whose names are taken too, and
   * what the names made here begin with.
   */
  constructor(base?: Graph, around?: { readonly outer: GraphBuilder; readonly prefix: string }) {
    this.#outer = around?.outer;
    this.#prefix = around?.prefix ?? "";
    if (base === undefined) return;
    for (const value of base.inputs) this.#take(this.#inputs, value);
    for (const [name, ref] of base.initializers) this.initializer(name, ref);
    for (const value of base.values.values()) this.#values.set(value.name, value);
    for (const node of base.nodes) this.append(node);
  }

  #take(list: Value[], value: Value): void {
    list.push(value);
    this.#names.add(value.name);
    this.#values.set(value.name, value);
  }

  /** A name not used so far, made from a stem. */
  unique(stem: string): string {
    const wanted = stem.startsWith(this.#prefix) ? stem : `${this.#prefix}${stem}`;
    if (!this.#isTaken(wanted)) return wanted;
    for (let n = this.#counters.get(wanted) ?? 1; ; n++) {
      const name = `${wanted}_${n}`;
      if (this.#isTaken(name)) continue;
      this.#counters.set(wanted, n + 1);
      return name;
    }
  }

  #isTaken(name: string): boolean {
    if (this.#names.has(name)) return true;
    return this.#outer === undefined ? false : this.#outer.#isTaken(name);
  }

  /** Keeps a name for what is still to be added. */
  reserve(name: string): void {
    this.#names.add(name);
  }

  /** Declares a graph input. */
  input(name: ValueName, dtype: DType, shape: Shape): ValueName {
    assert(!this.#names.has(name), `the name ${name} is taken`);
    this.#take(this.#inputs, { name, dtype, shape });
    return name;
  }

  /** Adds a constant or weight under a name that must be free. */
  initializer(name: ValueName, ref: TensorRef): ValueName {
    assert(!this.#initializers.has(name), `the initializer ${name} exists`);
    this.#initializers.set(name, ref);
    this.#names.add(name);
    return name;
  }

  /** Adds a node as it is. */
  append(node: Node): void {
    this.#nodes.push(node);
    this.#names.add(node.name);
    for (const name of node.outputs) if (name !== "") this.#names.add(name);
  }

  /** Adds a node and returns it; its outputs get unique names. */
  emit(op: string, inputs: readonly ValueName[], options: EmitOptions = {}): Node {
    const name = this.unique(options.name ?? op);
    this.#names.add(name);
    const count = options.outputCount ?? 1;
    const outputs =
      options.outputs ??
      Array.from({ length: count }, (_, i) =>
        this.unique(i === 0 ? `${name}.output` : `${name}.output${i}`),
      );
    const node: Node = {
      name,
      op,
      domain: options.domain ?? "",
      inputs,
      outputs,
      attributes: toAttributes(options.attributes),
    };
    this.append(node);
    return node;
  }

  /** Marks a value as a graph output. */
  output(value: Value): void {
    this.#outputs.push(value);
  }

  /** Records what is known of a value. */
  setType(name: ValueName, type: ValueType): void {
    this.#values.set(name, { name, ...typeOnly(type) });
  }

  /** What is known of a value. */
  typeOf(name: ValueName): ValueType | undefined {
    return this.#values.get(name) ?? this.#initializers.get(name);
  }

  /** The constant of that name, if it is one. */
  constantOf(name: ValueName): TensorRef | undefined {
    return this.#initializers.get(name);
  }

  /** The finished graph. */
  finish(
    name: string,
    opsets: ReadonlyMap<string, number>,
    metadata: ReadonlyMap<string, string> = new Map(),
  ): Graph {
    return {
      name,
      inputs: [...this.#inputs],
      outputs: [...this.#outputs],
      nodes: [...this.#nodes],
      initializers: new Map(this.#initializers),
      values: new Map(this.#values),
      opsets,
      metadata,
    };
  }
}

function toAttributes(given: EmitOptions["attributes"]): Attributes {
  if (given === undefined) return NO_ATTRIBUTES;
  return given instanceof Map ? given : new Map(Object.entries(given));
}
