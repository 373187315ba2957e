// Measures what a model takes when it has just been loaded: it runs made-up inputs, a row first, then as many as
// make the slope visible. These runs warm it, too.

import type { Clock } from "../../base/clock.ts";
import { Random } from "../../base/random.ts";
import { GARBAGE_BYTES } from "../../runtime/garbage.ts";
import { inconclusive, MADE_UP_SIZES, madeUpInputs } from "../../runtime/made-up.ts";
import type { MemoryReading, Session, Tensors } from "../../runtime/runner.ts";
import type { InputShapes } from "./batch-axis.ts";
import type { Plans } from "./knots.ts";
import { type Calibration, type Probe, SLOPE_BYTES } from "./memory-model.ts";

/** A process in which a model has just been loaded, and that answers nobody else yet. */
export interface Subject {
  readonly session: Pick<Session, "inputs" | "run">;
  memory(): Promise<MemoryReading>;
  /** Sets the system's mark of the process back to what it holds. False where that cannot be done. */
  resetPeak(): boolean | Promise<boolean>;
}

/** How far calibration may go. */
export interface CalibrationOptions {
  readonly clock: Clock;
  /** What the process may hold meanwhile: what the ledger has for it. */
  readonly budgetBytes: number;
  /** For the larger run; four times that until it shows a slope. Default 2,000 ms. */
  readonly timeMs?: number;
}

/** The first run of these shapes is planned as it goes, the next is laid out in one block: both are measured. */
const RUNS = 2;
/** What the larger probe is to take beyond the smaller: three times what else goes on in a process. */
const WIDE_BYTES = 25_165_824;
const ROWS_MAX = 256;
/** A slope is worth so many times the time: without it all that follows is a guess, on a busy machine, too. */
const PATIENCE = 4;

/** What a run of one probe was. */
interface Measured {
  readonly probe: Probe;
  /** Of the quickest run. */
  readonly tookMs: number;
}

/**
 * Runs the model on made-up inputs and measures the marks.
 *
 * @throws SkipwayError when the process dies of it, or fails in a way that says something of the model.
 */
export async function calibrate(
  subject: Subject,
  planner: Plans,
  options: CalibrationOptions,
): Promise<Calibration> {
  const { residentBytes } = await subject.memory();
  let one: Measured | undefined;
  let size = 0;
  let untold = false;
  const onUntold = (): void => {
    untold = true;
  };
  for (size of MADE_UP_SIZES) {
    const probe = { rows: 1, size, residentBytes, onUntold };
    one = await measured(subject, planner, probe, options);
    if (one !== undefined) break;
  }
  if (one === undefined) return { residentBytes, probes: [], untold };
  const rows = largerRows(planner, one, residentBytes, options);
  const wide = { rows, size, residentBytes, onUntold };
  const more = rows > 1 ? await measured(subject, planner, wide, options) : undefined;
  const probes = more === undefined ? [one.probe] : [one.probe, more.probe];
  return { residentBytes, probes: probes.filter(({ growthBytes }) => growthBytes >= 0), untold };
}

/** How many rows show the slope: within the time, the memory, and what anybody batches. 1 where one row does. */
function largerRows(
  planner: Plans,
  { probe, tookMs }: Measured,
  residentBytes: number,
  { budgetBytes, timeMs = 2000 }: CalibrationOptions,
): number {
  if (!planner.batched) return 1;
  const at = (rows: number): number | undefined => {
    const shapes = new Map([...probe.shapes].map(([name, [, ...rest]]) => [name, [rows, ...rest]]));
    return planner.plan(shapes)?.peakBytes;
  };
  const base = at(1) ?? 0;
  let chosen = 1;
  for (let rows = 2; rows <= ROWS_MAX; rows *= 2) {
    const planned = at(rows) ?? base + (rows - 1) * probe.growthBytes;
    const tellsSlope = (at(chosen) ?? 0) - base >= SLOPE_BYTES;
    const slow = RUNS * rows * tookMs > (tellsSlope ? timeMs : PATIENCE * timeMs);
    if (slow || residentBytes + atMost(planned) > budgetBytes) break;
    chosen = rows;
    if (planned - base >= WIDE_BYTES) break;
  }
  return chosen;
}

/** Half as much again for what no plan knows. */
function atMost(plannedBytes: number): number {
  return 1.5 * plannedBytes + 4 * GARBAGE_BYTES;
}

/** A run that is to be measured. */
interface Asked {
  readonly rows: number;
  readonly size: number;
  readonly residentBytes: number;
  /** Told where its shapes have no plan. */
  onUntold(): void;
}

/** undefined where there are no such inputs, the model cannot take them, or there is no memory for them. */
async function measured(
  subject: Subject,
  planner: Plans,
  { rows, size, residentBytes, onUntold }: Asked,
  { clock, budgetBytes }: CalibrationOptions,
): Promise<Measured | undefined> {
  const random = new Random(rows);
  const sizes = { rows, size };
  const inputs = madeUpInputs(subject.session.inputs, () => random.uniform(), sizes);
  if (inputs === undefined) return undefined;
  const shapes = shapesOf(inputs);
  await planner.prepare(shapes);
  const plan = planner.plan(shapes);
  if (plan === undefined) onUntold();
  const planned = plan?.peakBytes ?? 0;
  if (residentBytes + atMost(planned) > budgetBytes) return undefined;
  const reset = await subject.resetPeak();
  const before = await subject.memory();
  let tookMs = Number.POSITIVE_INFINITY;
  try {
    for (let run = 0; run < RUNS; run++) {
      const from = clock.monotonicMs();
      await subject.session.run(inputs);
      tookMs = Math.min(tookMs, clock.monotonicMs() - from);
    }
  } catch (error) {
    if (inconclusive(error)) return undefined;
    throw error;
  }
  const after = await subject.memory();
  // A mark that stands from loading says nothing, unless the run went beyond it.
  const seen = reset || after.peakResidentBytes > before.peakResidentBytes;
  // Counted from where the process stood before it ran at all.
  const growthBytes = seen ? after.peakResidentBytes - residentBytes : -1;
  return { probe: { shapes, growthBytes }, tookMs };
}

function shapesOf(inputs: Tensors): InputShapes {
  return new Map([...inputs].map(([name, { shape }]) => [name, shape]));
}
