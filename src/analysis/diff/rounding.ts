// Which operands of a merge come rounded to integers, and with which scales.

import type { Graph, Node, ValueName } from "../../graph/graph.ts";
import { indexOf } from "../../graph/query.ts";
import { numbersOf } from "../../graph/tensor.ts";
import { isRounding } from "../skips/vocabulary.ts";

/** The rounding of the operands of one merge. */
export interface Rounding {
  /** Operands that are rounded, and all that are no weights. */
  readonly rounded: number;
  readonly operands: number;
  /** Scales of the rounded ones as far as they are numbers in the file, in ascending order. */
  readonly scales: readonly number[];
}

/** Quantized merges of ONNX Runtime: inputs and their scales. */
const QUANTIZED: ReadonlyMap<string, readonly (readonly [number, number])[]> = new Map([
  [
    "QLinearAdd",
    [
      [0, 1],
      [3, 4],
    ],
  ],
]);

/** The rounding at a merge; undefined for one inside a body, whose operands may come from outside. */
export function roundingOf(graph: Graph, merge: Node | undefined): Rounding | undefined {
  if (merge === undefined) return undefined;
  const known = QUANTIZED.get(merge.op);
  const operands =
    known?.map(([input, scale]) => ({ value: merge.inputs[input], scale: merge.inputs[scale] })) ??
    merge.inputs
      .filter((name) => name !== "" && !graph.initializers.has(name))
      .map((value) => ({ value, scale: scaleOf(graph, value) }));
  const scales = operands.flatMap(({ scale }) => (scale === undefined ? [] : [scale]));
  return {
    rounded: scales.length,
    operands: operands.length,
    scales: scales.flatMap((name) => numberOf(graph, name)).toSorted((a, b) => a - b),
  };
}

/** The scale with which a value was rounded last. */
function scaleOf(graph: Graph, value: ValueName): ValueName | undefined {
  const node = indexOf(graph).producers.get(value);
  return node !== undefined && isRounding(node) ? node.inputs[1] : undefined;
}

function numberOf(graph: Graph, name: ValueName): readonly number[] {
  const ref = graph.initializers.get(name);
  // A scale is one number here; of others nothing is said.
  if (ref === undefined || ref.shape.some((dim) => dim !== 1)) return [];
  return numbersOf(ref) ?? [];
}
