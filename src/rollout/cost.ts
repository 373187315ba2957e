// What an answer of each version costs: the time in which the model ran, and the memory that it was let in for, by row.
// It informs and decides nothing.

import { wideningOf } from "./comparison.ts";
import type { Arm } from "./judge/types.ts";

/** Batches of one bucket and version that are compared are at least so far apart: what slows one slows its neighbours. */
const APART_MS = 200;
const BUCKETS_MAX = 128;
/** Batches of each version in a bucket, before they say anything. */
const FEWEST = 10;
const ALPHA = 0.05;

/** What the answers of one version cost. */
export interface ArmCost {
  /** Rows that were answered, and the batches in which they were. */
  readonly inferences: number;
  readonly batches: number;
  /** In which the model ran, by row; null: none was answered. With several threads each of them counts once. */
  readonly msPerInference: number | null;
  /** The same time by the memory that the batch was let in for; null where memory is not admitted. */
  readonly byteSecondsPerInference: number | null;
}

/** What an inference costs, and how the two compare. */
export interface CostReading {
  readonly stable: ArmCost;
  readonly candidate: ArmCost;
  /** Candidate's time by row over stable's in batches of like size and shape; null: too few. */
  readonly ratio: number | null;
  /** Holds at every look with chance 1 - alpha, asymptotically. */
  readonly lower: number | null;
  readonly upper: number | null;
  readonly alpha: number;
  /** Batches of each version that the ratio rests on. */
  readonly compared: { readonly stable: number; readonly candidate: number };
  readonly verdict: "dearer" | "cheaper" | "no difference seen" | "too few";
}

/** A batch that was answered. */
export interface CostBatch {
  readonly arm: Arm;
  readonly atMs: number;
  /** Of like shapes and, about, rows. */
  readonly bucket: string;
  readonly rows: number;
  readonly executeMs: number;
  readonly bytes?: number | undefined;
}

type Sums = [rows: number, batches: number, ms: number, byteSeconds: number];
type Moments = [n: number, mean: number, squares: number, lastMs: number];

/** Everything that is known. Plain JSON. */
export interface SavedCost {
  readonly sums: Readonly<Record<Arm, Readonly<Sums>>>;
  readonly buckets: readonly (readonly [
    name: string,
    rows: number,
    stable: Readonly<Moments>,
    candidate: Readonly<Moments>,
  ])[];
}

interface Bucket {
  /** Of both versions: its weight. */
  rows: number;
  readonly stable: Moments;
  readonly candidate: Moments;
}

const NOTHING: SavedCost = {
  sums: { stable: [0, 0, 0, 0], candidate: [0, 0, 0, 0] },
  buckets: [],
};

/** Measures what inferences cost. */
export class CostMeter {
  readonly #sums: Record<Arm, Sums>;
  readonly #buckets: Map<string, Bucket>;

  constructor(saved: SavedCost = NOTHING) {
    this.#sums = { stable: [...saved.sums.stable], candidate: [...saved.sums.candidate] };
    this.#buckets = new Map(
      saved.buckets.map(([name, rows, stable, candidate]) => [
        name,
        { rows, stable: [...stable], candidate: [...candidate] },
      ]),
    );
  }

  take({ arm, atMs, bucket: name, rows, executeMs, bytes = 0 }: CostBatch): void {
    if (!(rows > 0)) return;
    const sums = this.#sums[arm];
    sums[0] += rows;
    sums[1]++;
    sums[2] += executeMs;
    sums[3] += (bytes * executeMs) / 1000;
    let bucket = this.#buckets.get(name);
    if (bucket === undefined) {
      if (this.#buckets.size >= BUCKETS_MAX) return;
      const none: Moments = [0, 0, 0, Number.NEGATIVE_INFINITY];
      bucket = { rows: 0, stable: [...none], candidate: [...none] };
      this.#buckets.set(name, bucket);
    }
    bucket.rows += rows;
    const moments = bucket[arm];
    // Also where the clock was set back.
    if (Math.abs(atMs - moments[3]) < APART_MS) return;
    moments[3] = atMs;
    moments[0]++;
    const off = executeMs / rows - moments[1];
    moments[1] += off / moments[0];
    moments[2] += off * (executeMs / rows - moments[1]);
  }

  /** What is known now. */
  reading(): CostReading {
    const cost = { stable: costOf(this.#sums.stable), candidate: costOf(this.#sums.candidate) };
    const like = [...this.#buckets.values()].filter(
      ({ stable, candidate }) => Math.min(stable[0], candidate[0]) >= FEWEST,
    );
    const [stable, candidate] = [standardised(like, "stable"), standardised(like, "candidate")];
    const compared = { stable: stable.n, candidate: candidate.n };
    if (like.length === 0 || !(stable.mean > 0 && candidate.mean > 0)) {
      const none = { ratio: null, lower: null, upper: null };
      return { ...cost, ...none, alpha: ALPHA, compared, verdict: "too few" };
    }
    const ratio = candidate.mean / stable.mean;
    // The delta method, on the logarithm.
    const error = Math.hypot(stable.error / stable.mean, candidate.error / candidate.mean);
    const half = error * wideningOf(2 * Math.min(stable.n, candidate.n), ALPHA);
    const [lower, upper] = [ratio * Math.exp(-half), ratio * Math.exp(half)];
    const verdict = lower > 1 ? "dearer" : upper < 1 ? "cheaper" : "no difference seen";
    return { ...cost, ratio, lower, upper, alpha: ALPHA, compared, verdict };
  }

  saved(): SavedCost {
    const finite = (one: Moments): Moments => [one[0], one[1], one[2], Math.max(0, one[3])];
    return {
      sums: { stable: [...this.#sums.stable], candidate: [...this.#sums.candidate] },
      buckets: [...this.#buckets].map(
        ([name, { rows, stable, candidate }]) =>
          [name, rows, finite(stable), finite(candidate)] as const,
      ),
    };
  }
}

function costOf([inferences, batches, ms, byteSeconds]: Sums): ArmCost {
  return {
    inferences,
    batches,
    msPerInference: inferences === 0 ? null : ms / inferences,
    byteSecondsPerInference: byteSeconds === 0 ? null : byteSeconds / inferences,
  };
}

/**
 * Time by row if a version had the sizes of batches that both had together: a canary's batches are smaller because it
 * gets less, which is no dearer model.
 */
function standardised(
  buckets: readonly Bucket[],
  arm: Arm,
): { readonly n: number; readonly mean: number; readonly error: number } {
  const rows = buckets.reduce((sum, bucket) => sum + bucket.rows, 0);
  let [n, mean, variance] = [0, 0, 0];
  for (const bucket of buckets) {
    const [count, own, squares] = bucket[arm];
    const weight = bucket.rows / rows;
    n += count;
    mean += weight * own;
    variance += (weight * weight * squares) / (count - 1) / count;
  }
  return { n, mean, error: Math.sqrt(variance) };
}
