// Labelled examples in a safetensors file, and which of them a classifier gets right.

import { diagnostic } from "../base/diagnostic.ts";
import { SkipwayError } from "../base/errors.ts";
import { numbersOf, type Tensor, tensor } from "../graph/tensor.ts";
import type { Session, Tensors } from "../runtime/runner.ts";
import { decodeSafetensors } from "../train/safetensors.ts";

/** Examples with the class of each. */
export interface Labelled {
  readonly inputs: Tensors;
  readonly labels: readonly number[];
}

/** The tensor that holds the classes. */
const LABEL = "label";
/** Examples of one run. */
const BATCH = 64;

/**
 * Reads a file whose tensors are the inputs of a model, examples along the first axis, and `label`, the class
 * of each as an integer.
 *
 * @throws SkipwayError `input` for a file that is not so.
 */
export function decodeLabelled(bytes: Uint8Array, where: string): Labelled {
  const { tensors } = decodeSafetensors(bytes);
  const inputs = new Map(tensors);
  const label = inputs.get(LABEL);
  inputs.delete(LABEL);
  const labels = label === undefined ? undefined : numbersOf(label);
  if (label === undefined || labels === undefined || label.shape.length !== 1) {
    throw unfit(where, `has no tensor "${LABEL}" of one axis with the class of each example`);
  }
  if (inputs.size === 0 || labels.length === 0) throw unfit(where, "has no examples");
  for (const [name, value] of inputs) {
    if (value.shape[0] !== labels.length) {
      throw unfit(
        where,
        `has ${labels.length} labels, and "${name}" ${value.shape[0] ?? 0} examples`,
      );
    }
  }
  return { inputs, labels };
}

/**
 * Which examples a classifier gets right: its first output has the scores of the classes in its last axis.
 *
 * @throws SkipwayError `input` for a label that is none of its classes.
 */
export async function rightOnes(
  session: Session,
  { inputs, labels }: Labelled,
  options: { readonly signal?: AbortSignal } = {},
): Promise<boolean[]> {
  const right: boolean[] = [];
  // A model that takes one example at a time gets one at a time.
  const fixed = [...session.inputs.values()].some(({ shape }) => shape?.[0] === 1);
  const size = fixed ? 1 : BATCH;
  const [output] = session.outputs.keys();
  for (let from = 0; from < labels.length; from += size) {
    const count = Math.min(size, labels.length - from);
    const part = new Map([...inputs].map(([name, value]) => [name, rows(value, from, count)]));
    const outputs = await session.run(part, options);
    const scores = output === undefined ? undefined : outputs.get(output);
    const values = scores === undefined ? undefined : numbersOf(scores);
    const classes = values === undefined ? 0 : values.length / count;
    for (let i = 0; i < count; i++) {
      const label = labels[from + i] ?? 0;
      if (!Number.isInteger(label) || label < 0 || label >= classes) {
        const last = `those of the model are 0 to ${classes - 1}`;
        throw unfit(LABEL, `has class ${label} for example ${from + i}, and ${last}`);
      }
      const row = values?.slice(i * classes, (i + 1) * classes) ?? [];
      right.push(row.indexOf(Math.max(...row)) === label);
    }
  }
  return right;
}

function rows(value: Tensor, from: number, count: number): Tensor {
  const [all = 1, ...rest] = value.shape;
  const each = value.data.bytes.byteLength / all;
  const bytes = value.data.bytes.subarray(from * each, (from + count) * each);
  return tensor(value.dtype, [count, ...rest], bytes);
}

function unfit(where: string, text: string): SkipwayError {
  return SkipwayError.fromDiagnostics("input", [
    diagnostic({
      id: "check/labelled",
      severity: "error",
      where,
      text,
      fix: 'Write a safetensors file with the inputs of the model and an integer tensor "label".',
    }),
  ]);
}
