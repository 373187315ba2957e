// Data to learn from: images and labels in memory, and the bundled digits.

import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { diagnostic } from "../base/diagnostic.ts";
import { messageOf, SkipwayError } from "../base/errors.ts";
import type { FixedInput } from "../nn/net.ts";

/** Examples with their labels. */
export interface Examples {
  /** Row-major float32, `count` times the shape of one example. */
  readonly inputs: Float32Array;
  /** Class of each example. */
  readonly labels: Uint8Array;
  readonly count: number;
}

/** A data set with its fixed split. */
export interface Dataset {
  readonly name: string;
  readonly input: FixedInput;
  readonly classes: number;
  readonly train: Examples;
  readonly holdout: Examples;
  /** `sha256:…` over the files that it was read from. */
  readonly digest: string;
}

const IMAGES = "digits-images.idx3-ubyte";
const LABELS = "digits-labels.idx1-ubyte";
/** The first 1,437 in file order; the last 360 come from other writers (data/README.md). */
const TRAINING_COUNT = 1437;

/**
 * 1,797 real handwritten digits, 8x8 pixels scaled to 0 … 1: 1,437 to learn from, 360 of other writers
 * held out.
 *
 * @param folder where the two IDX files lie; the bundled ones if left out.
 * @throws SkipwayError `environment` if they cannot be read, `input` if they are not IDX files.
 */
export async function digits(folder?: string): Promise<Dataset> {
  const base = folder ?? fileURLToPath(new URL("../../data", import.meta.url));
  const [images, labels] = await Promise.all([readPart(base, IMAGES), readPart(base, LABELS)]);
  const pixels = parseIdx(images, 3, IMAGES);
  const classes = parseIdx(labels, 1, LABELS);
  const [count = 0, height = 0, width = 0] = pixels.shape;
  if (classes.shape[0] !== count || count <= TRAINING_COUNT) {
    throw badFile(LABELS, `has ${classes.shape[0]} labels for ${count} images`);
  }
  const scaled = Float32Array.from(pixels.values, (value) => value / 16);
  const size = height * width;
  const part = (from: number, to: number): Examples => ({
    inputs: scaled.subarray(from * size, to * size),
    labels: classes.values.subarray(from, to),
    count: to - from,
  });
  const hash = createHash("sha256").update(images).update(labels);
  return {
    name: "digits",
    input: { name: "image", shape: [1, height, width] },
    classes: 10,
    train: part(0, TRAINING_COUNT),
    holdout: part(TRAINING_COUNT, count),
    digest: `sha256:${hash.digest("hex")}`,
  };
}

/** The data sets that come with skipway. */
export const datasets: { readonly digits: typeof digits } = { digits };

/** Bytes of an IDX file with its sizes. */
export interface Idx {
  readonly shape: readonly number[];
  readonly values: Uint8Array;
}

/**
 * Reads the IDX format (LeCun, "The MNIST database", file formats): two zero bytes, type 8 for
 * unsigned bytes, the number of axes, big-endian sizes, then the elements.
 */
export function parseIdx(bytes: Uint8Array, rank: number, name: string): Idx {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const header = 4 + 4 * rank;
  if (bytes.byteLength < header) throw badFile(name, `is ${bytes.byteLength} bytes long`);
  if (view.getUint16(0) !== 0 || view.getUint8(2) !== 8 || view.getUint8(3) !== rank) {
    throw badFile(name, `does not start as an IDX file of ${rank} axes of unsigned bytes`);
  }
  const shape = Array.from({ length: rank }, (_, axis) => view.getUint32(4 + 4 * axis));
  const count = shape.reduce((a, b) => a * b, 1);
  if (bytes.byteLength !== header + count) {
    throw badFile(name, `declares ${shape.join("x")} bytes and holds ${bytes.byteLength - header}`);
  }
  return { shape, values: bytes.subarray(header) };
}

async function readPart(folder: string, file: string): Promise<Uint8Array> {
  try {
    return await readFile(`${folder}/${file}`);
  } catch (cause) {
    throw new SkipwayError("environment", `cannot read ${file}: ${messageOf(cause)}`, {
      cause,
      diagnostics: [
        diagnostic({
          id: "data/unreadable",
          severity: "error",
          where: `${folder}/${file}`,
          text: messageOf(cause),
          fix: "Restore the folder data/ of the package, or name the folder that holds the file.",
        }),
      ],
    });
  }
}

function badFile(file: string, text: string): SkipwayError {
  return SkipwayError.fromDiagnostics("input", [
    diagnostic({
      id: "data/not-idx",
      severity: "error",
      where: file,
      text,
      fix: "Restore the file; data/README.md gives its SHA-256.",
    }),
  ]);
}
