// How much memory the process of a model holds at its highest, as a function of the shapes that it is given:
// what it holds when loaded, what the run is planned to take, and what measurement found beyond the plan.

import { GARBAGE_BYTES } from "../../runtime/garbage.ts";
import { type InputShapes, rowsOf, withRows } from "./batch-axis.ts";
import type { Plans } from "./knots.ts";

/** The high-water mark of a process that has run certain shapes. Bytes. */
export interface MarkEstimate {
  /** The most likely. */
  readonly likelyBytes: number;
  /** Never passed: what is asked of the ledger. */
  readonly admittedBytes: number;
  /**
   * The same without what is known from clients' requests alone and may be a matter of their values: what is refused for
   * good is refused for this. Never above `admittedBytes`.
   */
  readonly firmBytes: number;
  /** Of these, its inputs and outputs: they are there, too, while the batch before or behind it runs. */
  readonly endsBytes: number;
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
  /** Shapes that were tried have no plan, whether or not they ran. */
  readonly untold?: boolean;
}

/** Memory of one loaded model. */
export interface MemoryModel {
  /** `planned` from the graph and measured; `measured` alone where sizes inside cannot be told; why is in `reason`. */
  readonly basis: "planned" | "measured";
  readonly reason: string;
  /** What the process holds when loaded and after its first runs. */
  readonly residentBytes: number;
  /** Finds out what these shapes take, so that they need not be estimated from others. undefined: it is known. */
  prepare(shapes: InputShapes): Promise<void> | undefined;
  /** The mark of a process that runs these shapes. */
  estimate(shapes: InputShapes): MarkEstimate;
  /** Most rows of this shape whose mark is at most `bytes`, as `firmBytes` has it; 0 where not even one is. */
  rowsWithin(shapes: InputShapes, bytes: number): number;
  /** A mark that was measured after these shapes had run: a higher one than was admitted is learned from. */
  observed(shapes: InputShapes, markBytes: number): void;
  /** These shapes ran, and took the mark no further: what was learned of other values is halved. */
  stayed(shapes: InputShapes, markBytes: number): void;
  /** The model as it was calibrated, without what was learned since. */
  fresh(): MemoryModel;
}

/** Over what is likely, for what differs from run to run (docs/design/admission.md). */
const MARGIN = 0.06;
const MARGIN_BYTES = 2_097_152;
/** What the runtime takes of what we plan for it: it fuses nodes, and lays convolutions out anew. */
const SCALE_MIN = 0.6;
const SCALE_MAX = 3;
/** Where no probe is large enough to tell; a U-Net, which is laid out anew at each level, took 1.22. */
const SCALE_UNKNOWN = { likely: 1.05, admitted: 1.3 } as const;
/** Planned bytes from which a slope stands out of all else that goes on in a process; half of that is a hint. */
export const SLOPE_BYTES = 12_582_912;
/** One probe alone does not tell the slope from the constant; between rows of a U-Net it was 1.12 of their ratio. */
const ONE_PROBE_FACTOR = 1.15;
/** Rows beyond which nobody asks. */
const ROWS_MAX = 1_048_576;

/** The memory of a loaded model, from the plans of its runs and from what was measured. */
export function memoryModelOf(planner: Plans, calibration: Calibration): MemoryModel {
  const all = calibration.probes.every(({ shapes }) => planner.plan(shapes) !== undefined);
  return all && calibration.untold !== true
    ? new PlannedMemory(planner, calibration)
    : new MeasuredMemory(calibration, planner.batched);
}

/** Growth over the plan: `scale` times what is planned, and a constant. */
interface Line {
  readonly likelyScale: number;
  readonly admittedScale: number;
  readonly constantBytes: number;
}

/** From the plan of each run, corrected by a factor and a constant. */
class PlannedMemory implements MemoryModel {
  readonly basis = "planned";
  readonly reason: string = "";
  readonly residentBytes: number;
  readonly #planner: Plans;
  readonly #calibration: Calibration;
  readonly #fallback: MeasuredMemory;
  readonly #line: Line;
  /** How far marks went beyond what was admitted. */
  #excessBytes = 0;

  constructor(planner: Plans, calibration: Calibration) {
    this.residentBytes = calibration.residentBytes;
    this.#planner = planner;
    this.#calibration = calibration;
    this.#fallback = new MeasuredMemory(calibration, planner.batched);
    this.#line = lineOf(planner, calibration.probes);
  }

