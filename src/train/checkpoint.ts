// A checkpoint: the saved state of a run after a whole epoch. Written aside and renamed, so that a kill
// at any moment leaves the last whole one.

import { open, readFile, rename } from "node:fs/promises";
import { diagnostic } from "../base/diagnostic.ts";
import { messageOf, SkipwayError } from "../base/errors.ts";
import { float32Values, type Tensor } from "../graph/tensor.ts";
import { flatTensor, type Layout, tensorsOf } from "./layout.ts";
import { decodeSafetensors, encodeSafetensors } from "./safetensors.ts";

/** What a run needs to go on. */
export interface TrainingState {
  /** Epochs done. */
  readonly epoch: number;
  readonly parameters: Float32Array;
  readonly momentum: Float32Array;
  readonly statistics: Float32Array;
  /** Mean loss of each epoch so far. */
  readonly losses: readonly number[];
  /** ‖∂loss/∂x‖ of each watched value, mean over the first epoch. */
  readonly norms: readonly number[];
  /** Seconds of training so far. */
  readonly seconds: number;
}

/** Where the flat vectors of a state are cut into named weights. */
export interface StateLayout {
  readonly parameters: Layout;
  readonly statistics: Layout;
}

/**
 * Writes a state. `fingerprint` names the run that it belongs to.
 *
 * @throws SkipwayError `environment` when the disk refuses.
 */
export async function saveCheckpoint(
  path: string,
  state: TrainingState,
  run: { layout: StateLayout; fingerprint: string },
): Promise<void> {
  const tensors = new Map<string, Tensor>();
  const add = (prefix: string, flat: Float32Array, layout: Layout): void => {
    for (const [name, value] of tensorsOf(flat, layout)) tensors.set(`${prefix}.${name}`, value);
  };
  add("weight", state.parameters, run.layout.parameters);
  add("momentum", state.momentum, run.layout.parameters);
  add("statistic", state.statistics, run.layout.statistics);
  const { epoch, losses, norms, seconds } = state;
  const metadata = new Map([
    ["fingerprint", run.fingerprint],
    ["progress", JSON.stringify({ epoch, losses, norms, seconds })],
  ]);
  const aside = `${path}.${process.pid}.tmp`;
  try {
    const file = await open(aside, "w");
    try {
      await file.writeFile(encodeSafetensors(tensors, metadata));
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(aside, path);
  } catch (cause) {
    throw new SkipwayError("environment", `cannot write ${path}: ${messageOf(cause)}`, {
      cause,
      diagnostics: [
        diagnostic({
          id: "train/checkpoint-unwritable",
          severity: "error",
          where: path,
          text: `the checkpoint cannot be written: ${messageOf(cause)}`,
          fix: "Free some space or choose another folder; the run can be started again.",
        }),
      ],
    });
  }
}

/** The state of the run with this fingerprint, or undefined if there is none that can be used. */
export async function readCheckpoint(
  path: string,
  run: { layout: StateLayout; fingerprint: string },
): Promise<TrainingState | undefined> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch {
    return undefined;
  }
  const { tensors, metadata } = decodeSafetensors(bytes);
  if (metadata.get("fingerprint") !== run.fingerprint) return undefined;
  const join = (prefix: string, layout: Layout): Float32Array => {
    const flat = new Float32Array(layout.count);
    for (const { name, offset } of layout.slots) {
      const value = tensors.get(`${prefix}.${name}`);
      if (value !== undefined) flat.set(float32Values(value), offset);
    }
    return flat;
  };
  return {
    ...progressOf(metadata.get("progress") ?? "{}"),
    parameters: join("weight", run.layout.parameters),
    momentum: join("momentum", run.layout.parameters),
    statistics: join("statistic", run.layout.statistics),
  };
}

function progressOf(text: string): Pick<TrainingState, "epoch" | "losses" | "norms" | "seconds"> {
  const parsed: unknown = JSON.parse(text);
  const fields = new Map(Object.entries(parsed ?? {}));
  const numbers = (name: string): number[] => {
    const list: unknown = fields.get(name);
    return Array.isArray(list) ? list.map(Number) : [];
  };
  return {
    epoch: Number(fields.get("epoch") ?? 0),
    seconds: Number(fields.get("seconds") ?? 0),
    losses: numbers("losses"),
    norms: numbers("norms"),
  };
}

/** Fresh momentum beside given weights. */
export function firstState(parameters: Float32Array, statistics: Float32Array): TrainingState {
  const momentum = new Float32Array(parameters.length);
  return { epoch: 0, parameters, momentum, statistics, losses: [], norms: [], seconds: 0 };
}

/** The feeds that carry a state into a step. */
export function stateFeeds(state: TrainingState): readonly (readonly [string, Tensor])[] {
  return [
    ["parameters", flatTensor(state.parameters)],
    ["momentum", flatTensor(state.momentum)],
    ["statistics", flatTensor(state.statistics)],
  ];
}
