// Plans of runs at some numbers of rows, and what lies between: all that the server's own thread needs of planning.

import type { InputShapes } from "./batch-axis.ts";

/** Bytes of one run. */
export interface PlannedRun {
  /** Inputs, buffers, workspace and outputs at their most. */
  readonly peakBytes: number;
  /** Of the inputs and outputs alone. */
  readonly endsBytes: number;
}

/** What is known of the runs of one model. */
export interface Plans {
  /** Whether axis 0 of all inputs is the batch. */
  readonly batched: boolean;
  /** What a run takes; undefined where a size inside the model cannot be told, or the shapes were not prepared. */
  plan(shapes: InputShapes): PlannedRun | undefined;
  /** Plans shapes, any number of rows of them. undefined: there is nothing to wait for. */
  prepare(shapes: InputShapes): Promise<void> | undefined;
}

/** Rows that are planned. From the last but one on, memory has been seen to grow evenly. */
export const KNOTS: readonly number[] = [1, 2, 4, 8, 16, 32, 64, 65_536];

/** Shapes but for their rows, as a text. */
export function keyOf(shapes: InputShapes, batched: boolean): string {
  const sizes = [...shapes].map(
    ([name, shape]) => `${name}:${(batched ? shape.slice(1) : shape).join("x")}`,
  );
  return sizes.sort().join(";");
}

/** So many rows, on the line through the two of `KNOTS` beside them: through the last two for more rows than any. */
export function between(
  rows: number,
  knot: (rows: number) => PlannedRun | undefined,
): PlannedRun | undefined {
  const found = KNOTS.findIndex((one) => one >= rows);
  if (KNOTS[found] === rows) return knot(rows);
  const next = found < 0 ? KNOTS.length - 1 : Math.max(1, found);
  const [low = 1, high = 1] = [KNOTS[next - 1], KNOTS[next]];
  const [below, above] = [knot(low), knot(high)];
  if (below === undefined || above === undefined) return undefined;
  const share = (rows - low) / (high - low);
  const at = (a: number, b: number): number => Math.max(0, Math.ceil(a + share * (b - a)));
  return {
    peakBytes: at(below.peakBytes, above.peakBytes),
    endsBytes: at(below.endsBytes, above.endsBytes),
  };
}
