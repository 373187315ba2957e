// Whether the answer to a request depends on what else is in its batch. Asked once, when a model is loaded: samples
// are run alone, and again in batches among others. Only a model that passes is served in batches.

import { present } from "../base/assert.ts";
import type { Clock } from "../base/clock.ts";
import { Random } from "../base/random.ts";
import { type DType, dtypeBytes } from "../graph/dtype.ts";
import { numbersOf, type Tensor, tensor } from "../graph/tensor.ts";
import { splitByRows } from "../runtime/batch.ts";
import { inconclusive, MADE_UP_SIZES, madeUpInputs } from "../runtime/made-up.ts";
import type { Session, Tensors } from "../runtime/runner.ts";
import { batchAxisOf } from "./admission/batch-axis.ts";

/** What was found. */
export interface Invariance {
  /** Whether requests may share a run. */
  readonly invariant: boolean;
  /**
   * The largest distance of a row in a batch to the same row alone: 1 is what rounding may make, and more is
   * refused. 0 where nothing was compared.
   */
  readonly worst: number;
  /** Where that was. */
  readonly output?: string;
  /** In words; of a model that passes, how often it was looked at. */
  readonly reason: string;
}

/** How thoroughly it is looked at. */
export interface InvarianceOptions {
  readonly clock: Clock;
  /** For all runs, about; at least two rows are compared, whatever that takes. Default 3,000 ms. */
  readonly timeMs?: number;
  readonly seed?: number;
  /** Outputs in which two candidates may tie, such as those of ArgMax: few of their integers may differ. */
  readonly ties?: ReadonlySet<string>;
}

/** Batches that are compared at most, and rows of each: no number that kernels are made for. */
const BATCHES = 3;
const ROWS = 5;
/** Share of integers that a tie may change. */
const TIED_SHARE = 0.1;

/**
 * Relative. Kernels for several rows add up in another order: five networks of the tests stay within half of
 * this, and a statistic of the batch is far beyond it.
 */
const TOLERANCE: Readonly<Partial<Record<DType, number>>> = {
  float64: 1e-4,
  float32: 1e-4,
  float16: 1e-2,
  bfloat16: 5e-2,
};

/** What is smaller than this share of the largest value of an output is measured by that. */
const FLOOR = 0.1;

/**
 * Runs rows alone and among others.
 *
 * @throws SkipwayError when the process dies, or fails in a way that says something of the model.
 */
export async function batchInvariance(
  session: Subject,
  { clock, timeMs = 3000, seed = 1, ties = new Set() }: InvarianceOptions,
): Promise<Invariance> {
  const axis = batchAxisOf(session.inputs, session.outputs);
  if (!axis.batchable) return { invariant: false, worst: 0, reason: axis.reason };
  for (const size of MADE_UP_SIZES) {
    const random = new Random(seed);
    const sizes = { rows: BATCHES * ROWS, size };
    const drawn = madeUpInputs(session.inputs, () => random.uniform(), sizes);
    if (drawn === undefined) continue;
    try {
      const from = clock.monotonicMs();
      await session.run(rowsOf(drawn, [0]));
      const affordable = timeMs / (2 * Math.max(clock.monotonicMs() - from, 1e-3));
      const rows = Math.max(2, Math.min(ROWS, Math.floor(affordable)));
      const batches = Math.max(1, Math.min(BATCHES, Math.floor(affordable / rows)));
      return await compared(session, drawn, { batches, rows, random, ties });
    } catch (error) {
      // Other sizes may fit what is fixed inside.
      if (!inconclusive(error)) throw error;
    }
  }
  const reason = "it has no run on inputs that are made up, so rows could not be compared";
  return { invariant: false, worst: 0, reason: `${reason}; it is served without batches` };
}

type Subject = Pick<Session, "inputs" | "outputs" | "run">;

interface Plan {
  readonly batches: number;
  readonly rows: number;
  readonly random: Random;
  readonly ties: ReadonlySet<string>;
}

async function compared(session: Subject, drawn: Tensors, plan: Plan): Promise<Invariance> {
  const { batches, rows, random, ties } = plan;
  const alone: Tensors[] = [];
  for (let i = 0; i < batches * rows; i++) alone.push(await session.run(rowsOf(drawn, [i])));
  let worst = { distance: 0, output: "" };
  const tied = new Ties();
  for (let batch = 0; batch < batches; batch++) {
    // Each row stands at another place, among others than its neighbours.
    const order = [...random.permutation(batches * rows)].slice(0, rows);
    const answer = await session.run(rowsOf(drawn, order));
    for (const [output, found] of answer) {
      if (found.shape[0] !== rows) return notRows(output, found, rows);
      const scale = scaleOf(alone, output);
      for (const [place, i] of order.entries()) {
        const expected = alone[i]?.get(output);
        if (expected === undefined || expected.shape[0] !== 1) return notRows(output, expected, 1);
        const row = rowOf(found, place);
        if (ties.has(output) && sameType(row, expected)) {
          tied.add(row, expected, output);
          continue;
        }
        const distance = distanceOf(row, expected, scale);
        if (distance > worst.distance) worst = { distance, output };
      }
    }
  }
  return verdict(tied.tooMany() ?? worst, batches, rows);
}