  prepare(shapes: InputShapes): Promise<void> | undefined {
    return this.#planner.prepare(shapes);
  }

  estimate(shapes: InputShapes): MarkEstimate {
    const run = this.#planner.plan(shapes);
    if (run === undefined) return this.#fallback.estimate(shapes);
    const { likelyScale, constantBytes } = this.#line;
    const likely = likelyScale * run.peakBytes + constantBytes;
    const most = this.#most(run.peakBytes);
    return {
      likelyBytes: Math.ceil(this.residentBytes + likely),
      admittedBytes: Math.ceil(this.residentBytes + most + this.#excessBytes),
      // A plan may be off, but not by more than itself: what is beyond that came of values, such as long strings.
      firmBytes: Math.ceil(this.residentBytes + most + Math.min(most, this.#excessBytes)),
      endsBytes: run.endsBytes,
    };
  }

  rowsWithin(shapes: InputShapes, bytes: number): number {
    return mostRows(this, this.#planner.batched, shapes, bytes);
  }

  observed(shapes: InputShapes, markBytes: number): void {
    if (this.#planner.plan(shapes) === undefined) {
      this.#fallback.observed(shapes, markBytes);
      return;
    }
    const excess = markBytes - this.estimate(shapes).admittedBytes;
    if (excess > 0) this.#excessBytes += excess;
  }

  stayed(shapes: InputShapes, markBytes: number): void {
    const run = this.#planner.plan(shapes);
    if (run === undefined) {
      this.#fallback.stayed(shapes, markBytes);
      return;
    }
    const most = this.#most(run.peakBytes);
    const took = markBytes - this.residentBytes - most;
    if (this.#excessBytes <= most || took >= this.#excessBytes) return;
    this.#excessBytes = Math.max(most, took, this.#excessBytes / 2);
  }

  fresh(): MemoryModel {
    return new PlannedMemory(this.#planner, this.#calibration);
  }

  /** Growth that is admitted for a plan, before anything is learned. */
  #most(peakBytes: number): number {
    const { admittedScale, constantBytes } = this.#line;
    return (
      (1 + MARGIN) * (admittedScale * peakBytes + constantBytes) + MARGIN_BYTES + GARBAGE_BYTES
    );
  }
}

/** Through the smallest and the largest probe where they are far enough apart, and above all of them. */
function lineOf(planner: Plans, probes: readonly Probe[]): Line {
  const points = probes.flatMap(({ shapes, growthBytes }) => {
    const run = planner.plan(shapes);
    return run === undefined ? [] : [{ planned: run.peakBytes, grown: growthBytes }];
  });
  const { likely, admitted } = scaleOf(points);
  const rest = points.map(({ planned, grown }) => grown - likely * planned);
  return {
    likelyScale: likely,
    admittedScale: admitted,
    constantBytes: Math.max(0, ...rest),
  };
}

interface Scale {
  readonly likely: number;
  readonly admitted: number;
}

function scaleOf(points: readonly { planned: number; grown: number }[]): Scale {
  const [first, last] = [points.at(0), points.at(-1)];
  if (first === undefined || last === undefined) return SCALE_UNKNOWN;
  const apart = last.planned - first.planned;
  const slope = withinReason((last.grown - first.grown) / apart);
  if (apart >= SLOPE_BYTES) return { likely: slope, admitted: slope };
  if (apart >= SLOPE_BYTES / 2) return cautious(slope);
  // What a run takes whatever its size is not below nothing, so the slope is not above this.
  const ratio = withinReason(last.grown / last.planned);
  if (last.planned >= 2 * SLOPE_BYTES) return { likely: ratio, admitted: ONE_PROBE_FACTOR * ratio };
  if (last.planned >= SLOPE_BYTES / 2) return cautious(Math.min(ratio, SCALE_UNKNOWN.likely));
  return SCALE_UNKNOWN;
}

function withinReason(scale: number): number {
  return Math.min(SCALE_MAX, Math.max(SCALE_MIN, scale));
}

/** What is likely, and for what is admitted no less than where nothing is known. */
function cautious(likely: number): Scale {
  return { likely, admitted: Math.max(likely, SCALE_UNKNOWN.admitted) };
}

/**
 * From measured growth alone: in proportion to the bytes of the inputs beyond the largest probe, and by their square
 * where a row is larger than any that was measured (attention grows so), doubled. What clients' requests took beyond
 * that holds for inputs that are as large, until one of them takes less: sizes inside may come from values.
 */
class MeasuredMemory implements MemoryModel {
  readonly basis = "measured";
  readonly reason: string = UNTOLD;
  readonly residentBytes: number;
  readonly #calibration: Calibration;
  readonly #batched: boolean;
  /** The smaller the inputs, the smaller the growth: one that took more than a larger one speaks for both. */
  #learned: readonly Probe[] = [];

  constructor(calibration: Calibration, batched: boolean) {
    this.residentBytes = calibration.residentBytes;
    this.#calibration = calibration;
    this.#batched = batched;
  }

  prepare(): undefined {
    return undefined;
  }

  estimate(shapes: InputShapes): MarkEstimate {
    const elements = elementsOf(shapes);
    const calibrated = this.#calibrated(shapes, elements);
    const learned = this.#spoken(elements).map((probe) => this.#scaled(probe, shapes, elements));
    const growth = Math.max(calibrated, ...learned);
    const admitted = (bytes: number): number =>
      Math.ceil(this.residentBytes + 2 * bytes + MARGIN_BYTES + GARBAGE_BYTES);
    return {
      likelyBytes: Math.ceil(this.residentBytes + growth),
      admittedBytes: admitted(growth),
      firmBytes: admitted(calibrated),
      endsBytes: ELEMENT_BYTES * elements,
    };
  }

  rowsWithin(shapes: InputShapes, bytes: number): number {
    return mostRows(this, this.#batched, shapes, bytes);
  }

  observed(shapes: InputShapes, markBytes: number): void {
    if (markBytes <= this.estimate(shapes).admittedBytes) return;
    const growthBytes = markBytes - this.residentBytes;
    const elements = elementsOf(shapes);
    // Those that took less, and are as large, say nothing any more.
    const kept = this.#learned.filter(
      (one) => elementsOf(one.shapes) < elements || one.growthBytes > growthBytes,
    );
    this.#learned = [...kept, { shapes, growthBytes }].slice(-LEARNED_MAX);
  }

  stayed(shapes: InputShapes, markBytes: number): void {
    if (this.#learned.length === 0) return;
    const elements = elementsOf(shapes);
    const took = markBytes - this.residentBytes;
    const spoken = new Set(this.#spoken(elements));
    this.#learned = this.#learned.flatMap((one) => {
      if (!spoken.has(one) || one.growthBytes <= took) return [one];
      const growthBytes = Math.max(took, one.growthBytes / 2);
      const tells = growthBytes > this.#calibrated(one.shapes, elementsOf(one.shapes));
      return tells ? [{ shapes: one.shapes, growthBytes }] : [];
    });
  }

  fresh(): MemoryModel {
    return new MeasuredMemory(this.#calibration, this.#batched);
  }

  /** What was learned of inputs no larger than these. */
  #spoken(elements: number): readonly Probe[] {
    return this.#learned.filter((one) => elementsOf(one.shapes) <= elements);
  }

  #calibrated(shapes: InputShapes, elements: number): number {
    const { probes } = this.#calibration;
    if (probes.length === 0) return UNMEASURED_FACTOR * elements;
    return Math.min(...probes.map((probe) => this.#scaled(probe, shapes, elements)));
  }

  #scaled({ shapes: probed, growthBytes }: Probe, shapes: InputShapes, elements: number): number {
    const rows = this.#batched ? Math.max(1, rowsOf(shapes)) : 1;
    const probedRows = this.#batched ? Math.max(1, rowsOf(probed)) : 1;
    const row = Math.max(1, elements / rows / (Math.max(1, elementsOf(probed)) / probedRows));
    return Math.max(1, rows / probedRows) * row * row * growthBytes;
  }
}

/** Why a model is measured only, for people. */
const UNTOLD =
  "the graph does not tell the sizes inside the model, as where they come from the values of its inputs; its memory is bounded by what was measured";
/** What is learned of so many sizes of inputs; the oldest is forgotten. */
const LEARNED_MAX = 16;
/** Most bytes of an element of an input. */
const ELEMENT_BYTES = 8;
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
  const fits = (rows: number): boolean => model.estimate(withRows(shapes, rows)).firmBytes <= bytes;
  if (!batched) return model.estimate(shapes).firmBytes <= bytes ? rowsOf(shapes) : 0;
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
