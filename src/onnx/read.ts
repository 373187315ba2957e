// From an ONNX file to a model. The input is hostile: sizes are checked before anything is allocated
// for them, and every fault of the file is reported, not just the first.

import { createReadStream } from "node:fs";
import { open, readFile, realpath, stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { type Diagnostic, diagnostic } from "../base/diagnostic.ts";
import { messageOf, SkipwayError } from "../base/errors.ts";
import { formatBytes } from "../base/format.ts";
import { limits } from "../base/limits.ts";
import type { Graph } from "../graph/graph.ts";
import { bytesOf } from "../graph/tensor.ts";
import { graphDiagnostics } from "../graph/verify.ts";
import { readRange } from "./confined-file.ts";
import { externalDiagnostics } from "./external-data.ts";
import type { Beside } from "./external-entries.ts";
import { ExternalPlaces } from "./external-places.ts";
import { functionsFrom, graphFrom, plainDomain, withFunctions } from "./graph-from.ts";
import type { Model } from "./model.ts";
import { OnnxModel } from "./onnx-model.ts";
import { FunctionProtoSchema, type ModelProto, ModelProtoSchema } from "./proto/onnx_pb.js";
import { invalid } from "./tensors.ts";
import { decodedBytes } from "./wire-scan.ts";

/** The first version with operator sets per model; newer ones are read whatever they add. */
const IR_VERSION_MIN = 3;

/**
 * Reads the bytes of an ONNX file. Weights stay views of them. With a path, external data is looked for
 * beside it; `home` is the folder in which the file lies, where the path is a symbolic link.
 *
 * @throws SkipwayError `input` with every fault found.
 */
export function readModel(
  bytes: Uint8Array,
  options: { path?: string; home?: string } = {},
): Model {
  const path = options.path ?? "model";
  // Not a Buffer, whose `slice` and JSON differ from other arrays.
  const proto = parse(bytesOf(bytes), path);
  const found = new Map<string, Diagnostic>();
  // What stands in the file in two forms is read twice and told once.
  const report = (one: Diagnostic): void =>
    void found.set(`${one.id} ${one.where} ${one.text}`, one);
  const graph = graphOf(proto, { path, beside: besideOf(options), report });
  if (graph === undefined) throw notOnnx(path, describe(bytes));
  if (![...found.values()].some(({ id }) => id === "onnx/limit")) {
    graphDiagnostics(graph).filter(isError).forEach(report);
  }
  if (found.size > 0) throw faulty(path, [...found.values()]);
  return new OnnxModel({
    graph,
    irVersion: Number(proto.irVersion),
    producer: { name: proto.producerName, version: proto.producerVersion },
    functions: proto.functions.map((one) => ({
      domain: one.domain,
      name: one.name,
      overload: one.overload,
      bytes: toBinary(FunctionProtoSchema, one),
    })),
    origin: proto,
    ...(options.path === undefined ? {} : { path: options.path }),
  });
}

function besideOf({ path, home }: { path?: string; home?: string }): Beside | undefined {
  if (path === undefined) return undefined;
  return { folder: dirname(resolve(path)), ...(home === undefined ? {} : { home }) };
}

/** The folder in which a file lies, if its path is a symbolic link into another one. */
async function homeOf(path: string): Promise<string | undefined> {
  try {
    const home = dirname(await realpath(path));
    return home === (await realpath(dirname(path))) ? undefined : home;
  } catch {
    // A pipe has no path of its own.
    return undefined;
  }
}

interface Reading {
  readonly path: string;
  readonly beside: Beside | undefined;
  readonly report: (found: Diagnostic) => void;
}

/** undefined for a message that is no model. */
function graphOf(proto: ModelProto, { path, beside, report }: Reading): Graph | undefined {
  if (proto.graph === undefined || proto.opsetImport.length === 0) return undefined;
  if (Number(proto.irVersion) < IR_VERSION_MIN) report(tooOld(path, proto.irVersion));
  for (const { where, text } of new ExternalPlaces(proto, beside).faults) {
    report(invalid(where, text));
  }
  const setting = {
    opsets: new Map(
      proto.opsetImport.map(({ domain, version }) => [plainDomain(domain), Number(version)]),
    ),
    metadata: new Map(proto.metadataProps.map(({ key, value }) => [key, value])),
    beside,
    report,
  };
  const functions = functionsFrom(proto.functions, setting);
  const main = graphFrom(proto.graph, setting);
  return functions.size === 0 ? main : withFunctions(main, functions);
}

function tooOld(path: string, version: bigint): Diagnostic {
  return diagnostic({
    id: "onnx/ir-version",
    severity: "error",
    where: path,
    text: `has IR version ${version}; ${IR_VERSION_MIN} and later can be read`,
    fix: "Convert the model with a newer exporter.",
  });
}

/** The error with every finding, or with as many as a person would read. */
function faulty(path: string, found: readonly Diagnostic[]): SkipwayError {
  const told = found.slice(0, limits.diagnosticsMax).map((one) => ({
    ...one,
    where: one.where === path ? path : `${path}: ${one.where}`,
  }));
  if (found.length > told.length) {
    told.push(
      diagnostic({
        id: "onnx/limit",
        severity: "error",
        where: path,
        text: `has ${found.length - told.length} faults more`,
      }),
    );
  }
  return SkipwayError.fromDiagnostics("input", told);
}

/**
 * Reads an ONNX file.
 *
 * @throws SkipwayError `environment` if it cannot be read, `input` if it is no sound model.
 * @example
 * const model = await loadModel("model.onnx");
 */
export async function loadModel(path: string): Promise<Model> {
  return (await loadFile(path)).model;
}

/** A model and the bytes that it was read from. */
export interface LoadedFile {
  readonly model: Model;
  readonly bytes: Uint8Array;
}

/** The same as `loadModel`, for those who have to say which bytes they were. */
export async function loadFile(path: string): Promise<LoadedFile> {
  const bytes = await readBounded(path);
  const home = await homeOf(path);
  const link = home === undefined ? {} : { home };
  const model = readModel(bytes, { path, ...link });
  const found = await externalDiagnostics(model, { folder: dirname(resolve(path)), ...link });
  if (found.length > 0) throw faulty(path, found);
  return { model, bytes };
}

/**
 * The bytes of a file or pipe, never more than a model may have.
 *
 * @throws SkipwayError `input` if it cannot be read or is too large.
 */
export async function readBounded(path: string): Promise<Uint8Array> {
  try {
    const found = await stat(path);
    if (found.size > limits.modelBytesMax) throw tooLarge(path, found.size);
    // In large blocks: readFile takes 512 KiB at a time. Of files that say no size (in /proc) it reads all.
    if (found.isFile() && found.size > 0) return await readWhole(path);
    if (found.isFile()) return await readFile(path);
    if (!found.isFIFO() && !found.isSocket())
      throw unreadable(path, "it is neither a file nor a pipe");
    // A pipe does not say how much will come.
    const chunks: Uint8Array[] = [];
    let size = 0;
    for await (const chunk of createReadStream(path)) {
      const bytes: Uint8Array = chunk;
      size += bytes.byteLength;
      if (size > limits.modelBytesMax) throw tooLarge(path, size);
      chunks.push(bytes);
    }
    return Buffer.concat(chunks);
  } catch (cause) {
    if (cause instanceof SkipwayError) throw cause;
    throw unreadable(path, cause);
  }
}

async function readWhole(path: string): Promise<Uint8Array> {
  const handle = await open(path);
  try {
    const { size } = await handle.stat();
    if (size > limits.modelBytesMax) throw tooLarge(path, size);
    return await readRange(handle, { offset: 0, length: size });
  } finally {
    await handle.close();
  }
}

function unreadable(path: string, cause: unknown): SkipwayError {
  const found = diagnostic({
    id: "onnx/unreadable",
    severity: "error",
    where: path,
    text: `the file cannot be read: ${messageOf(cause)}`,
    fix: "Check the path and its permissions.",
  });
  return new SkipwayError("input", `${path}: ${messageOf(cause)}`, { cause, diagnostics: [found] });
}

function parse(bytes: Uint8Array, path: string): ModelProto {
  if (bytes.byteLength > limits.modelBytesMax) throw tooLarge(path, bytes.byteLength);
  if (bytes.byteLength === 0) throw notOnnx(path, "is empty");
  try {
    if (decodedBytes(bytes) > limits.decodedBytesMax) throw tooMuch(path);
    return fromBinary(ModelProtoSchema, bytes);
  } catch (cause) {
    if (cause instanceof SkipwayError) throw cause;
    throw notOnnx(path, describe(bytes), cause);
  }
}

/** What the first bytes look like, for people who mistook one file for another. */
function describe(bytes: Uint8Array): string {
  const head = Buffer.from(bytes.subarray(0, 256));
  const starts = (text: string): boolean =>
    head.subarray(0, text.length).toString("latin1") === text;
  if (starts("version https://git-lfs")) return "is a Git LFS pointer, not the model itself";
  if (starts("PK")) return "is a ZIP archive (a PyTorch .pt file is one)";
  if (starts("\x89PNG")) return "is a PNG picture";
  if (starts("\x89HDF")) return "is an HDF5 file (a Keras .h5 model is one)";
  if (starts("{")) return "is JSON text";
  if (head.every((byte) => byte >= 9 && byte < 127)) return "is text";
  return "is not a complete ONNX model: it is damaged, cut off or of another format";
}

function notOnnx(path: string, text: string, cause?: unknown): SkipwayError {
  const found = diagnostic({
    id: "onnx/not-onnx",
    severity: "error",
    where: path,
    text: `the file ${text}`,
    fix: "Give an ONNX file, such as torch.onnx.export writes; fetch it again if it was cut off.",
  });
  return new SkipwayError("input", `${path}: ${found.text}`, { cause, diagnostics: [found] });
}

function tooMuch(path: string): SkipwayError {
  return SkipwayError.fromDiagnostics("input", [
    diagnostic({
      id: "onnx/limit",
      severity: "error",
      where: path,
      text: `would take more than ${formatBytes(limits.decodedBytesMax)} of memory, its weights not counted`,
      fix: "Simplify the model; graphs of up to 100,000 nodes are read.",
    }),
  ]);
}

function tooLarge(path: string, size: number): SkipwayError {
  return SkipwayError.fromDiagnostics("input", [
    diagnostic({
      id: "onnx/size",
      severity: "error",
      where: path,
      text: `has ${formatBytes(size)}; a protobuf file ends at ${formatBytes(limits.modelBytesMax)}`,
      fix: "Export the weights as external data.",
    }),
  ]);
}

/** A model that the runtime would run is read, whatever else there is to say of it. */
function isError(one: Diagnostic): boolean {
  return one.severity === "error";
}
