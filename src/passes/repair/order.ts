// Where in the order of its elements a value has the examples of a batch. A Reshape keeps that order: how many
// elements of other axes come before an example is the same in front of it and behind it, or the examples are torn.

import type { Node, ValueName } from "../../graph/graph.ts";
import type { Shape } from "../../graph/shape.ts";

/** The shape of a value, with a batch of which no other size is a multiple. */
type ShapeOf = (name: ValueName) => Shape | undefined;

/** Ops that give the elements of their first operand in the same order, in another shape. */
const KEEPS_ORDER = new Set(["Reshape", "Flatten"]);

/** Follows the examples node by node, in topological order. */
export class ExampleOrder {
  readonly #other: number;
  /** Of axes that hold the batch and more: how many of the others come before an example. */
  readonly #before = new Map<ValueName, number>();

  constructor(other: number) {
    this.#other = other;
  }

  /** Takes in a node with its inputs; false if it tears examples apart, or if that cannot be told. */
  visit(node: Node, shapeOf: ShapeOf): boolean {
    let whole = true;
    for (const name of node.outputs) {
      const shape = shapeOf(name) ?? [];
      const axis = this.#axisOf(shape);
      if (axis < 0) continue;
      const keeps = node.domain === "" && KEEPS_ORDER.has(node.op);
      const before = keeps
        ? this.#kept(node, shape, { axis, shapeOf })
        : this.#carried(node, shape[axis], shapeOf);
      if (before !== undefined) this.#before.set(name, before);
      else if (keeps) whole = false;
    }
    return whole;
  }

  /** How many elements of axes and parts of axes come before an example; undefined where that is not known. */
  outer(name: ValueName, shapeOf: ShapeOf): number | undefined {
    const shape = shapeOf(name) ?? [];
    const axis = this.#axisOf(shape);
    const own = shape[axis] === this.#other ? 1 : this.#before.get(name);
    const front = count(shape.slice(0, axis));
    return axis < 0 || own === undefined || front === undefined ? undefined : front * own;
  }

  #axisOf(shape: Shape): number {
    return shape.findIndex((dim) => typeof dim === "number" && dim > 0 && dim % this.#other === 0);
  }

  #kept(
    node: Node,
    shape: Shape,
    { axis, shapeOf }: { axis: number; shapeOf: ShapeOf },
  ): number | undefined {
    const outer = this.outer(node.inputs[0] ?? "", shapeOf);
    const front = count(shape.slice(0, axis));
    if (outer === undefined || front === undefined) return undefined;
    const before = outer / front;
    return fits(before, Number(shape[axis]) / this.#other) ? before : undefined;
  }

  /** An axis of the same size is the same axis. */
  #carried(node: Node, dim: number | string | undefined, shapeOf: ShapeOf): number | undefined {
    if (dim === this.#other) return 1;
    const from = node.inputs.find(
      (name) => this.#before.has(name) && shapeOf(name)?.includes(dim ?? "") === true,
    );
    return this.#before.get(from ?? "");
  }
}

/** Whether so many of the other elements of an axis can come before an example. */
export function fits(before: number, others: number): boolean {
  return Number.isInteger(before) && before > 0 && Number.isInteger(others / before);
}

/** The product of sizes; undefined where one is not a number. */
function count(sizes: Shape): number | undefined {
  return sizes.every((dim) => typeof dim === "number")
    ? sizes.reduce<number>((product, dim) => product * Number(dim), 1)
    : undefined;
}
