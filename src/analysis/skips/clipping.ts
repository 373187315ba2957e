// The Relu that tools which quantize leave out of the file: a grid without negative numbers clips as it does.

import { type Node, stringAttribute, type ValueName } from "../../graph/graph.ts";
import { numbersOf } from "../../graph/tensor.ts";
import type { Flow } from "./flow.ts";
import { fusedActivation, isMove, wordOf } from "./vocabulary.ts";

/** Ops that bring a value to a grid, their zero point in input 2. */
const ONTO_GRID = new Set(["QuantizeLinear", "FakeQuantize"]);

/** Ops whose results are of either sign. */
const SIGNED = new Set([
  ...["Conv", "FusedConv", "ConvTranspose", "Gemm", "FusedGemm", "MatMul", "FusedMatMul", "Linear"],
  ...["Add", "Sum"],
]);
const SUMS = new Set(["Add", "Sum"]);

/** Ops that keep the sign of what passes them. */
const PASSING = new Set([
  ...["Reshape", "Flatten", "Squeeze", "Unsqueeze", "MaxPool", "AveragePool", "GlobalAveragePool"],
  "Dropout",
]);

/** The lowest number of each type that values are quantized to. */
const LOWEST: ReadonlyMap<string, number> = new Map([
  ["uint8", 0],
  ["uint16", 0],
  ["uint4", 0],
  ["int8", -128],
  ["int16", -32_768],
  ["int4", -8],
]);

/**
 * Whether a node also does what a Relu does: its result is rounded to a grid without negative numbers, and
 * its operand may have some. Tools that quantize leave such a Relu out of the file.
 */
export function clips(flow: Flow, node: Node): boolean {
  const word = wordOf(node);
  const rounds = ONTO_GRID.has(word);
  const position = rounds ? 2 : node.op.startsWith("QLinear") ? 7 : undefined;
  if (position === undefined || !isLowest(flow, node, node.inputs[position] ?? "")) return false;
  return rounds ? hasSign(flow, node.inputs[0] ?? "") : SIGNED.has(word);
}

/** Whether a zero point is the lowest number of its type. */
function isLowest(flow: Flow, node: Node, zero: ValueName): boolean {
  const ref = flow.constantOf(zero);
  if (zero === "") return stringAttribute(node, "to", "uint8").startsWith("uint");
  const lowest = LOWEST.get(ref?.dtype ?? "");
  return ref !== undefined && lowest !== undefined && numbersOf(ref)?.[0] === lowest;
}

/**
 * Whether a value is the result of a layer, moved or pooled at most, or a sum with one: of either sign. A sum of
 * what has no negative numbers, or of products of that, has none itself. A sum within the sum is taken at its word.
 */
function hasSign(flow: Flow, name: ValueName, depth = 0): boolean {
  let value = name;
  for (;;) {
    const node = flow.producer(value);
    if (node === undefined) return false;
    if (!isMove(node) && !PASSING.has(wordOf(node))) {
      const joins = depth === 0 ? SUMS.has(wordOf(node)) : depth === 1 && wordOf(node) === "Mul";
      if (joins) {
        return flow.activationInputs(node).some((operand) => hasSign(flow, operand, depth + 1));
      }
      return SIGNED.has(wordOf(node)) && fusedActivation(node) === undefined;
    }
    // Clipped here, or without negative numbers before.
    if (ONTO_GRID.has(wordOf(node)) && isLowest(flow, node, node.inputs[2] ?? "")) return false;
    value = node.inputs[0] ?? "";
  }
}