/** Integers of outputs that may tie: how many differ of all that were compared. */
class Ties {
  readonly #counts = new Map<string, { differ: number; all: number }>();

  add(found: Tensor, expected: Tensor, output: string): void {
    const count = this.#counts.get(output) ?? { differ: 0, all: 0 };
    const [a, b] = [numbersOf(found) ?? [], numbersOf(expected) ?? []];
    count.differ += b.filter((value, i) => value !== a[i]).length;
    count.all += b.length;
    this.#counts.set(output, count);
  }

  tooMany(): { distance: number; output: string } | undefined {
    for (const [output, { differ, all }] of this.#counts) {
      if (differ > Math.max(1, TIED_SHARE * all)) {
        return { distance: Number.POSITIVE_INFINITY, output };
      }
    }
    return undefined;
  }
}

function sameType(a: Tensor, b: Tensor): boolean {
  return a.dtype === b.dtype && a.shape.join() === b.shape.join();
}

function verdict(
  { distance: worst, output }: { distance: number; output: string },
  batches: number,
  rows: number,
): Invariance {
  if (worst <= 1) {
    const reason = `rows of ${batches} batches of ${rows} agree with the same rows alone`;
    return { invariant: true, worst, ...(output !== "" && { output }), reason };
  }
  const by = Number.isFinite(worst)
    ? `by ${Math.round(worst)} times what rounding makes`
    : "wholly";
  const reason = `output "${output}" depends on what else is in the batch: a row differs ${by} from the same row alone`;
  return { invariant: false, worst, output, reason };
}

function notRows(output: string, found: Tensor | undefined, rows: number): Invariance {
  const shape = found === undefined ? "no shape" : `[${found.shape.join(",")}]`;
  const reason = `output "${output}" has ${shape} for ${rows} rows: it does not follow the batch`;
  return { invariant: false, worst: Number.POSITIVE_INFINITY, output, reason };
}

/** These rows of all inputs, in this order. */
function rowsOf(inputs: Tensors, rows: readonly number[]): Tensors {
  return new Map(
    [...inputs].map(([name, value]) => {
      const parts = rows.map((row) => rowOf(value, row).data.bytes);
      const shape = [rows.length, ...value.shape.slice(1)];
      return [name, tensor(value.dtype, shape, new Uint8Array(Buffer.concat(parts)))];
    }),
  );
}

/** One row, as a view. */
function rowOf(value: Tensor, row: number): Tensor {
  const { dtype, shape, data } = value;
  const [rows = 0, ...rest] = shape;
  if (dtype === "string") {
    // Rows of text are as long as their text.
    const split = splitByRows(new Map([["text", value]]), Array<number>(rows).fill(1));
    return present(split[row]?.get("text"), "one part for each row");
  }
  const size = dtypeBytes(
    dtype,
    rest.reduce((a, b) => a * b, 1),
  );
  const bytes = data.bytes.subarray(row * size, (row + 1) * size);
  return tensor(dtype, [1, ...rest], bytes);
}

/** The largest value of an output over all rows: what is small beside it may differ by more than its own size. */
function scaleOf(answers: readonly Tensors[], output: string): number {
  let largest = 0;
  for (const answer of answers) {
    const value = answer.get(output);
    if (value === undefined || TOLERANCE[value.dtype] === undefined) continue;
    for (const one of numbersOf(value) ?? []) {
      const size = Math.abs(one);
      if (size > largest && Number.isFinite(size)) largest = size;
    }
  }
  return largest;
}

/** In multiples of the tolerance. Integers and booleans must be the same. */
function distanceOf(found: Tensor, expected: Tensor, scale: number): number {
  if (!sameType(found, expected)) return Number.POSITIVE_INFINITY;
  if (Buffer.compare(found.data.bytes, expected.data.bytes) === 0) return 0;
  const tolerance = TOLERANCE[expected.dtype];
  if (tolerance === undefined) return Number.POSITIVE_INFINITY;
  const [a, b] = [numbersOf(found) ?? [], numbersOf(expected) ?? []];
  let worst = 0;
  for (const [i, y] of b.entries()) {
    const x = a[i] ?? Number.NaN;
    if (Object.is(x, y)) continue;
    const distance = Math.abs(x - y) / (tolerance * Math.max(Math.abs(y), FLOOR * scale));
    worst = Math.max(worst, Number.isNaN(distance) ? Number.POSITIVE_INFINITY : distance);
  }
  return worst;
}
