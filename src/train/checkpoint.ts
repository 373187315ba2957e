// A checkpoint: the saved state of a run after a whole epoch. Written aside and renamed, so that a kill
// at any moment leaves the last whole one.

import { open, readFile, rename, rm } from "node:fs/promises";
import { diagnostic } from "../base/diagnostic.ts";
import { messageOf, SkipwayError } from "../base/errors.ts";
import { float32Values, type Tensor } from "../graph/tensor.ts";
import { flatTensor, type Layout, put, tensorsOf } from "./layout.ts";
import { decodeSafetensors, encodeSafetensors, type Safetensors } from "./safetensors.ts";

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
    // On a full disk half a file would take the room that the next start needs.
    await rm(aside, { force: true }).catch(() => undefined);
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

/**
 * The state of the run with this fingerprint, or undefined if there is none.
 *
 * @throws SkipwayError `input` for a file that is no whole checkpoint.
 */
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
  const found = decoded(bytes, path);
  if (found.metadata.get("fingerprint") !== run.fingerprint) return undefined;
  const join = (prefix: string, layout: Layout): Float32Array | undefined => {
    const flat = new Float32Array(layout.count);
    for (const slot of layout.slots) {
      const value = found.tensors.get(`${prefix}.${slot.name}`);
      if (value?.dtype !== "float32") return undefined;
      const values = float32Values(value);
      if (values.length !== slot.count) return undefined;
      put(flat, slot, values);
    }
    return flat;
  };
  const progress = progressOf(found.metadata.get("progress") ?? "");
  const parameters = join("weight", run.layout.parameters);
  const momentum = join("momentum", run.layout.parameters);
  const statistics = join("statistic", run.layout.statistics);
  if (!(progress && parameters && momentum && statistics)) {
    throw damaged(path, "parts of the state are not in it");
  }
  return { ...progress, parameters, momentum, statistics };
}

function decoded(bytes: Uint8Array, path: string): Safetensors {
  try {
    return decodeSafetensors(bytes);
  } catch (cause) {
    const [found] = cause instanceof SkipwayError ? cause.diagnostics : [];
    throw damaged(path, found?.text ?? messageOf(cause));
  }
}

/** Told, not passed over: the file would be written anew, and may be somebody's own. */
function damaged(path: string, text: string): SkipwayError {
  return SkipwayError.fromDiagnostics("input", [
    diagnostic({
      id: "train/checkpoint-damaged",
      severity: "error",
      where: path,
      text: `the checkpoint is damaged: ${text}`,
      fix: "Delete the file; without it the training begins anew.",
    }),
  ]);
}

function progressOf(
  text: string,
): Pick<TrainingState, "epoch" | "losses" | "norms" | "seconds"> | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return undefined;
  }
  const fields = new Map(Object.entries(parsed ?? {}));
  const numbers = (name: string): number[] => {
    const list: unknown = fields.get(name);
    return Array.isArray(list) ? list.map(Number) : [];
  };
  const epoch = Number(fields.get("epoch"));
  const losses = numbers("losses");
  if (!Number.isInteger(epoch) || epoch < 1 || losses.length !== epoch) return undefined;
  return { epoch, seconds: Number(fields.get("seconds") ?? 0), losses, norms: numbers("norms") };
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
