// The training loop. Each step is one run of the training graph (program.ts); here are the epochs
// around it: batches, the learning rate, checkpoints, and what a run reports.

import { createHash } from "node:crypto";
import { present } from "../base/assert.ts";
import { type Clock, systemClock } from "../base/clock.ts";
import { SkipwayError } from "../base/errors.ts";
import { float32Values, int64, scalar, type Tensor } from "../graph/tensor.ts";
import type { Layer } from "../nn/layer.ts";
import { buildNet } from "../nn/net.ts";
import type { Optimizer } from "../nn/optimizer.ts";
import type { Model } from "../onnx/model.ts";
import { modelOf } from "../onnx/onnx-model.ts";
import { encodeModel } from "../onnx/write.ts";
import { inProcessRunner } from "../runtime/in-process.ts";
import type { Session, Tensors } from "../runtime/runner.ts";
import { type Augmentation, type Batch, batchesPerEpoch, epochBatches } from "./batches.ts";
import { blockInputs } from "./blocks.ts";
import { checkFit } from "./check.ts";
import {
  firstState,
  readCheckpoint,
  saveCheckpoint,
  stateFeeds,
  type TrainingState,
} from "./checkpoint.ts";
import type { Dataset } from "./data.ts";
import { diverged } from "./diverged.ts";
import { type Accuracy, evaluateModel } from "./evaluate.ts";
import { gatherFlat, tensorsOf, withWeights } from "./layout.ts";
import { type LoweringChoice, trainingBlock } from "./lowering.ts";
import { type Program, ports, type RunningVariance, trainingProgram } from "./program.ts";
import { rateFactor, type Schedule } from "./schedule.ts";

/** How to train. */
export interface TrainOptions {
  readonly loss: "cross-entropy";
  readonly optimizer: Optimizer;
  readonly epochs: number;
  /** Examples in a step. Default 64. */
  readonly batch?: number;
  /** Seeds weights, order and variation of the data. Default 1. */
  readonly seed?: number;
  /** Threads of one step. Default 1. */
  readonly threads?: number;
  /**
   * `auto` runs convolutions in the runtime's blocked layout where that is proven to give the same on this
   * machine, and products of matrices in its own ops; `plain` has standard ops alone. Default `auto`.
   */
  readonly lowering?: LoweringChoice;
  /**
   * `blocks` keeps what goes into each block until the way back, where everything else is computed a second time: less
   * memory, the same weights bit for bit, some more time. Default `none`.
   */
  readonly recompute?: "none" | "blocks";
  /** Which variance of a batch the running one follows: ONNX has the population's, PyTorch the sample's. Default `population`. */
  readonly runningVariance?: RunningVariance;
  /** Default `cosine`. */
  readonly schedule?: Schedule;
  /** Default `none`. */
  readonly augment?: Augmentation;
  /** File to which the state is written after each epoch, and from which a run goes on. */
  readonly checkpoint?: string;
  /** Stops the run after the step that is under way. */
  readonly signal?: AbortSignal;
  readonly onStep?: (progress: StepProgress) => void;
  readonly clock?: Clock;
}

/** Where a run stands. */
export interface StepProgress {
  /** Steps done, and in all. */
  readonly step: number;
  readonly steps: number;
  readonly epoch: number;
  readonly epochs: number;
  readonly loss: number;
  readonly imagesPerSecond: number;
}

/** What a run gave. */
export interface TrainingRun {
  /** The trained model, in inference form. */
  readonly model: Model;
  /** Mean loss of each epoch. */
  readonly losses: readonly number[];
  /** On the holdout examples. */
  readonly accuracy: Accuracy;
  /** ‖∂loss/∂x‖ at the entry of each block, mean over the first epoch. */
  readonly gradientNorms: readonly { readonly block: string; readonly norm: number }[];
  /** The first of these over the last: near 1 where gradients pass the depth unharmed. */
  readonly gradientRatio: number;
  readonly imagesPerSecond: number;
  /** Seconds in training steps, of all parts of an interrupted run together. */
  readonly seconds: number;
  /** Epochs that were found in the checkpoint and not trained again. */
  readonly resumedEpochs: number;
}

