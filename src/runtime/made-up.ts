// Inputs that are made up, to see whether a model answers at all. Where none fit its types, or the answer
// to them cannot be had, that says nothing about the model.

import { SkipwayError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import type { ValueType } from "../graph/graph.ts";
import { isStatic, type Shape } from "../graph/shape.ts";
import { bytesOf, type Tensor, tensor } from "../graph/tensor.ts";
import type { Tensors } from "./runner.ts";

/**
 * A batch of one for these inputs. Undefined where there is none: token ids, symbolic sizes other than
 * the batch, and more bytes than a request may have.
 */
export function madeUpInputs(
  types: ReadonlyMap<string, ValueType>,
  value: () => number,
): Tensors | undefined {
  const inputs = new Map<string, Tensor>();
  let left = limits.requestBytesMax;
  for (const [name, { dtype, shape }] of types) {
    const sizes: Shape | undefined = shape?.map((dim, axis) =>
      axis === 0 && typeof dim === "string" ? 1 : dim,
    );
    if (dtype !== "float32" || sizes === undefined || !isStatic(sizes)) return undefined;
    const count = sizes.reduce((a, b) => a * b, 1);
    left -= 4 * count;
    if (left < 0) return undefined;
    inputs.set(name, tensor(dtype, sizes, bytesOf(Float32Array.from({ length: count }, value))));
  }
  return inputs;
}

/** Failures that are the made-up inputs' fault, or the way's: sizes inside, answers that cannot be sent. */
const INCONCLUSIVE = new Set([
  "runtime/failed",
  "runtime/out-of-memory",
  "runtime/too-large",
  "runtime/dtype",
]);

/** Whether a run on made-up inputs failed in a way that says nothing about the model. */
export function inconclusive(error: unknown): boolean {
  return error instanceof SkipwayError && INCONCLUSIVE.has(error.diagnostics[0]?.id ?? "");
}
