// Nodes in which the examples of a batch have to do with each other: one gets at another by its place, or they are
// paired. Looked for in a graph whose batch is a number that no other size is a multiple of.

import type { Standing } from "../../analysis/standing.ts";
import { intAttribute, type ValueName } from "../../graph/graph.ts";
import { typeOf } from "../../graph/query.ts";
import { type Dim, normalizeAxis, type Shape, UNKNOWN_DIM } from "../../graph/shape.ts";
import { numbersOf } from "../../graph/tensor.ts";

/** They tell of the batch and carry none of it. */
const SIZES = new Set(["Shape", "Size"]);

/**
 * Whether what a node gives is not made of as many parts as there are examples, though what it is given is: with
 * the old batch of 1, the first example was all there are.
 */
export function losesBatch({ graph, node }: Standing, otherBatch: number): boolean {
  if (SIZES.has(node.op)) return false;
  const countOf = (name: ValueName): number | undefined => parts(typeOf(graph, name)?.shape);
  const isBatch = (name: ValueName): boolean => {
    const count = countOf(name) ?? 0;
    return count > 0 && count % otherBatch === 0;
  };
  // The second operand of CastLike lends its type, nothing else.
  const read = node.op === "CastLike" ? node.inputs.slice(0, 1) : node.inputs;
  const given = read.some((name) => !graph.initializers.has(name) && isBatch(name));
  const outputs = node.outputs.filter((name) => name !== "");
  return given && outputs.every((name) => countOf(name) !== undefined && !isBatch(name));
}

/** Elements, but for lengths that are symbols: the batch is none of them. */
function parts(shape: Shape | undefined): number | undefined {
  if (shape === undefined || shape.includes(UNKNOWN_DIM)) return undefined;
  return shape.reduce<number>(
    (product, dim) => (typeof dim === "number" ? product * dim : product),
    1,
  );
}

/** Ops that take or put elements by their place along one axis, with the default of that. */
const ALONG: ReadonlyMap<string, number> = new Map([
  ["Gather", 0],
  ["GatherElements", 0],
  ["Scatter", 0],
  ["ScatterElements", 0],
]);

/** Ops that count places through all axes. */
const THROUGHOUT = new Set(["EyeLike", "ScatterND", "MaxUnpool", "Compress", "Unique", "NonZero"]);

/** Whether a node makes of one example what depends on another, though the shapes of all it reads and gives fit. */
export function mixesExamples(at: Standing, batch: number): boolean {
  const { node, graph } = at;
  const [name = ""] = node.inputs;
  const shape = typeOf(graph, name)?.shape;
  const isBatch = (dim: Dim | undefined): boolean =>
    typeof dim === "number" && dim > 0 && dim % batch === 0;
  if (node.domain !== "" || shape === undefined) return false;
  if (paired(at, batch)) return true;
  // Rows of a weight are no examples.
  if (graph.initializers.has(name)) return false;
  const along = ALONG.get(node.op);
  if (along !== undefined)
    return isBatch(shape[normalizeAxis(intAttribute(node, "axis", along), shape.length) ?? 0]);
  if (THROUGHOUT.has(node.op)) return shape.some(isBatch);
  switch (node.op) {
    case "GatherND":
      return intAttribute(node, "batch_dims", 0) === 0 && isBatch(shape[0]);
    case "CumSum":
    case "CumProd":
      return axesAt(at, 1, shape).some((axis) => isBatch(shape[axis]));
    case "DFT":
      return dftAxes(at, shape).some((axis) => isBatch(shape[axis]));
    case "Slice":
      return turnedAxes(at, shape).some((axis) => isBatch(shape[axis]));
    case "Trilu":
      return shape.slice(-2).some(isBatch);
    case "Conv":
    case "ConvTranspose":
      return isBatch(shape[1]);
    case "MaxPool":
      // Places of the largest elements, counted through the batch.
      return graph.outputs.some((output) => output.name === node.outputs[1]);
    default:
      return false;
  }
}

/** Whether what a node gives has the batch twice: each example with each. */
function paired({ node, graph }: Standing, batch: number): boolean {
  return node.outputs.some((output) => {
    const count = parts(typeOf(graph, output)?.shape) ?? 0;
    return count > 0 && count % batch ** 2 === 0;
  });
}

/** Axes in an operand; all where they are not known. */
function axesAt({ node, graph }: Standing, i: number, shape: Shape): number[] {
  const ref = graph.initializers.get(node.inputs[i] ?? "");
  const given = ref && numbersOf(ref);
  return given?.flatMap((axis) => normalizeAxis(axis, shape.length) ?? []) ?? [...shape.keys()];
}

/** An attribute before operator set 20; now an operand, the axis before the last if it is left out. */
function dftAxes(at: Standing, shape: Shape): number[] {
  const { node, graph } = at;
  if ((graph.opsets.get("") ?? 20) < 20) return [intAttribute(node, "axis", 1)];
  return (node.inputs[2] ?? "") === "" ? [shape.length - 2] : axesAt(at, 2, shape);
}

/** The axes along which a Slice goes backwards. */
function turnedAxes(at: Standing, shape: Shape): number[] {
  const ref = at.graph.initializers.get(at.node.inputs[4] ?? "");
  const steps = (ref && numbersOf(ref)) ?? [];
  const axes = (at.node.inputs[3] ?? "") === "" ? [...shape.keys()] : axesAt(at, 3, shape);
  return axes.filter((_, i) => (steps[i] ?? 1) < 0);
}
