// Whether two versions say the same: the question that a shadow copy answers. And whether an answer is made of
// numbers at all.

import { dtypeBytes, isComputedFloat } from "../graph/dtype.ts";
import { float32Values, numbersOf, type Tensor, tensor } from "../graph/tensor.ts";
import type { Tensors } from "../runtime/runner.ts";
import { diffTensors, near } from "./tensor-diff.ts";
import { isScores } from "./winner.ts";

/** Where no tolerance is set: what other kernels and orders of summation make of float32. */
const TOLERANCE = 1e-3;

/** Elements of one output that are looked at. */
const LOOKED_AT_MAX = 4096;

/**
 * Whether an answer says what the one that counts says. Each output has its type and shape, and its numbers: all
 * near (|a − b| ≤ tolerance · (1 + |a|)), or, where no tolerance is set and the output is a list of scores for each
 * row (two axes, floats), the same score is the largest in every row. NaN agrees with NaN alone.
 */
export function answersAgree(expected: Tensors, found: Tensors, tolerance?: number): boolean {
  for (const [name, value] of expected) {
    const other = found.get(name);
    if (near(value, other, tolerance ?? TOLERANCE)) continue;
    if (tolerance !== undefined || !isScores(value)) return false;
    const { comparable, top1Flips, nanMismatches } = diffTensors(value, other);
    if (!comparable || top1Flips > 0 || nanMismatches > 0) return false;
  }
  return true;
}

/**
 * Whether the floats of an answer are finite. Of a large output a part is looked at: evenly spread where that costs
 * no copy, else its beginning.
 */
export function allFinite(answer: Tensors): boolean {
  for (const value of answer.values()) {
    if (!isComputedFloat(value.dtype)) continue;
    const values = value.dtype === "float32" ? float32Values(value) : numbersOf(beginning(value));
    if (values === undefined) continue;
    // An odd step meets every column of a table in turn.
    const step = Math.ceil(values.length / LOOKED_AT_MAX) | 1;
    for (let i = 0; i < values.length; i += step) {
      if (!Number.isFinite(values[i])) return false;
    }
  }
  return true;
}

function beginning({ dtype, data }: Tensor): Tensor {
  const bytes = data.bytes.subarray(0, dtypeBytes(dtype, LOOKED_AT_MAX));
  return tensor(dtype, [bytes.byteLength / dtypeBytes(dtype, 1)], bytes);
}
