// What a pattern asks of a graph: who makes a value, what a constant holds, what is known of a shape.
// Values of a body may come from the graphs around it.

import { limits } from "../../base/limits.ts";
import type { DType } from "../../graph/dtype.ts";
import {
  type Attribute,
  type Graph,
  intsAttribute,
  type Node,
  type ValueName,
  type ValueType,
} from "../../graph/graph.ts";
import { type GraphIndex, indexOf, typeOf } from "../../graph/query.ts";
import { elementCount, normalizeAxis, type Shape } from "../../graph/shape.ts";
import { numbersOf, type TensorRef } from "../../graph/tensor.ts";
import { tensorOfConstant } from "../constant-node.ts";

/** A constant that comes in with a match. */
export interface NewConstant {
  readonly ref: TensorRef;
  readonly stem: string;
}

/** Nodes that together are one op. */
export interface Match {
  readonly op: string;
  /** "" where left out. */
  readonly domain?: string;
  readonly inputs: readonly (ValueName | NewConstant)[];
  readonly attributes?: Readonly<Record<string, Attribute>>;
  /** All nodes that the new one stands for besides the root, which gives the result. */
  readonly nodes: readonly Node[];
}

/** A way of writing an op in several nodes. */
export interface Idiom {
  readonly name: string;
  /** Ops of the node that gives the result. */
  readonly roots: readonly string[];
  /**
   * What a node may be the result of, most nodes first. Whether the inner values are used elsewhere is
   * checked by the caller, who takes the first match for which they are not.
   */
  match(view: View, root: Node): Iterable<Match>;
}

/** One graph, with those around it. */
export class View {
  readonly graph: Graph;
  readonly index: GraphIndex;
  readonly #outer: View | undefined;
  #left: number = limits.foldedElementsMax;

  constructor(graph: Graph, outer?: View) {
    this.graph = graph;
    this.index = indexOf(graph);
    this.#outer = outer;
  }

  /** Whether so many elements of constants may still be made or looked at for this graph; takes them. */
  spend(elements: number): boolean {
    if (this.#outer !== undefined) return this.#outer.spend(elements);
    this.#left -= elements;
    return this.#left >= 0;
  }

  #has(name: ValueName): boolean {
    const { producers, inputs } = this.index;
    return producers.has(name) || inputs.has(name) || this.graph.initializers.has(name);
  }

  /** The node of this graph that makes a value, if it is one of the given standard ops. */
  made(name: ValueName, ...ops: readonly string[]): Node | undefined {
    const node = this.index.producers.get(name);
    return node !== undefined && node.domain === "" && ops.includes(node.op) ? node : undefined;
  }

  /** The constant of that name, with or without elements. */
  constant(name: ValueName): TensorRef | undefined {
    const node = this.index.producers.get(name);
    if (node !== undefined) return tensorOfConstant(node);
    const own = this.graph.initializers.get(name);
    return own ?? (this.#has(name) ? undefined : this.#outer?.constant(name));
  }

  /** The number that a constant of one element holds. */
  scalar(name: ValueName): number | undefined {
    const ref = this.constant(name);
    return ref !== undefined && elementCount(ref.shape) === 1 ? numbersOf(ref)?.[0] : undefined;
  }

  /** The elements of a constant list of integers, such as axes. */
  integers(name: ValueName): readonly number[] | undefined {
    const ref = this.constant(name);
    return ref !== undefined && ref.shape.length <= 1 && (ref.shape[0] ?? 1) <= 64
      ? numbersOf(ref)
      : undefined;
  }

  type(name: ValueName): ValueType | undefined {
    return typeOf(this.graph, name) ?? (this.#has(name) ? undefined : this.#outer?.type(name));
  }

  shape(name: ValueName): Shape | undefined {
    return this.type(name)?.shape;
  }

  dtype(name: ValueName): DType | undefined {
    return this.type(name)?.dtype;
  }

  /** Whether one node alone reads a value. */
  readOnce(name: ValueName): boolean {
    return (this.index.uses.get(name)?.length ?? 0) === 1 && !this.index.outputs.has(name);
  }

  /** Version of the standard operator set. */
  get opset(): number {
    return this.#outer?.opset ?? this.graph.opsets.get("") ?? 1;
  }

  /** An axis counted from the front, where the rank tells; else only if it is so already. */
  axis(axis: number, name: ValueName): number | undefined {
    const rank = this.shape(name)?.length;
    return rank === undefined ? undefined : normalizeAxis(axis, rank);
  }

  /** The axes, in order, over which a node reduces its first operand. */
  reducedAxes(node: Node): readonly number[] | undefined {
    const [x = "", given = ""] = node.inputs;
    const axes = given === "" ? intsAttribute(node, "axes") : this.integers(given);
    const found = axes?.map((axis) => this.axis(axis, x));
    const known = found?.filter((axis) => axis !== undefined);
    if (known === undefined || known.length === 0 || known.length !== found?.length)
      return undefined;
    return known.toSorted((a, b) => a - b);
  }

  /** Both operands of a node with two, in either order. */
  operands(node: Node): readonly (readonly [ValueName, ValueName])[] {
    const [a = "", b = ""] = node.inputs;
    return node.inputs.length !== 2
      ? []
      : [
          [a, b],
          [b, a],
        ];
  }

  /** Whether a number is the one that an idiom asks for, as exactly as its type can hold it. */
  isNear(value: number | undefined, wanted: number, like: ValueName): boolean {
    if (value === undefined) return false;
    const dtype = this.dtype(like);
    const tolerance = dtype === "float16" ? 1e-3 : dtype === "bfloat16" ? 1e-2 : 1e-5;
    return Math.abs(value - wanted) <= tolerance * Math.max(Math.abs(wanted), 1e-6);
  }
}
