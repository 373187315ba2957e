// How much memory the process of a model holds at its highest, as a function of the shapes that it is given:
// what it holds when loaded, what the run is planned to take, and what measurement found beyond the plan.

import { type InputShapes, rowsOf, withRows } from "./batch-axis.ts";
import type { PlannedRun, RunPlanner } from "./planned.ts";

/** The high-water mark of a process that has run certain shapes. Bytes. */
export interface MarkEstimate {
  /** The most likely. */
  readonly likelyBytes: number;
  /** Never passed: what is asked of the ledger. */
  readonly admittedBytes: number;
}

/** One run that was measured: how far the mark rose above what the process held when loaded. */
export interface Probe {
  readonly shapes: InputShapes;
  readonly growthBytes: number;
}

/** What was found by running the model once it was loaded. */
export interface Calibration {
  /** What the process holds when loaded, before the first run. */
  readonly residentBytes: number;
  /** The smallest first; none where no inputs could be made up. */
  readonly probes: readonly Probe[];
}

/** Memory of one loaded model. */
export interface MemoryModel {
  /** `planned` from the graph and measured; `measured` alone where sizes inside cannot be told; why is in `reason`. */
  readonly basis: "planned" | "measured";
  readonly reason: string;
  /** What the process holds when loaded and after its first runs. */
  readonly residentBytes: number;
  /** The mark of a process that runs these shapes. */
  estimate(shapes: InputShapes): MarkEstimate;
  /** Most rows of this shape whose mark is at most `bytes`; 0 where not even one is. */
  rowsWithin(shapes: InputShapes, bytes: number): number;
  /** A mark that was measured after these shapes had run: a higher one than was admitted is learned from. */
  observed(shapes: InputShapes, markBytes: number): void;
}

/**
 * JavaScript holds the bytes of requests and answers that are over until they are collected: the model's
 * process does so as soon as they are this many.
 */
export const GARBAGE_BYTES = 4_194_304;
/** Copies of inputs and outputs on their way through the process, beside those of the plan. */
const COPIES = 2;
/** Over what is likely. Largest excess over the calibrated line on 16 networks: 4 % (docs/design/admission.md). */
const MARGIN = 0.08;
const MARGIN_BYTES = 4_194_304;
/** The runtime's own plan differs from ours by what it fuses and lays out anew, never by more than this. */
const SCALE = { low: 0.6, high: 3, unknown: 1.3 } as const;
/** Growth from which a slope can be told from noise. */
const SLOPE_BYTES = 8_388_608;
/** Rows beyond which nobody asks. */
const ROWS_MAX = 1_048_576;

/** The memory of a loaded model, from the plans of its runs and from what was measured. */
export function memoryModelOf(planner: RunPlanner, calibration: Calibration): MemoryModel {
  const told = calibration.probes.every(({ shapes }) => planner.plan(shapes) !== undefined);
  return told
    ? new PlannedMemory(planner, calibration)
    : new MeasuredMemory(calibration, planner.batched);
}

/** From the plan of each run, corrected by a factor and a constant. */
class PlannedMemory implements MemoryModel {
  readonly basis = "planned";
  readonly reason: string = "";
  readonly residentBytes: number;
  readonly #planner: RunPlanner;
  readonly #fallback: MeasuredMemory;
  readonly #line: { readonly scale: number; constantBytes: number };

  constructor(planner: RunPlanner, calibration: Calibration) {
    this.residentBytes = calibration.residentBytes;
    this.#planner = planner;
    this.#fallback = new MeasuredMemory(calibration, planner.batched);
    this.#line = lineOf(planner, calibration.probes);
  }

  estimate(shapes: InputShapes): MarkEstimate {
    const run = this.#planner.plan(shapes);
    if (run === undefined) return this.#fallback.estimate(shapes);
    const likely = this.#growth(run);
    return {
      likelyBytes: Math.ceil(this.residentBytes + likely),
      admittedBytes: Math.ceil(
        this.residentBytes + likely * (1 + MARGIN) + MARGIN_BYTES + GARBAGE_BYTES,
      ),
    };
  }

  rowsWithin(shapes: InputShapes, bytes: number): number {
    return mostRows(this, this.#planner.batched, shapes, bytes);
  }

  observed(shapes: InputShapes, markBytes: number): void {
    const excess = markBytes - this.estimate(shapes).admittedBytes;
    if (excess > 0) this.#line.constantBytes += excess;
  }

  #growth(run: PlannedRun): number {
    return this.#line.scale * run.peakBytes + COPIES * run.endsBytes + this.#line.constantBytes;
  }
}

