// Which examples make up each batch. A function of seed, epoch and place alone, so that a run that was
// interrupted goes on with exactly the batches that it would have seen.

import { Random } from "../base/random.ts";
import { bytesOf, float32, type Tensor } from "../graph/tensor.ts";
import type { Dataset, Examples } from "./data.ts";

/** Streams of random numbers: one for the order of an epoch, one for the shifts of its images. */
const ORDER_STREAM = 0x0bde;
const SHIFT_STREAM = 0x5f17;

/** How examples are varied. `shift`: each image moves by up to one pixel in both directions. */
export type Augmentation = "none" | "shift";

/** One batch as the training graph takes it. */
export interface Batch {
  readonly inputs: Tensor;
  /** int64, one class for each example. */
  readonly labels: Tensor;
}

/** How batches are drawn. */
export interface BatchOptions {
  readonly batch: number;
  readonly seed: number;
  readonly augment: Augmentation;
}

/** Batches of an epoch: the last examples that do not fill a batch are left for other epochs. */
export function batchesPerEpoch(examples: Examples, batch: number): number {
  return Math.floor(examples.count / batch);
}

/** The batches of one epoch, in a seeded order. */
export function* epochBatches(
  data: Dataset,
  epoch: number,
  options: BatchOptions,
): Generator<Batch> {
  const { batch, seed, augment } = options;
  const order = new Random(seed, ORDER_STREAM + epoch).permutation(data.train.count);
  const shifts = new Random(seed, SHIFT_STREAM + epoch);
  const steps = batchesPerEpoch(data.train, batch);
  for (let step = 0; step < steps; step++) {
    const chosen = order.subarray(step * batch, (step + 1) * batch);
    yield gatherBatch(data, chosen, augment === "shift" ? shifts : undefined);
  }
}

function gatherBatch(data: Dataset, chosen: Uint32Array, shifts: Random | undefined): Batch {
  const { shape } = data.input;
  const size = shape.reduce((a, b) => a * b, 1);
  const inputs = new Float32Array(chosen.length * size);
  const labels = new BigInt64Array(chosen.length);
  for (const [i, example] of chosen.entries()) {
    const image = data.train.inputs.subarray(example * size, (example + 1) * size);
    const target = inputs.subarray(i * size, (i + 1) * size);
    if (shifts === undefined) target.set(image);
    else shiftImage(image, target, shape, [shifts.integer(3) - 1, shifts.integer(3) - 1]);
    labels[i] = BigInt(data.train.labels[example] ?? 0);
  }
  return {
    inputs: float32([chosen.length, ...shape], inputs),
    labels: {
      dtype: "int64",
      shape: [chosen.length],
      data: { kind: "bytes", bytes: bytesOf(labels) },
    },
  };
}

/** Moves the planes of an image `[…, H, W]` down and right; what comes in is 0. */
function shiftImage(
  from: Float32Array,
  to: Float32Array,
  shape: readonly number[],
  [down, right]: readonly [number, number],
): void {
  const [height = 1, width = 1] = shape.slice(-2);
  for (let plane = 0; plane < from.length; plane += height * width) {
    for (let y = Math.max(0, down); y < Math.min(height, height + down); y++) {
      const start = plane + (y - down) * width;
      const row = from.subarray(start + Math.max(0, -right), start + width - Math.max(0, right));
      to.set(row, plane + y * width + Math.max(0, right));
    }
  }
}