/**
 * Trains a network on a data set. The same network, data, options and machine give the same weights,
 * bit for bit, also when the run is interrupted and goes on from its checkpoint.
 *
 * @throws SkipwayError `input` for networks that cannot be trained on this data, `interrupted` on the
 * signal, `environment` when the runtime or the disk fails.
 * @example
 * const run = await train(net, await datasets.digits(), {
 *   loss: "cross-entropy", optimizer: nn.sgd({ rate: 0.1, momentum: 0.9 }), epochs: 5,
 * });
 */
export async function train(
  net: Layer,
  data: Dataset,
  options: TrainOptions,
): Promise<TrainingRun> {
  const { batch = 64, seed = 1, threads = 1 } = options;
  const form = { input: data.input, output: "logits", seed, name: data.name } as const;
  const inference = buildNet(net, form);
  checkFit(inference, data, batch);
  // Some random layers are nodes in training alone; weights are the same in both.
  const training = buildNet(net, { ...form, mode: "training" });
  const blocks = blockInputs(training);
  const program = trainingProgram(training, {
    batch,
    optimizer: options.optimizer,
    watch: blocks.map((block) => block.value),
    seed,
    runningVariance: options.runningVariance,
    ...(options.recompute === "blocks" && { keep: blocks.map((block) => block.value) }),
    ...(options.lowering !== "plain" && { block: await trainingBlock(), fusedProducts: true }),
  });
  const bytes = encodeModel(modelOf(program.graph));
  // Of the network, not of how it is laid out here: a run may go on on another machine.
  const network = encodeModel(modelOf(training));
  const run = { layout: program, fingerprint: fingerprintOf(network, data, options) };
  const found =
    options.checkpoint === undefined ? undefined : await readCheckpoint(options.checkpoint, run);
  const start =
    found ??
    firstState(
      gatherFlat(inference, program.parameters),
      gatherFlat(inference, program.statistics),
    );
  const session = await inProcessRunner().load({ bytes }, { threads, memoryPattern: false });
  let end: TrainingState;
  try {
    end = await runEpochs(session, start, { program, data, options, run });
  } finally {
    await session.close();
  }
  const trained = withWeights(
    inference,
    new Map([
      ...tensorsOf(end.parameters, program.parameters),
      ...tensorsOf(end.statistics, program.statistics),
    ]),
  );
  const model = modelOf(trained);
  const images = batchesPerEpoch(data.train, batch) * batch * options.epochs;
  return {
    model,
    losses: end.losses,
    accuracy: await evaluateModel(inProcessRunner(), model, data),
    gradientNorms: blocks.map(({ block }, i) => ({ block, norm: end.norms[i] ?? Number.NaN })),
    gradientRatio: (end.norms[0] ?? Number.NaN) / (end.norms.at(-1) ?? Number.NaN),
    imagesPerSecond: images / end.seconds,
    seconds: end.seconds,
    resumedEpochs: start.epoch,
  };
}

interface RunContext {
  readonly program: Program;
  readonly data: Dataset;
  readonly options: TrainOptions;
  readonly run: { layout: Program; fingerprint: string };
}

async function runEpochs(
  session: Session,
  start: TrainingState,
  context: RunContext,
): Promise<TrainingState> {
  const { options, run } = context;
  let state = start;
  while (state.epoch < options.epochs) {
    state = await runEpoch(session, state, context);
    if (options.checkpoint !== undefined) await saveCheckpoint(options.checkpoint, state, run);
  }
  return state;
}

