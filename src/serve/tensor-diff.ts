// How far two answers to one question are apart: a shadow beside the version that answers, a probe
// beside what was recorded. Numbers, no verdict.

import { float32Values, numbersOf, type Tensor } from "../graph/tensor.ts";

/** The distance of two tensors of one output. */
export interface TensorDiff {
  /** Elements compared; 0 where type or shape differ or the type has no numbers. */
  readonly count: number;
  /** Same type and shape, and for types without numbers the same bytes. */
  readonly comparable: boolean;
  readonly maxAbs: number;
  /** Relative to the larger of the two, elements that are both below 1e-12 left out. */
  readonly maxRel: number;
  /** Of the two as vectors; 1 for two that are all zero. */
  readonly cosine: number;
  /** Rows (all axes but the last) whose largest element is another one; ties go to the first. */
  readonly top1Flips: number;
  readonly rows: number;
  /** Elements that are NaN in one and not in the other. */
  readonly nanMismatches: number;
}

const TINY = 1e-12;

/** Compares an answer with the one that counts. */
export function diffTensors(expected: Tensor, found: Tensor | undefined): TensorDiff {
  if (
    found === undefined ||
    found.dtype !== expected.dtype ||
    found.shape.join() !== expected.shape.join()
  ) {
    return incomparable(0);
  }
  const [a, b] = [valuesOf(expected), valuesOf(found)];
  if (a === undefined || b === undefined) {
    const same = Buffer.compare(expected.data.bytes, found.data.bytes) === 0;
    return same ? SAME : incomparable(0);
  }
  const { maxAbs, maxRel, cosine, nanMismatches } = distances(a, b);
  const last = expected.shape.at(-1) ?? 1;
  const rows = expected.shape.length > 0 && last > 1 ? a.length / last : 0;
  let top1Flips = 0;
  for (let row = 0; row < rows; row++) {
    if (largest(a, row * last, last) !== largest(b, row * last, last)) top1Flips++;
  }
  return {
    count: a.length,
    comparable: true,
    maxAbs,
    maxRel,
    cosine,
    top1Flips,
    rows,
    nanMismatches,
  };
}

/** Whether every element is near: |a − b| ≤ tolerance · (1 + |a|), NaN beside NaN, infinity beside itself. */
export function near(expected: Tensor, found: Tensor | undefined, tolerance: number): boolean {
  if (found?.dtype !== expected.dtype || found.shape.join() !== expected.shape.join()) return false;
  const [a, b] = [valuesOf(expected), valuesOf(found)];
  if (a === undefined || b === undefined) {
    return Buffer.compare(expected.data.bytes, found.data.bytes) === 0;
  }
  for (let i = 0; i < a.length; i++) {
    const [x, y] = [a[i] ?? 0, b[i] ?? 0];
    if (!Object.is(x, y) && !(Math.abs(x - y) <= tolerance * (1 + Math.abs(x)))) return false;
  }
  return true;
}

const SAME: TensorDiff = {
  count: 0,
  comparable: true,
  maxAbs: 0,
  maxRel: 0,
  cosine: 1,
  top1Flips: 0,
  rows: 0,
  nanMismatches: 0,
};

function incomparable(count: number): TensorDiff {
  return { ...SAME, count, comparable: false, cosine: 0 };
}

function valuesOf(value: Tensor): ArrayLike<number> | undefined {
  return value.dtype === "float32" ? float32Values(value) : numbersOf(value);
}

function distances(a: ArrayLike<number>, b: ArrayLike<number>) {
  let [maxAbs, maxRel, nanMismatches, dot, aa, bb] = [0, 0, 0, 0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    const [x, y] = [a[i] ?? 0, b[i] ?? 0];
    if (Number.isNaN(x) || Number.isNaN(y)) {
      if (Number.isNaN(x) !== Number.isNaN(y)) nanMismatches++;
      continue;
    }
    dot += x * y;
    aa += x * x;
    bb += y * y;
    // Infinity minus itself is no number, and no distance.
    const distance = x === y ? 0 : Math.abs(x - y);
    if (distance > maxAbs) maxAbs = distance;
    const size = Math.max(Math.abs(x), Math.abs(y));
    if (size > TINY && distance > maxRel * size) maxRel = distance === size ? 1 : distance / size;
  }
  const norm = Math.sqrt(aa) * Math.sqrt(bb);
  const both = aa === 0 && bb === 0 ? 1 : 0;
  return { maxAbs, maxRel, nanMismatches, cosine: norm > 0 ? dot / norm : both };
}

function largest(values: ArrayLike<number>, from: number, count: number): number {
  let best = 0;
  for (let i = 1; i < count; i++) {
    if ((values[from + i] ?? 0) > (values[from + best] ?? 0)) best = i;
  }
  return best;
}
