// Products of matrices as ONNX Runtime computes them best, for graphs that run here and are not given away:
// transposed operands in its FusedMatMul (com.microsoft; onnxruntime, docs/ContribOperators.md), and sums over
// rows as products with ones. The measurements: docs/design/training-speed.md.

import { TypedBuilder } from "../canonical/typed-builder.ts";
import { type Graph, int, intsAttribute, type Node, type ValueName } from "../graph/graph.ts";
import { indexOf } from "../graph/query.ts";
import { isStatic, normalizeAxis } from "../graph/shape.ts";
import { float32, numbersOf } from "../graph/tensor.ts";
import { shapeConstant, transpose } from "../ops/construct.ts";
import { withoutUnread } from "./blocked/fuse.ts";

/** Fewer rows are summed as fast by a reduction. */
const ROWS_MIN = 64;

/**
 * The graph with such products. The runtime has a fusion of its own for them, but joins two transpositions in a
 * row first, and then copies the heads of attention once more for each product that reads them.
 */
export function withFusedProducts(graph: Graph): Graph {
  const builder = new TypedBuilder({ ...graph, nodes: [] });
  builder.reserve(graph.nodes);
  const rewriter = new Rewriter(builder, graph);
  for (const node of graph.nodes) {
    if (!rewriter.product(node) && !rewriter.rowSum(node)) rewriter.keep(node);
  }
  for (const output of graph.outputs) builder.output(output);
  const opsets = new Map(graph.opsets);
  opsets.set("com.microsoft", opsets.get("com.microsoft") ?? 1);
  return withoutUnread(builder.finish(graph.name, opsets, graph.metadata));
}

/** An operand, and whether its last two axes are to be swapped. */
interface Operand {
  readonly name: ValueName;
  readonly isTransposed: boolean;
}

class Rewriter {
  readonly #builder: TypedBuilder;
  readonly #graph: Graph;
  /** Values in another order of axes, by value and order, as far as they are added. */
  readonly #ordered = new Map<string, ValueName>();
  /** Rows of ones, by their length. */
  readonly #ones = new Map<number, ValueName>();

  constructor(builder: TypedBuilder, graph: Graph) {
    this.#builder = builder;
    this.#graph = graph;
  }

  /** Adds a node as it is. */
  keep(node: Node): void {
    this.#builder.append(node);
    const perm = permOf(node);
    if (perm !== undefined) {
      this.#ordered.set(keyOf(node.inputs[0] ?? "", perm), node.outputs[0] ?? "");
    }
  }

  /** Adds a product whose operands are transposed inside of it; false where none is. */
  product(node: Node): boolean {
    if (node.domain !== "" || node.op !== "MatMul") return false;
    const [a, b] = [0, 1].map((i) => this.#operand(node.inputs[i] ?? ""));
    if (!a?.isTransposed && !b?.isTransposed) return false;
    this.#builder.append({
      ...node,
      ...{ op: "FusedMatMul", domain: "com.microsoft", inputs: [a?.name ?? "", b?.name ?? ""] },
      attributes: new Map([
        ["transA", int(a?.isTransposed ? 1 : 0)],
        ["transB", int(b?.isTransposed ? 1 : 0)],
      ]),
    });
    return true;
  }

  /** What an operand is made of, where it ends in a swap of the last two axes. */
  #operand(name: ValueName): Operand {
    const made = indexOf(this.#graph).producers.get(name);
    const perm = made && permOf(made);
    const dtype = this.#builder.typeOf(name)?.dtype;
    const rank = perm?.length ?? 0;
    // Rows stay whole in the other order: it is copied faster, and others may read it too.
    if (made === undefined || dtype !== "float32" || perm?.at(-2) !== rank - 1) {
      return { name, isTransposed: false };
    }
    const order = [...perm.slice(0, -2), perm.at(-1) ?? 0, rank - 1];
    return { name: this.#inOrder(made.inputs[0] ?? "", order), isTransposed: true };
  }

  #inOrder(name: ValueName, order: readonly number[]): ValueName {
    if (order.every((axis, i) => axis === i)) return name;
    const key = keyOf(name, order);
    const known = this.#ordered.get(key);
    if (known !== undefined) return known;
    const made = transpose(this.#builder, name, order);
    this.#ordered.set(key, made);
    return made;
  }

  /** Adds a sum over all axes but the last as a row of ones times a matrix; false where it is no such sum. */
  rowSum(node: Node): boolean {
    if (node.domain !== "" || node.op !== "ReduceSum") return false;
    const builder = this.#builder;
    const [x = "", over = ""] = node.inputs;
    const type = builder.typeOf(x);
    const result = builder.typeOf(node.outputs[0] ?? "")?.shape;
    const given = builder.constantOf(over);
    const axes = given && numbersOf(given);
    if (type?.dtype !== "float32" || !isStatic(type.shape) || !isStatic(result)) return false;
    const { shape } = type;
    const last = shape.length - 1;
    const summed = new Set(axes?.map((axis) => normalizeAxis(axis, shape.length)));
    const rows = shape.slice(0, last).reduce((a, b) => a * b, 1);
    if (summed.size !== last || summed.has(last) || rows < ROWS_MIN) return false;
    const width = shape[last] ?? 1;
    const matrix = builder.emit("Reshape", [x, shapeConstant(builder, [rows, width])]);
    const sum = builder.emit("MatMul", [this.#onesOf(rows), matrix]);
    const inputs = [sum, shapeConstant(builder, result)];
    builder.append({ ...node, op: "Reshape", inputs, attributes: new Map() });
    return true;
  }

  #onesOf(count: number): ValueName {
    const known = this.#ones.get(count);
    if (known !== undefined) return known;
    const ones = float32([1, count], new Float32Array(count).fill(1));
    const name = this.#builder.constant(ones, "ones");
    this.#ones.set(count, name);
    return name;
  }
}

function permOf(node: Node): readonly number[] | undefined {
  if (node.domain !== "" || node.op !== "Transpose") return undefined;
  return intsAttribute(node, "perm");
}

function keyOf(name: ValueName, order: readonly number[]): string {
  return `${order.join()} ${name}`;
}
