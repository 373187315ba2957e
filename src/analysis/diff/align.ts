// Two sequences side by side, with gaps where one has more: the cheapest way of making one from the other
// (Needleman and Wunsch 1970), in bounded time and memory.

import type { Level } from "./levels.ts";

/**
 * Costs: of levels that differ in the skips that end there, in channels alone, in what they do, and of a level
 * without a partner. A lost skip costs less than two gaps: it does not move the layers around it.
 */
const OTHER_MERGES = 1;
const OTHER_CHANNELS = 1;
const OTHER_FAMILY = 3;
const GAP = 2;

/** Most cells of the table. Longer sequences are compared within a band around its diagonal. */
const CELLS_MAX = 4_000_000;

/** Where depths of both sides lie on one common axis: index is the depth, 0 included. */
export interface Axis {
  readonly before: readonly Mark[];
  readonly after: readonly Mark[];
}

/** A place on the axis. */
export interface Mark {
  readonly column: number;
  /** The nearest column at or before it that both sides have. */
  readonly shared: number;
}

type Step = "both" | "before" | "after";

/** Lays two sequences of levels along one axis. Swapping the two swaps the answer, and nothing else. */
export function alignLevels(before: readonly Level[], after: readonly Level[]): Axis {
  // Ties are broken by order, so that order has to be the same for both directions.
  if (textOf(after) < textOf(before)) {
    const mirrored = alignLevels(after, before);
    return { before: mirrored.after, after: mirrored.before };
  }
  let head = 0;
  while (head < before.length && head < after.length && equal(before[head], after[head])) head++;
  let [n, m] = [before.length, after.length];
  while (n > head && m > head && equal(before[n - 1], after[m - 1])) [n, m] = [n - 1, m - 1];
  const middle = cheapest(before.slice(head, n), after.slice(head, m));
  const both = (count: number): Step[] => new Array<Step>(count).fill("both");
  return axisOf([...both(head), ...middle, ...both(before.length - n)]);
}

function textOf(levels: readonly Level[]): string {
  return levels.map(({ transforms, merges }) => `${transforms} ${merges}`).join("\n");
}

function equal(a: Level | undefined, b: Level | undefined): boolean {
  return mismatch(a, b) === 0;
}

function axisOf(steps: readonly Step[]): Axis {
  const start: Mark = { column: 0, shared: 0 };
  const before = [start];
  const after = [start];
  let shared = 0;
  for (const [i, step] of steps.entries()) {
    const column = i + 1;
    if (step === "both") shared = column;
    if (step !== "after") before.push({ column, shared });
    if (step !== "before") after.push({ column, shared });
  }
  return { before, after };
}

/** The steps of the cheapest alignment. */
function cheapest(a: readonly Level[], b: readonly Level[]): Step[] {
  const [n, m] = [a.length, b.length];
  const half = Math.min(m, Math.ceil(CELLS_MAX / 2 / (n + 1)));
  const width = 2 * half + 1;
  // Row i of the table holds columns from start(i) on; what lies outside this band cannot be reached.
  const start = (i: number): number => Math.round((i * m) / Math.max(1, n)) - half;
  const trace = new Uint8Array((n + 1) * width);
  let above = new Float64Array(width);
  for (let i = 0; i <= n; i++) {
    const row = new Float64Array(width).fill(Number.POSITIVE_INFINITY);
    const [from, shift] = [start(i), start(i) - start(i - 1)];
    for (let at = Math.max(0, -from); at < width && from + at <= m; at++) {
      const j = from + at;
      const diagonal = i > 0 && j > 0 ? cellOf(above, at + shift - 1) : Number.POSITIVE_INFINITY;
      const costs = [
        diagonal + mismatch(a[i - 1], b[j - 1]),
        (i > 0 ? cellOf(above, at + shift) : Number.POSITIVE_INFINITY) + GAP,
        cellOf(row, at - 1) + GAP,
      ];
      row[at] = i === 0 && j === 0 ? 0 : Math.min(...costs);
      trace[i * width + at] = Math.max(0, costs.indexOf(row[at] ?? 0));
    }
    above = row;
  }
  return stepsBack(n, m, (i, j) => trace[i * width + (j - start(i))] ?? 0);
}

function cellOf(row: Float64Array, at: number): number {
  return row[at] ?? Number.POSITIVE_INFINITY;
}

const STEPS: readonly Step[] = ["both", "before", "after"];

/** From the end of the table to its beginning, and turned round. */
function stepsBack(n: number, m: number, trace: (i: number, j: number) => number): Step[] {
  const steps: Step[] = [];
  for (let [i, j] = [n, m]; i > 0 || j > 0; ) {
    const step = STEPS[i === 0 ? 2 : j === 0 ? 1 : trace(i, j)] ?? "both";
    steps.push(step);
    if (step !== "after") i--;
    if (step !== "before") j--;
  }
  return steps.reverse();
}

function mismatch(a: Level | undefined, b: Level | undefined): number {
  const merges = a?.merges === b?.merges ? 0 : OTHER_MERGES;
  if (a?.transforms === b?.transforms) return merges;
  return merges + (a?.families === b?.families ? OTHER_CHANNELS : OTHER_FAMILY);
}
