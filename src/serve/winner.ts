// Which class an answer names: of scores the largest, of class numbers themselves what they say. And one number of an
// answer that names none. Looks at one row: answers may be large.

import { type DType, dtypeBytes, isComputedFloat } from "../graph/dtype.ts";
import { float32Values, numbersOf, type Tensor, tensor } from "../graph/tensor.ts";
import type { Tensors } from "../runtime/runner.ts";

/** Longer rows are no scores of classes. */
const CLASSES_MAX = 4096;

const WHOLE: ReadonlySet<DType> = new Set(["int8", "uint8", "int16", "int32", "int64"]);

/** What of an output tells how a model answers: its classes, or its values. */
export type OutputKind = "class" | "value";

/** Floats with a list of scores for each row, or whole numbers with one for each row, are classes; other numbers values. */
export function outputKind({ dtype, shape }: Tensor): OutputKind | undefined {
  if (isScores({ dtype, shape })) return (shape[1] ?? 0) <= CLASSES_MAX ? "class" : "value";
  if (isComputedFloat(dtype)) return "value";
  if (!WHOLE.has(dtype)) return undefined;
  return shape.length === 1 || (shape.length === 2 && shape[1] === 1) ? "class" : "value";
}

/** Whether an output is a list of scores for each row: two axes, floats. */
export function isScores({ dtype, shape }: Pick<Tensor, "dtype" | "shape">): boolean {
  return isComputedFloat(dtype) && shape.length === 2 && (shape[1] ?? 0) > 1;
}

/** The class of a row of an output of kind `class`. Of equal scores the first wins; without a number there is none. */
export function classOf(output: Tensor, row: number): number | undefined {
  const columns = output.shape[1] ?? 1;
  const scores = part(output, row * columns, columns);
  if (columns === 1) return scores[0];
  let best = 0;
  let most = scores[0] ?? Number.NaN;
  for (let i = 1; i < columns; i++) {
    const score = scores[i] ?? Number.NaN;
    if (score > most) {
      best = i;
      most = score;
    }
  }
  return Number.isNaN(most) ? undefined : best;
}

/** One element as a number. */
export function elementOf(output: Tensor, place: number): number | undefined {
  return part(output, place, 1)[0];
}

/** The class that an answer of one row names: that of its first output that has classes. */
export function winningClass(outputs: Tensors): number | undefined {
  for (const output of outputs.values()) {
    if (outputKind(output) === "class") {
      return output.shape[0] === 1 ? classOf(output, 0) : undefined;
    }
  }
  return undefined;
}

/** How many classes the answer that `winningClass` looks at could have named; undefined where it does not tell. */
export function classCount(outputs: Tensors): number | undefined {
  for (const output of outputs.values()) {
    if (outputKind(output) === "class") return isScores(output) ? output.shape[1] : undefined;
  }
  return undefined;
}

function part({ dtype, data }: Tensor, from: number, count: number): ArrayLike<number> {
  const size = dtypeBytes(dtype, 1);
  const bytes = data.bytes.subarray(from * size, (from + count) * size);
  const few = tensor(dtype, [count], bytes);
  return dtype === "float32" ? float32Values(few) : (numbersOf(few) ?? []);
}
