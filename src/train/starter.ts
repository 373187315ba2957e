// Training the starter network: the settings, and the job as plain data, so that it can run in a
// process of its own.

import { starter } from "../nn/models/starter.ts";
import { sgd } from "../nn/optimizer.ts";
import { digits } from "./data.ts";
import type { Accuracy } from "./evaluate.ts";
import { type StepProgress, type TrainingRun, train } from "./train.ts";

/** One of the twins. */
export interface StarterJob {
  /** false: the plain twin. */
  readonly skips: boolean;
  readonly seed: number;
  readonly epochs: number;
  /** Where the state is kept after each epoch. */
  readonly checkpoint: string;
  /** Where the trained model is written. */
  readonly out: string;
}

/** What a twin gave, as data. */
export interface TwinResult {
  readonly losses: readonly number[];
  readonly accuracy: Accuracy;
  readonly gradientNorms: TrainingRun["gradientNorms"];
  readonly gradientRatio: number;
  readonly imagesPerSecond: number;
  readonly seconds: number;
  readonly peakRssBytes: number;
  readonly resumedEpochs: number;
}

/**
 * Epochs of a run. With batches of 64, momentum 0.9, a peak rate of 0.1 and shifts by a pixel this was
 * chosen on the last 287 of the 1,437 training digits (docs/design/starter.md).
 */
export const STARTER_EPOCHS = 15;

/** Trains a twin and writes its model. */
export async function trainStarter(
  job: StarterJob,
  options: { onStep?: (progress: StepProgress) => void; signal?: AbortSignal } = {},
): Promise<{ run: TrainingRun; dataDigest: string }> {
  const data = await digits();
  const run = await train(starter({ skips: job.skips }), data, {
    loss: "cross-entropy",
    optimizer: sgd({ rate: 0.1, momentum: 0.9, weightDecay: 5e-4 }),
    epochs: job.epochs,
    seed: job.seed,
    augment: "shift",
    checkpoint: job.checkpoint,
    ...options,
  });
  await run.model.save(job.out);
  return { run, dataDigest: data.digest };
}
