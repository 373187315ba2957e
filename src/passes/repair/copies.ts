// Values that no input of the model has a part in, and whether their rows along an axis are all alike: then they
// were written out for one batch size, and one row stands for all.

import { dtypeBytes } from "../../graph/dtype.ts";
import { type Node, subgraphs, type ValueName } from "../../graph/graph.ts";
import { captures } from "../../graph/query.ts";
import { elementCount } from "../../graph/shape.ts";
import { hasBytes, type TensorRef } from "../../graph/tensor.ts";

/** Ops that give something else each time. */
const RANDOM = new Set([
  ...["RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike"],
  ...["Bernoulli", "Multinomial"],
]);

/** What is known of types and elements where a value is read. */
export interface Lookup {
  typeOf(name: ValueName): { readonly shape: readonly (number | string)[] | undefined } | undefined;
  constantOf(name: ValueName): TensorRef | undefined;
}

/** Collects values node by node, in topological order. */
export class Copies {
  readonly #fed: Set<ValueName>;
  readonly #producers = new Map<ValueName, Node>();

  /** `inputs` are those of the model. */
  constructor(inputs: readonly ValueName[]) {
    this.#fed = new Set(inputs);
  }

  /** Takes what a body is given: it may be another thing in each iteration. */
  feed(names: readonly ValueName[]): void {
    for (const name of names) this.#fed.add(name);
  }

  /** Takes in a node whose inputs were taken in before. */
  visit(node: Node): void {
    const read = [...node.inputs, ...subgraphs(node).flatMap((body) => [...captures(body)])];
    const isFed = RANDOM.has(node.op) || read.some((name) => this.#fed.has(name));
    for (const name of node.outputs) {
      if (isFed) this.#fed.add(name);
      else this.#producers.set(name, node);
    }
  }

  /** Whether an input of the model, or chance, has a part in a value. */
  isFed(name: ValueName): boolean {
    return this.#fed.has(name);
  }

  /** Whether a value is the same in every run, and all its rows along an axis are one. */
  areAlike(name: ValueName, axis: number, known: Lookup): boolean {
    let at: Rows | undefined = { name, axis };
    while (at !== undefined) {
      const { name: value } = at;
      if (value === "" || this.#fed.has(value)) return false;
      if (at.axis < 0 || known.typeOf(value)?.shape?.[at.axis] === 1) return true;
      const ref = known.constantOf(value);
      if (ref !== undefined) return rowsAlike(ref, at.axis);
      const node = this.#producers.get(value);
      if (node === undefined || node.domain !== "") return false;
      if (node.op === "ConstantOfShape") return true;
      at = rowsBefore(node, at, known);
    }
    return false;
  }
}

/** Rows of a value along one of its axes; before the first, it has one that is stretched. */
interface Rows {
  readonly name: ValueName;
  readonly axis: number;
}

/** The rows from which those of a node's output are copied; undefined where that is not known. */
function rowsBefore(node: Node, { name, axis }: Rows, known: Lookup): Rows | undefined {
  const [input = ""] = node.inputs;
  if (node.op === "Identity" || node.op === "Cast") return { name: input, axis };
  const [before, shape] = [input, name].map((one) => known.typeOf(one)?.shape);
  if ((node.op !== "Expand" && node.op !== "Tile") || before === undefined || shape === undefined)
    return undefined;
  const at = axis - shape.length + before.length;
  // A row that is stretched has 1 there, or no axis; one that is not, as many as there are now.
  return at < 0 || before[at] === 1 || before[at] === shape[axis]
    ? { name: input, axis: at }
    : undefined;
}

function rowsAlike(ref: TensorRef, axis: number): boolean {
  const { shape } = ref;
  const rows = shape[axis] ?? 1;
  const size = dtypeBytes(ref.dtype, elementCount(shape.slice(axis + 1)) ?? 0);
  // Rows of packed types may begin within a byte.
  if (!hasBytes(ref) || dtypeBytes(ref.dtype, 1) !== dtypeBytes(ref.dtype, 2) / 2) return false;
  const { bytes } = ref.data;
  for (let start = 0; start + size * rows <= bytes.length && size > 0; start += size * rows) {
    for (let i = size; i < size * rows; i++) {
      if (bytes[start + i] !== bytes[start + (i % size)]) return false;
    }
  }
  return true;
}