async function runEpoch(
  session: Session,
  start: TrainingState,
  { data, options, program }: RunContext,
): Promise<TrainingState> {
  const { batch = 64, seed = 1, augment = "none", schedule = "cosine" } = options;
  const clock = options.clock ?? systemClock;
  const steps = batchesPerEpoch(data.train, batch);
  const from = clock.monotonicMs();
  let state = start;
  let step = 0;
  let total = 0;
  const norms = new Float64Array(program.watch.length);
  for (const examples of epochBatches(data, start.epoch, { batch, seed, augment })) {
    if (options.signal?.aborted) throw interrupted(start.epoch, options.epochs);
    const done = start.epoch * steps + step;
    const rate = options.optimizer.rate * rateFactor(schedule, done, options.epochs * steps);
    const feeds = stepFeeds(session, state, { data, examples, rate, step: done });
    const result = await oneStep(session, state, feeds);
    const bad = faultOf(result);
    if (bad !== undefined) {
      throw await diverged(program.graph, feeds, { epoch: start.epoch, step, what: bad });
    }
    state = { ...state, ...result.state };
    total += result.loss;
    for (const [i, norm] of result.norms.entries()) norms[i] = (norms[i] ?? 0) + norm / steps;
    step++;
    options.onStep?.({
      step: done + 1,
      steps: options.epochs * steps,
      epoch: start.epoch,
      epochs: options.epochs,
      loss: result.loss,
      imagesPerSecond: (step * batch * 1000) / (clock.monotonicMs() - from),
    });
  }
  return {
    ...state,
    epoch: start.epoch + 1,
    losses: [...start.losses, total / steps],
    norms: start.epoch === 0 ? [...norms] : start.norms,
    seconds: start.seconds + (clock.monotonicMs() - from) / 1000,
  };
}

function stepFeeds(
  session: Session,
  state: TrainingState,
  { data, examples, rate, step }: { data: Dataset; examples: Batch; rate: number; step: number },
): Map<string, Tensor> {
  const feeds = new Map<string, Tensor>(
    stateFeeds(state).filter(([name]) => session.inputs.has(name)),
  );
  feeds.set(data.input.name, examples.inputs);
  feeds.set(ports.label, examples.labels);
  feeds.set(ports.rate, scalar(rate));
  if (session.inputs.has(ports.step)) feeds.set(ports.step, int64([], [step]));
  return feeds;
}

/** What one step gave. */
interface StepResult {
  readonly state: Pick<TrainingState, "parameters" | "momentum" | "statistics">;
  readonly loss: number;
  readonly norms: Float32Array;
}

/** What of a step is no finite number. Weights are looked at too: with them the next step has no cause to be found. */
function faultOf({ loss, state }: StepResult): "loss" | "weights" | undefined {
  if (!Number.isFinite(loss)) return "loss";
  return allFinite(state.parameters) && allFinite(state.statistics) ? undefined : "weights";
}

function allFinite(values: Float32Array): boolean {
  let sum = 0;
  // NaN and infinity times 0 are NaN; everything else adds nothing.
  for (const value of values) sum += value * 0;
  return sum === 0;
}

async function oneStep(
  session: Session,
  state: TrainingState,
  feeds: Tensors,
): Promise<StepResult> {
  const outputs = await session.run(feeds);
  const values = (name: string): Float32Array | undefined => {
    const found = outputs.get(name);
    return found === undefined ? undefined : float32Values(found);
  };
  return {
    state: {
      parameters: present(values(ports.next(ports.parameters)), "a step gives parameters"),
      momentum: present(values(ports.next(ports.momentum)), "a step gives momentum"),
      statistics: values(ports.next(ports.statistics)) ?? state.statistics,
    },
    loss: values(ports.loss)?.[0] ?? Number.NaN,
    norms: values(ports.norms) ?? new Float32Array(),
  };
}

function fingerprintOf(graph: Uint8Array, data: Dataset, options: TrainOptions): string {
  const { optimizer, epochs, batch, seed, threads, schedule, augment, runningVariance } = options;
  const settings = { optimizer, epochs, batch, seed, threads, schedule, augment, runningVariance };
  const hash = createHash("sha256").update(graph).update(data.digest);
  return hash.update(JSON.stringify(settings)).digest("hex");
}

function interrupted(epoch: number, epochs: number): SkipwayError {
  return new SkipwayError("interrupted", `training stopped after ${epoch} of ${epochs} epochs`);
}
