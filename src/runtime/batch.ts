// Many requests as one run: their rows one after another along the first axis, and the answer cut by rows again.
// Bytes are not copied; whoever writes them writes one member's after the other's.

import { type Diagnostic, diagnostic } from "../base/diagnostic.ts";
import { SkipwayError } from "../base/errors.ts";
import { dtypeBytes } from "../graph/dtype.ts";
import type { ValueType } from "../graph/graph.ts";
import { visitStrings } from "../graph/string-tensor.ts";
import type { Tensor } from "../graph/tensor.ts";
import { formatType } from "./feeds.ts";
import type { Part } from "./frames.ts";
import type { Tensors } from "./runner.ts";

/** A batch as it is sent. */
export interface Batch {
  readonly parts: readonly Part[];
  /** Rows of each member. */
  readonly rows: readonly number[];
}

/**
 * Joins members, each of which is right by itself (`checkFeeds`), along their first axis.
 *
 * @throws SkipwayError `input` with `runtime/not-batchable` where the model or a member has no such axis or the other
 * sizes differ.
 */
export function joinMembers(
  inputs: ReadonlyMap<string, ValueType>,
  members: readonly Tensors[],
): Batch {
  const rows = members.map(rowsOf);
  const total = rows.reduce((a, b) => a + b, 0);
  const parts: Part[] = [];
  for (const [name, type] of inputs) {
    const tensors = members.flatMap((member) => member.get(name) ?? []);
    const [first] = tensors;
    if (first === undefined) continue;
    const dim = type.shape?.[0];
    if (typeof dim === "number" && dim !== total) {
      throw notBatchable(`input "${name}"`, `the model expects ${formatType(type)}`);
    }
    const inner = first.shape.slice(1);
    if (tensors.some(({ shape }) => shape.slice(1).join() !== inner.join())) {
      throw notBatchable(`input "${name}"`, "the members have different sizes after the first");
    }
    const pieces = tensors.map(({ data }) => data.bytes);
    parts.push({ name, dtype: first.dtype, shape: [total, ...inner], pieces });
  }
  return { parts, rows };
}

function rowsOf(member: Tensors): number {
  const counts = new Set([...member.values()].map(({ shape }) => shape[0]));
  const [rows] = counts;
  if (counts.size === 1 && rows !== undefined) return rows;
  throw notBatchable("batch", "the inputs of a member have no first axis in common");
}

/**
 * The answer of each member, as views.
 *
 * @throws SkipwayError `input` with `runtime/not-batchable` where an output has not one row for each row of the batch.
 */
export function splitByRows(outputs: Tensors, rows: readonly number[]): Tensors[] {
  const total = rows.reduce((a, b) => a + b, 0);
  const answers = rows.map(() => new Map<string, Tensor>());
  for (const [name, value] of outputs) {
    if (value.shape[0] !== total) {
      const text = `its shape is [${value.shape.join(",")}], for a batch of ${total} rows`;
      throw notBatchable(`output "${name}"`, text);
    }
    const ends = rowEnds(value, total);
    let row = 0;
    for (const [i, count] of rows.entries()) {
      const bytes = value.data.bytes.subarray(ends(row), ends(row + count));
      const shape = [count, ...value.shape.slice(1)];
      answers[i]?.set(name, { dtype: value.dtype, shape, data: { kind: "bytes", bytes } });
      row += count;
    }
  }
  return answers;
}

/** Where so many rows end in the bytes of a tensor. */
function rowEnds(value: Tensor, total: number): (row: number) => number {
  const inner = value.shape.slice(1).reduce((a, b) => a * b, 1);
  if (value.dtype !== "string") return (row) => dtypeBytes(value.dtype, row * inner);
  const ends = new Float64Array(total + 1);
  visitStrings(value, (bytes, index) => {
    const end = bytes.byteOffset + bytes.byteLength - value.data.bytes.byteOffset;
    ends[Math.floor(index / inner) + 1] = end;
  });
  return (row) => ends[row] ?? 0;
}

function notBatchable(where: string, text: string): SkipwayError {
  const found: Diagnostic = diagnostic({
    id: "runtime/not-batchable",
    severity: "error",
    where,
    text: `requests cannot be joined into one run here: ${text}`,
    fix: "Run the requests one by one, or export the model with a symbolic first axis everywhere.",
  });
  return SkipwayError.fromDiagnostics("input", [found]);
}