/** The line through the smallest and the largest probe, and above all of them. */
function lineOf(
  planner: RunPlanner,
  probes: readonly Probe[],
): { scale: number; constantBytes: number } {
  const points = probes.flatMap(({ shapes, growthBytes }) => {
    const run = planner.plan(shapes);
    if (run === undefined) return [];
    return [{ planned: run.peakBytes, beyond: growthBytes - COPIES * run.endsBytes }];
  });
  const [first, last] = [points.at(0), points.at(-1)];
  if (first === undefined || last === undefined) {
    return { scale: SCALE.unknown, constantBytes: GARBAGE_BYTES };
  }
  const wide = last.planned - first.planned >= SLOPE_BYTES;
  const large = last.planned >= SLOPE_BYTES;
  const slope = wide
    ? (last.beyond - first.beyond) / (last.planned - first.planned)
    : large
      ? last.beyond / last.planned
      : SCALE.unknown;
  const scale = Math.min(SCALE.high, Math.max(SCALE.low, slope));
  const rest = points.map(({ planned, beyond }) => beyond - scale * planned);
  return { scale, constantBytes: Math.max(0, ...rest) };
}

/**
 * From measured growth alone: in proportion to the bytes of the inputs beyond the largest probe, and by their square
 * where a row is larger than any that was measured (attention grows so), doubled.
 */
class MeasuredMemory implements MemoryModel {
  readonly basis = "measured";
  readonly reason: string =
    "the graph does not tell the sizes inside the model; its memory is bounded by what was measured";
  readonly residentBytes: number;
  readonly #batched: boolean;
  readonly #probes: Probe[];

  constructor(calibration: Calibration, batched: boolean) {
    this.residentBytes = calibration.residentBytes;
    this.#batched = batched;
    this.#probes = [...calibration.probes];
  }

  estimate(shapes: InputShapes): MarkEstimate {
    const rows = this.#batched ? Math.max(1, rowsOf(shapes)) : 1;
    const elements = elementsOf(shapes);
    let growth =
      this.#probes.length === 0 ? UNMEASURED_FACTOR * elements : Number.POSITIVE_INFINITY;
    for (const probe of this.#probes) {
      const probed = Math.max(1, elementsOf(probe.shapes));
      const probedRows = this.#batched ? Math.max(1, rowsOf(probe.shapes)) : 1;
      const row = Math.max(1, elements / rows / (probed / probedRows));
      const more = Math.max(1, rows / probedRows) * row * row;
      growth = Math.min(growth, more * probe.growthBytes);
    }
    return {
      likelyBytes: Math.ceil(this.residentBytes + growth),
      admittedBytes: Math.ceil(this.residentBytes + 2 * growth + MARGIN_BYTES + GARBAGE_BYTES),
    };
  }

  rowsWithin(shapes: InputShapes, bytes: number): number {
    return mostRows(this, this.#batched, shapes, bytes);
  }

  observed(shapes: InputShapes, markBytes: number): void {
    const growthBytes = markBytes - this.residentBytes;
    if (markBytes <= this.estimate(shapes).admittedBytes) return;
    // All that was said from smaller growth of no larger shapes was too little.
    const elements = elementsOf(shapes);
    const kept = this.#probes.filter((one) => elementsOf(one.shapes) > elements);
    this.#probes.splice(0, this.#probes.length, { shapes, growthBytes }, ...kept);
  }
}

/** Bytes of growth for each element of the inputs, where no run could be measured. */
const UNMEASURED_FACTOR = 4096;

function elementsOf(shapes: InputShapes): number {
  let total = 0;
  for (const shape of shapes.values()) total += shape.reduce((a, b) => a * b, 1);
  return total;
}

/** By halves: the estimate grows with the rows. */
function mostRows(
  model: Pick<MemoryModel, "estimate">,
  batched: boolean,
  shapes: InputShapes,
  bytes: number,
): number {
  const fits = (rows: number): boolean =>
    model.estimate(withRows(shapes, rows)).admittedBytes <= bytes;
  if (!batched) return model.estimate(shapes).admittedBytes <= bytes ? rowsOf(shapes) : 0;
  let low = 0;
  let high = 1;
  while (high <= ROWS_MAX && fits(high)) [low, high] = [high, 2 * high];
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (fits(middle)) low = middle;
    else high = middle;
  }
  return low;
}
