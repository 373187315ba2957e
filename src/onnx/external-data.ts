// External data: weights in files beside the model ("External Data" in the ONNX specification). Checked
// against the real files when a model is loaded, read when they are asked for.

import type { FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { type Diagnostic, diagnostic } from "../base/diagnostic.ts";
import { SkipwayError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import type { Graph } from "../graph/graph.ts";
import { mapTensors, tensorsOf } from "../graph/map-tensors.ts";
import type { ExternalData, TensorData, TensorRef } from "../graph/tensor.ts";
import { openConfined, Refused, readRange } from "./confined-file.ts";
import type { Beside } from "./external-entries.ts";
import { type ExternalPlace, ExternalPlaces } from "./external-places.ts";
import { type Model, origins } from "./model.ts";
import { GraphProtoSchema, ModelProtoSchema } from "./proto/onnx_pb.js";
import { tensorBytes, withData } from "./tensors.ts";

/** The locations that the file of a model names, each once. Built models have none. */
export function externalLocations(model: Model): string[] {
  return [...new Set(placesOf(model).map(({ data }) => data.location))];
}

function placesOf(model: Model): readonly ExternalPlace[] {
  const file = origins.get(model);
  return file === undefined ? [] : new ExternalPlaces(file, undefined).found;
}

/** Locations of data that our graph does not hold: of sparse weights, functions and training graphs. */
export function fixedLocations(model: Model): string[] {
  const file = origins.get(model);
  if (file === undefined) return [];
  const { functions, trainingInfo, graph } = file;
  const sparse = create(GraphProtoSchema, { sparseInitializer: graph?.sparseInitializer ?? [] });
  const rest = create(ModelProtoSchema, { functions, trainingInfo, graph: sparse });
  return [...new Set(new ExternalPlaces(rest, undefined).found.map(({ data }) => data.location))];
}

/**
 * What is wrong with the files that a model names: outside its folder, or too short. A file that is not
 * there is no fault as long as nobody reads it; structure and shapes can be seen without weights.
 */
export async function externalDiagnostics(
  model: Model,
  { folder, home }: Beside,
): Promise<Diagnostic[]> {
  const found: Diagnostic[] = [];
  for (const [location, places] of grouped(placesOf(model))) {
    const [first] = places;
    try {
      const handle = await openConfined(folder, location, home);
      const { size } = await handle.stat().finally(() => handle.close());
      for (const place of places) if (endOf(place) > size) found.push(tooShort(place, size));
    } catch (cause) {
      if (!(cause instanceof Refused)) throw cause;
      if (cause.kind !== "missing" && first !== undefined) found.push(refusal(first, cause));
    }
  }
  return found;
}

function grouped(places: readonly ExternalPlace[]): Map<string, ExternalPlace[]> {
  const groups = new Map<string, ExternalPlace[]>();
  for (const place of places) {
    const group = groups.get(place.data.location);
    if (group === undefined) groups.set(place.data.location, [place]);
    else group.push(place);
  }
  return groups;
}

function endOf({ data, bytes }: ExternalPlace): number {
  return data.offset + bytes;
}

/**
 * The graph with the data of its weights in memory, each weight read once from the file that it names.
 * `folder` is where a location starts that does not say so itself.
 *
 * @throws SkipwayError `input` for files that are missing, outside the folder or too short.
 */
export async function withExternalTensors(
  graph: Graph,
  folder: string | undefined,
): Promise<Graph> {
  const read = new Map<TensorRef, TensorData>();
  const files = new ExternalFiles(folder);
  try {
    for (const ref of tensorsOf(graph)) {
      if (ref.data.kind !== "external" || read.has(ref)) continue;
      const bytes = await files.read(ref.data, tensorBytes(ref.dtype, ref.shape));
      read.set(ref, { kind: "bytes", bytes });
    }
  } finally {
    await files.close();
  }
  return mapTensors(graph, (ref) => {
    const data = read.get(ref);
    return data === undefined ? ref : withData(ref, data);
  });
}

const COPY_BYTES = 16 * 1024 * 1024;

/** Files open at a time; a process may have 1,024 on common systems, and old exports have one for each weight. */
const OPEN_FILES_MAX = 32;

/** The files that weights lie in. Those read last stay open. */
export class ExternalFiles {
  readonly #folder: string | undefined;
  readonly #open = new Map<string, FileHandle>();

  /** `folder` is where a location starts that does not say so itself. */
  constructor(folder: string | undefined) {
    this.#folder = folder;
  }

  /** The bytes of one tensor. */
  async read(data: ExternalData, bytes: number): Promise<Uint8Array> {
    const place = { where: `"${data.location}"`, data, bytes };
    if (bytes > limits.tensorBytesMax) throw faulty([tooLarge(place)]);
    const handle = await this.#handle(place);
    return readRange(handle, { offset: data.offset, length: bytes });
  }

  /** Hands the bytes of one tensor on in blocks, each with its place among them. */
  async copy(
    data: ExternalData,
    bytes: number,
    to: (block: Uint8Array, at: number) => Promise<void>,
  ): Promise<void> {
    const handle = await this.#handle({ where: `"${data.location}"`, data, bytes });
    for (let at = 0; at < bytes; at += COPY_BYTES) {
      const length = Math.min(COPY_BYTES, bytes - at);
      await to(await readRange(handle, { offset: data.offset + at, length }), at);
    }
  }

  async #handle(place: ExternalPlace): Promise<FileHandle> {
    const folder = place.data.folder ?? this.#folder;
    if (folder === undefined) throw faulty([nowhere(place)]);
    const path = join(folder, place.data.location);
    const handle = this.#open.get(path) ?? (await this.#openFile(folder, place));
    this.#open.delete(path);
    this.#open.set(path, handle);
    if (this.#open.size > OPEN_FILES_MAX) await this.#closeOldest();
    const { size } = await handle.stat();
    if (endOf(place) > size) throw faulty([tooShort(place, size)]);
    return handle;
  }

  async #openFile(folder: string, place: ExternalPlace): Promise<FileHandle> {
    try {
      return await openConfined(folder, place.data.location, place.data.home);
    } catch (cause) {
      throw cause instanceof Refused ? faulty([refusal(place, cause)]) : cause;
    }
  }

  async #closeOldest(): Promise<void> {
    for (const [path, handle] of this.#open) {
      this.#open.delete(path);
      return handle.close();
    }
  }

  async close(): Promise<void> {
    for (const handle of this.#open.values()) await handle.close();
    this.#open.clear();
  }
}

function faulty(found: readonly Diagnostic[]): SkipwayError {
  return SkipwayError.fromDiagnostics("input", found);
}

const FIXES: Readonly<Record<Refused["kind"], string>> = {
  missing: "Put the file back beside the model, or export the model again.",
  outside: "Copy the file itself into the folder of the model, and give it no other name.",
  unreadable: "Check the file and its permissions.",
};

function refusal({ where, data }: ExternalPlace, { kind, message }: Refused): Diagnostic {
  return diagnostic({
    id: kind === "outside" ? "onnx/external-path" : "onnx/external-missing",
    severity: "error",
    where,
    text: `has its data in the file "${data.location}", which cannot be used: ${message}`,
    fix: FIXES[kind],
  });
}

function tooShort({ where, data, bytes }: ExternalPlace, size: number): Diagnostic {
  return diagnostic({
    id: "onnx/external-size",
    severity: "error",
    where,
    text: `has bytes ${data.offset} to ${data.offset + bytes} of the file "${data.location}", which has ${size}`,
    fix: "Fetch the file again; it was cut off, or belongs to another model.",
  });
}

function tooLarge({ where, bytes }: ExternalPlace): Diagnostic {
  return diagnostic({
    id: "onnx/external-size",
    severity: "error",
    where,
    text: `takes ${bytes} bytes, and at most ${limits.tensorBytesMax} can be read as one tensor`,
    fix: "Split the tensor in the exporter.",
  });
}

function nowhere({ where, data }: ExternalPlace): Diagnostic {
  return diagnostic({
    id: "onnx/external-missing",
    severity: "error",
    where,
    text: `has its data in the file "${data.location}", and the model was read from bytes, without a folder`,
    fix: "Load the model by its path.",
  });
}
