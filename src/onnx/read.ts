// From an ONNX file to a model. The input is hostile: sizes are checked before anything is allocated
// for them, and every fault of the file is reported, not just the first.

import { createReadStream } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { type Diagnostic, diagnostic } from "../base/diagnostic.ts";
import { messageOf, SkipwayError } from "../base/errors.ts";
import { formatBytes } from "../base/format.ts";
import { limits } from "../base/limits.ts";
import { graphDiagnostics } from "../graph/verify.ts";
import { functionsFrom, graphFrom, withFunctions } from "./graph-from.ts";
import type { Model } from "./model.ts";
import { OnnxModel } from "./onnx-model.ts";
import { FunctionProtoSchema, type ModelProto, ModelProtoSchema } from "./proto/onnx_pb.js";

/** The first version with operator sets per model; newer ones are read whatever they add. */
const IR_VERSION_MIN = 3;

/**
 * Reads the bytes of an ONNX file. Weights stay views of them.
 *
 * @throws SkipwayError `input` with every fault found.
 */
export function readModel(bytes: Uint8Array, options: { path?: string } = {}): Model {
  const path = options.path ?? "model";
  const found: Diagnostic[] = [];
  const proto = parse(bytes, path);
  const graphProto = proto.graph;
  if (graphProto === undefined || proto.opsetImport.length === 0)
    throw notOnnx(path, describe(bytes));
  if (Number(proto.irVersion) < IR_VERSION_MIN) {
    found.push(
      diagnostic({
        id: "onnx/ir-version",
        severity: "error",
        where: path,
        text: `has IR version ${proto.irVersion}; ${IR_VERSION_MIN} and later can be read`,
        fix: "Convert the model with a newer exporter.",
      }),
    );
  }
  const opsets = new Map(
    proto.opsetImport.map(({ domain, version }) => [plainDomain(domain), Number(version)]),
  );
  const metadata = new Map(proto.metadataProps.map(({ key, value }) => [key, value]));
  const setting = { opsets, metadata, report: (one: Diagnostic) => found.push(one) };
  const functions = functionsFrom(proto.functions, setting);
  const main = graphFrom(graphProto, setting);
  const graph = functions.size === 0 ? main : withFunctions(main, functions);
  if (found.length === 0) found.push(...graphDiagnostics(graph));
  if (found.length > 0) {
    throw SkipwayError.fromDiagnostics(
      "input",
      found.map((one) => ({ ...one, where: one.where === path ? path : `${path}: ${one.where}` })),
    );
  }
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

/**
 * Reads an ONNX file.
 *
 * @throws SkipwayError `environment` if it cannot be read, `input` if it is no sound model.
 * @example
 * const model = await loadModel("model.onnx");
 */
export async function loadModel(path: string): Promise<Model> {
  return readModel(await readBounded(path), { path });
}

/** The bytes of a file or pipe, never more than a model may have. */
async function readBounded(path: string): Promise<Uint8Array> {
  try {
    const found = await stat(path);
    if (found.size > limits.modelBytesMax) throw tooLarge(path, found.size);
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

/** "ai.onnx" is another spelling of the standard domain. */
export function plainDomain(domain: string): string {
  return domain === "ai.onnx" ? "" : domain;
}

function parse(bytes: Uint8Array, path: string): ModelProto {
  if (bytes.byteLength > limits.modelBytesMax) throw tooLarge(path, bytes.byteLength);
  if (bytes.byteLength === 0) throw notOnnx(path, "is empty");
  try {
    return fromBinary(ModelProtoSchema, bytes);
  } catch (cause) {
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
