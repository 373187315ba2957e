// From a model to ONNX files: whole or not there. Written aside, flushed, then renamed.

import { randomUUID } from "node:crypto";
import { type FileHandle, mkdir, open, realpath, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { type Diagnostic, diagnostic } from "../base/diagnostic.ts";
import { messageOf, SkipwayError } from "../base/errors.ts";
import { formatBytes } from "../base/format.ts";
import { limits } from "../base/limits.ts";
import type { Graph } from "../graph/graph.ts";
import { tensorsOf } from "../graph/map-tensors.ts";
import { hasBytes, type TensorRef } from "../graph/tensor.ts";
import { ExternalFiles, fixedLocations, withExternalTensors } from "./external-data.ts";
import { locationFault } from "./external-entries.ts";
import { gather, type Placement } from "./gather.ts";
import { modelChunks } from "./messages.ts";
import type { Model, SaveOptions } from "./model.ts";
import { tensorBytes } from "./tensors.ts";

/** Smaller tensors stay in the model file: shape rules read them, as runtimes do. */
const EXTERNAL_BYTES_MIN = 1024;

/**
 * The bytes of an ONNX file: the same model gives the same bytes.
 *
 * @throws SkipwayError `input` for a model that no single file can hold.
 */
export function encodeModel(model: Model): Uint8Array {
  const chunks = modelChunks(model);
  if (chunks.byteLength > limits.modelBytesMax) throw tooLarge(chunks.byteLength);
  return chunks.joined();
}

/** Writes a model; see `Model.save`. */
export async function saveModel(
  model: Model,
  path: string,
  options: SaveOptions = {},
): Promise<void> {
  const folder = dirname(resolve(path));
  const source = model.path === undefined ? undefined : dirname(model.path);
  // Said in so many words, one file means that nothing stays beside it.
  const whole = options.externalData === false;
  const foreign = foreignTensors(model, whole ? undefined : folder);
  await refuseWhatCannotMove(model, folder);
  const bytes =
    modelChunks(model).byteLength +
    foreign.reduce((sum, ref) => sum + tensorBytes(ref.dtype, ref.shape), 0);
  const beside = options.externalData ?? bytes > limits.modelBytesMax;
  if (beside === false) {
    const graph =
      foreign.length === 0 ? model.graph : await withExternalTensors(model.graph, source);
    await atomically([{ path, write: (file) => writeModel(file, model, graph) }]);
    return;
  }
  const { location: wanted, bytesMin = EXTERNAL_BYTES_MIN } = beside === true ? {} : beside;
  const fault = wanted === undefined ? undefined : placeFault(wanted, path);
  if (wanted !== undefined && fault !== undefined) throw badLocation(wanted, fault);
  const location = wanted ?? (await takeUnusedName(path));
  const data = join(folder, location);
  try {
    await makeFolders(folder, dirname(location));
    const { graph, placements } = gather(model.graph, { location, folder, bytesMin });
    await atomically([
      { path: data, write: (file) => writeData(file, placements, source) },
      { path, write: (file) => writeModel(file, model, graph) },
    ]);
  } catch (cause) {
    if (wanted === undefined) await rm(data, { force: true });
    throw cause;
  }
}

/** Folders inside the folder of the model, which itself has to be there. */
async function makeFolders(folder: string, inside: string): Promise<void> {
  try {
    if (inside !== ".") await mkdir(join(await realpath(folder), inside), { recursive: true });
  } catch (cause) {
    throw unwritable(join(folder, inside), cause);
  }
}

/** Why weights may not be put there. */
function placeFault(location: string, path: string): string | undefined {
  const fault = locationFault(location);
  if (fault !== undefined) return fault;
  const same = resolve(dirname(path), location) === resolve(path);
  return same ? "which is the model itself" : undefined;
}

/**
 * Weights whose data would not be found by a file in a folder, or that lie in any. One without a folder is
 * named on purpose.
 */
function foreignTensors(model: Model, folder: string | undefined): TensorRef[] {
  return tensorsOf(model.graph).filter(({ data }) => {
    if (data.kind !== "external" || data.folder === undefined) return false;
    return folder === undefined || resolve(data.folder) !== folder || data.home !== undefined;
  });
}

async function refuseWhatCannotMove(model: Model, folder: string): Promise<void> {
  const fixed = fixedLocations(model);
  if (model.path === undefined || fixed.length === 0) return;
  if ((await realFolder(dirname(model.path))) === (await realFolder(folder))) {
    // Unless the file is a link, whose data may be links to where it leads, and are no longer found from here.
    const home = dirname(await realpath(model.path).catch(() => resolve(folder, "m")));
    if (home === (await realFolder(folder))) return;
  }
  throw SkipwayError.fromDiagnostics("input", [
    diagnostic({
      id: "onnx/external-data",
      severity: "error",
      where: model.path,
      text: `keeps data of sparse weights, functions or training graphs in other files (${fixed.slice(0, 3).join(", ")}), which are not taken along to another folder`,
      fix: "Save it into the folder that it was read from.",
    }),
  ]);
}

async function realFolder(path: string): Promise<string> {
  return await realpath(path).catch(() => resolve(path));
}

/**
 * Takes a name beside the model that nothing has, with an empty file, so that nobody else takes it: a model
 * that is replaced keeps its weights until then, and of two saves at a time each has a file of its own.
 */
async function takeUnusedName(path: string): Promise<string> {
  const stem = basename(path);
  for (let n = 0; ; n++) {
    const name = n === 0 ? `${stem}.data` : `${stem}.${n}.data`;
    try {
      await (await open(join(dirname(path), name), "wx")).close();
      return name;
    } catch (cause) {
      const taken = cause instanceof Error && "code" in cause && cause.code === "EEXIST";
      if (!taken) throw unwritable(path, cause);
    }
  }
}

async function writeModel(file: FileHandle, model: Model, graph: Graph): Promise<void> {
  const chunks = modelChunks(model, graph);
  if (chunks.byteLength > limits.modelBytesMax) throw tooLarge(chunks.byteLength);
  // A call of the operating system for each of many small pieces would take the time.
  let batch: Uint8Array[] = [];
  let size = 0;
  const flush = async (): Promise<void> => {
    if (size > 0) await file.writeFile(Buffer.concat(batch));
    batch = [];
    size = 0;
  };
  for (const piece of chunks.pieces) {
    if (piece.byteLength >= BATCH_BYTES) {
      await flush();
      await file.writeFile(piece);
      continue;
    }
    batch.push(piece);
    size += piece.byteLength;
    if (size >= BATCH_BYTES) await flush();
  }
  await flush();
}

const BATCH_BYTES = 1_048_576;

/** Copies weights to their places, one at a time. */
async function writeData(
  file: FileHandle,
  placements: readonly Placement[],
  source: string | undefined,
): Promise<void> {
  const files = new ExternalFiles(source);
  try {
    for (const { ref, offset, length } of placements) {
      if (hasBytes(ref)) await writeAt(file, ref.data.bytes, offset);
      else if (ref.data.kind === "external") {
        await files.copy(ref.data, length, (bytes, at) => writeAt(file, bytes, offset + at));
      }
    }
  } finally {
    await files.close();
  }
}

async function writeAt(file: FileHandle, bytes: Uint8Array, offset: number): Promise<void> {
  for (let done = 0; done < bytes.byteLength; ) {
    const left = Math.min(bytes.byteLength - done, 64 * BATCH_BYTES);
    done += (await file.write(bytes, done, left, offset + done)).bytesWritten;
  }
}

/** A file to be written. */
interface Writing {
  readonly path: string;
  readonly write: (file: FileHandle) => Promise<void>;
}

/** Writes files aside and puts them in place in order, the last one being the one that names the others. */
async function atomically(files: readonly Writing[]): Promise<void> {
  // Names of its own for each call: two of them may write the same file, here or in another process.
  const aside = files.map(({ path }) => `${path}.${randomUUID()}.tmp`);
  try {
    for (const { path } of files) await refuseOverDevice(path);
    for (const [i, { write }] of files.entries()) {
      const file = await open(aside[i] ?? "", "wx");
      try {
        await write(file);
        await file.sync();
      } finally {
        await file.close();
      }
    }
    for (const [i, { path }] of files.entries()) await rename(aside[i] ?? "", path);
  } catch (cause) {
    for (const path of aside) await rm(path, { force: true });
    if (cause instanceof SkipwayError) throw cause;
    throw unwritable(files.at(-1)?.path ?? "", cause);
  }
}

/** A file that is renamed into its place would take that of a device, which an administrator may do. */
async function refuseOverDevice(path: string): Promise<void> {
  const there = await stat(path).catch(() => undefined);
  if (there === undefined || there.isFile()) return;
  throw unwritable(path, new Error("what has this name is no file"));
}

function unwritable(path: string, cause: unknown): SkipwayError {
  const found: Diagnostic = diagnostic({
    id: "onnx/unwritable",
    severity: "error",
    where: path,
    text: `the file cannot be written: ${messageOf(cause)}`,
    fix: `Check that ${dirname(path)} exists, is writable and has room.`,
  });
  return new SkipwayError("environment", `cannot write ${path}: ${messageOf(cause)}`, {
    cause,
    diagnostics: [found],
  });
}

function tooLarge(bytes: number): SkipwayError {
  return SkipwayError.fromDiagnostics("input", [
    diagnostic({
      id: "onnx/size",
      severity: "error",
      where: "model",
      text: `takes ${formatBytes(bytes)}; a protobuf file ends at ${formatBytes(limits.modelBytesMax)}`,
      fix: "Save it with its weights beside it: save(path, { externalData: true }).",
    }),
  ]);
}

function badLocation(location: string, fault: string): SkipwayError {
  return SkipwayError.fromDiagnostics("usage", [
    diagnostic({
      id: "onnx/external-path",
      severity: "error",
      where: "externalData.location",
      text: `is "${location}", ${fault}`,
      fix: "Give the name of a file in the folder of the model.",
    }),
  ]);
}
