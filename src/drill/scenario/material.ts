// What all drills need: a model of real digits, trained here in seconds, its successor, and a folder in which both are
// registered and which is gone afterwards.

import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../base/clock.ts";
import { SkipwayError } from "../../base/errors.ts";
import { float32 } from "../../graph/tensor.ts";
import { residual } from "../../nn/blocks/residual.ts";
import type { Layer } from "../../nn/layer.ts";
import { batchNorm, conv, dense, flatten, relu, sequential } from "../../nn/layers/index.ts";
import { sgd } from "../../nn/optimizer.ts";
import type { Model } from "../../onnx/model.ts";
import { encodeModel } from "../../onnx/write.ts";
import { encodeGolden, recordGolden } from "../../registry/golden.ts";
import { Registry } from "../../registry/registry.ts";
import { inProcessRunner } from "../../runtime/in-process.ts";
import { type Dataset, digits } from "../../train/data.ts";
import { train } from "../../train/train.ts";
import { iterationsFor, medianRunMs } from "../faults/calibrate.ts";
import { slow } from "../faults/model-faults.ts";
import type { Material } from "./scenario.ts";

/** The model of every drill. */
export const MODEL = "digits";

const WIDTH = 12;
const BLOCKS = 2;
/**
 * Of every run, by a loop that burns time: as much as a network of middling size takes. Beside it the few nodes that make
 * a candidate wrong or failing are not felt, or all of them would be taken back as slow.
 */
const RUN_MS = 5;
const EPOCHS = 10;
const SUCCESSOR_EPOCHS = 14;

/** The starter in small: it learns in seconds. */
function network(): Layer {
  const blocks = Array.from({ length: BLOCKS }, () => residual(WIDTH, { shortcut: "identity" }));
  const entry = [conv(WIDTH, 3, { bias: false }), batchNorm(), relu()];
  return sequential(...entry, ...blocks, flatten(), dense(10));
}

/** The material of all drills, with the data that its clients ask about. */
export async function prepare(signal: AbortSignal): Promise<Material & { readonly data: Dataset }> {
  const data = await digits();
  const trained = async (epochs: number): Promise<Model> => {
    const optimizer = sgd({ rate: 0.1, momentum: 0.9, weightDecay: 5e-4 });
    const options = { loss: "cross-entropy", optimizer, epochs, seed: 1, signal } as const;
    return (await train(network(), data, options)).model;
  };
  const [stable, successor] = [await trained(EPOCHS), await trained(SUCCESSOR_EPOCHS)];
  const measure = medianRunMs(example(data, 0), { runner: inProcessRunner(), clock: systemClock });
  const iterations = await iterationsFor(successor, RUN_MS, measure);
  const slower = (factor: number): Model =>
    slow(successor, { iterations: Math.round(factor * iterations) });
  return { data, stable: slow(stable, { iterations }), successor: slower(1), slower };
}

function example(data: Dataset, i: number): Map<string, ReturnType<typeof float32>> {
  const size = data.input.shape.reduce((a, b) => a * b, 1);
  const values = data.holdout.inputs.slice(i * size, (i + 1) * size);
  return new Map([[data.input.name, float32([1, ...data.input.shape], values)]]);
}

/** A store for one drill. */
export interface Stage extends AsyncDisposable {
  readonly folder: string;
  /** The file of the candidate. */
  readonly artifact: string;
}

/**
 * Registers the stable model as version 1 with the alias, and the candidate as version 2.
 *
 * @param webhooks the file that tells the server where events go.
 */
export async function setStage(
  data: Dataset,
  models: { readonly stable: Model; readonly candidate: Model },
  webhooks: string,
): Promise<Stage> {
  const folder = await mkdtemp(join(tmpdir(), "skipway-drill-"));
  const remove = (): Promise<void> => rm(folder, { recursive: true, force: true });
  try {
    await chmod(folder, 0o700);
    await writeFile(join(folder, "webhooks.json"), webhooks, { mode: 0o600 });
    await using registry = await Registry.open(folder);
    const by = { actor: "skipway drill", reason: "a drill", override: true };
    const { version } = await push(registry, data, models.stable);
    await registry.setAlias(MODEL, "stable", version.version, by);
    const candidate = await push(registry, data, models.candidate);
    const artifact = await registry.modelPath(candidate.version);
    return { folder, artifact, [Symbol.asyncDispose]: remove };
  } catch (error) {
    await remove();
    throw error;
  }
}

async function push(registry: Registry, data: Dataset, model: Model) {
  const file = encodeModel(model);
  const golden = Buffer.from(await goldenOf(data, file));
  const attachments = new Map([["golden", golden]]);
  const metadata = { createdBy: "skipway drill", metrics: {} };
  return registry.push(MODEL, file, { metadata, attachments });
}

/** The first digit to which it has an answer: a faulty model has none to some. */
async function goldenOf(data: Dataset, file: Uint8Array): Promise<Uint8Array> {
  await using session = await inProcessRunner().load({ bytes: file });
  for (let i = 0; i < data.holdout.count; i++) {
    const golden = await recordGolden(session, { inputs: example(data, i) }).catch(() => undefined);
    if (golden !== undefined) return encodeGolden(golden);
  }
  throw new SkipwayError("internal", "skipway defect: a candidate of a drill answers no digit");
}
