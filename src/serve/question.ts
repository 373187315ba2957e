// What the batcher needs to know of a request: how many rows it has, and with which others it may share a
// run.

import type { ValueType } from "../graph/graph.ts";
import { elementCount } from "../graph/shape.ts";
import type { Tensors } from "../runtime/runner.ts";

/** A request, measured. */
export interface Question {
  /** Requests of equal bucket may share a run. */
  readonly bucket: string;
  /** Along the batch axis; 1 where requests are not put together. */
  readonly rows: number;
  /** Whether it may share a run at all. */
  readonly batchable: boolean;
  readonly elementsPerRow: number;
  readonly bytes: number;
}

/**
 * Measures a request whose inputs are those of the model.
 *
 * @param batched whether requests of this model are put together along axis 0.
 */
export function questionOf(
  types: ReadonlyMap<string, ValueType>,
  inputs: Tensors,
  outputs: readonly string[] | undefined,
  batched: boolean,
): Question {
  let bytes = 0;
  let elements = 0;
  let rows: number | undefined;
  let equal = batched;
  for (const { shape, data } of inputs.values()) {
    bytes += data.bytes.byteLength;
    elements += elementCount(shape) ?? 0;
    const first = shape[0] ?? 0;
    rows ??= first;
    // An empty request has no row to find again in an answer, one whose inputs disagree has two counts.
    if (first === 0 || first !== rows) equal = false;
  }
  const skip = equal ? 1 : 0;
  let bucket = equal ? "" : "!";
  // In the model's order: that of the request is of no matter.
  for (const name of types.keys()) {
    const shape = inputs.get(name)?.shape ?? [];
    for (let axis = skip; axis < shape.length; axis++) bucket += `${shape[axis]},`;
    bucket += ";";
  }
  if (outputs !== undefined) bucket += outputs.join("\u0000");
  const count = equal ? (rows ?? 1) : 1;
  return { bucket, rows: count, batchable: equal, elementsPerRow: elements / count, bytes };
}
