// What a command writes, and where it may: never over what it reads.

import { stat, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { messageOf, SkipwayError } from "../base/errors.ts";
import { tensorsOf } from "../graph/map-tensors.ts";
import type { Model } from "../onnx/model.ts";

/**
 * Refuses an output that is the model's own file or one of its weights' files, under whatever name: a
 * symbolic or hard link leads to the same place.
 *
 * @param option as the user gave it, as in `--fix`
 * @throws SkipwayError `usage`
 */
export async function refuseOverModel(option: string, out: string, model: Model): Promise<void> {
  if (model.path === undefined) return;
  const target = await identity(out);
  for (const file of filesOf(model, model.path)) {
    if (
      resolve(out) === resolve(file) ||
      (target !== undefined && target === (await identity(file)))
    )
      throw new SkipwayError("usage", `${option} does not write over the model: ${file}`);
  }
}

function filesOf(model: Model, path: string): Set<string> {
  const folder = dirname(path);
  const data = tensorsOf(model.graph).flatMap((ref) =>
    ref.data.kind === "external" ? join(ref.data.folder ?? folder, ref.data.location) : [],
  );
  return new Set([path, ...data]);
}

/** Device and number of the file that a path leads to; undefined where there is none yet. */
async function identity(path: string): Promise<string | undefined> {
  const found = await stat(path, { bigint: true }).catch(() => undefined);
  return found === undefined ? undefined : `${found.dev}:${found.ino}`;
}

/**
 * Writes a file of text.
 *
 * @throws SkipwayError `environment`
 */
export async function writeText(path: string, text: string): Promise<void> {
  try {
    await writeFile(path, text);
  } catch (cause) {
    throw new SkipwayError("environment", `cannot write ${path}: ${messageOf(cause)}`, { cause });
  }
}
