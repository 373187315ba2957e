// How often a classifier is right.

import { float32, float32Values } from "../graph/tensor.ts";
import type { Model } from "../onnx/model.ts";
import { encodeModel } from "../onnx/write.ts";
import type { Runner, Session } from "../runtime/runner.ts";
import type { Dataset, Examples } from "./data.ts";

/** Examples for one run: bounds memory, and is large enough to be fast. */
const BATCH = 128;

/** A share of right answers, with the number of examples behind it. */
export interface Accuracy {
  readonly right: number;
  readonly count: number;
}

/** Runs a classifier with one input and one output of scores `[N, C]` over examples. */
export async function evaluate(
  session: Session,
  data: Pick<Dataset, "input">,
  examples: Examples,
): Promise<Accuracy> {
  const size = data.input.shape.reduce((a, b) => a * b, 1);
  const [input = data.input.name] = session.inputs.keys();
  let right = 0;
  for (let from = 0; from < examples.count; from += BATCH) {
    const count = Math.min(BATCH, examples.count - from);
    const images = examples.inputs.subarray(from * size, (from + count) * size);
    const outputs = await session.run(
      new Map([[input, float32([count, ...data.input.shape], images)]]),
    );
    const [scores] = outputs.values();
    if (scores === undefined) continue;
    const values = float32Values(scores);
    const classes = values.length / count;
    for (let i = 0; i < count; i++) {
      const row = values.subarray(i * classes, (i + 1) * classes);
      if (largest(row) === examples.labels[from + i]) right++;
    }
  }
  return { right, count: examples.count };
}

/** Position of the largest element, the first of several. */
export function largest(values: Float32Array): number {
  let best = 0;
  for (const [i, value] of values.entries()) if (value > (values[best] ?? 0)) best = i;
  return best;
}

/** Loads a model and evaluates it. */
export async function evaluateModel(
  runner: Runner,
  model: Model,
  data: Dataset,
): Promise<Accuracy> {
  const session = await runner.load({ bytes: encodeModel(model) });
  try {
    return await evaluate(session, data, data.holdout);
  } finally {
    await session.close();
  }
}
