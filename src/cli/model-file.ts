// A model file that somebody wants to register or serve: read once, whole, under a name that can stand in an
// address.

import { basename, extname, resolve } from "node:path";
import { diagnostic } from "../base/diagnostic.ts";
import { SkipwayError } from "../base/errors.ts";
import { externalLocations } from "../onnx/external-data.ts";
import type { Model } from "../onnx/model.ts";
import { readBounded, readModel } from "../onnx/read.ts";
import { absentWeights } from "../onnx/weights.ts";

/** A file with what was read from it. */
export interface ModelFile {
  /** The base name of the file, as the name of a model. */
  readonly name: string;
  readonly absolute: string;
  readonly file: Uint8Array;
  readonly model: Model;
}

/**
 * Reads a model that is all there.
 *
 * @throws SkipwayError `input` for a file that cannot be read, or that lacks weights.
 */
export async function readModelFile(path: string): Promise<ModelFile> {
  const absolute = resolve(path);
  // Read once: a pipe gives its bytes only once, and a file may change.
  const file = await readBounded(absolute);
  const model = readModel(file, { path: absolute });
  refuseIncomplete(model, path);
  return { name: modelName(path), absolute, file, model };
}

/** The file's base name, with what cannot stand in an address replaced. */
function modelName(path: string): string {
  const name = basename(path, extname(path)).replaceAll(/[^A-Za-z0-9._-]+/g, "-");
  return name.replace(/^[.-]+/, "").slice(0, 128) || "model";
}

/** A model that is to be served must be all there, in one file. */
function refuseIncomplete(model: Model, path: string): void {
  const absent = absentWeights(model);
  if (absent.length > 0) throw weightsAbsent(path, absent);
  const locations = externalLocations(model);
  if (locations.length === 0) return;
  throw SkipwayError.fromDiagnostics("input", [
    diagnostic({
      id: "registry/external-data",
      severity: "error",
      where: path,
      text: `keeps tensors in other files (${locations.slice(0, 3).join(", ")}), and the registry takes models of one file so far`,
      fix: "Save the model as one file: onnx.save(onnx.load(path), out), for models below 2 GB.",
    }),
  ]);
}

function weightsAbsent(path: string, absent: readonly string[]): SkipwayError {
  return SkipwayError.fromDiagnostics("input", [
    diagnostic({
      id: "onnx/weights-absent",
      severity: "error",
      where: path,
      text: `was exported without the values of its weights (${absent.length} of them, such as "${absent[0]}"), so it cannot run`,
      fix: "Export it with its weights (export_params=True). `skipway census` reads it as it is.",
    }),
  ]);
}
