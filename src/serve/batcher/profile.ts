// How long runs of one bucket take, by rows: a mean for each size class, straight lines between them.
// Classes instead of one line a + b·rows, because some models get slower per row in large batches.

import { Rate } from "./demand.ts";

/** A size class that has run. */
interface Knot {
  readonly size: number;
  /** Mean rows of its runs, and their mean time. */
  rows: number;
  ms: number;
  /** What counts: its time as far as those of other sizes let it be believed. */
  believedMs: number;
  count: number;
  /** Its first times: until there are enough of them their median counts, which one pause cannot move. */
  readonly first: number[];
  /** Number of the bucket's run in which it was seen last, and after how many more it is tried again. */
  seen: number;
  retryAfter: number;
}

/** A mean follows its newest 32 runs: long enough to be smooth, short enough to follow a busy machine. */
const MEMORY_RUNS = 32;
/** From here on a run counts at most twice and at least half of what was expected: a pause teaches little. */
const TRUSTED_RUNS = 8;
const OUTLIER = 2;
/** A size not seen for so many runs of its bucket is tried again, and then half as often each time: who runs in it may be late. */
const FORGOTTEN_AFTER = 250;
/** From here on a size can be called slow. One pause of the machine must not keep batches small. */
const JUDGED_RUNS = 4;
/** A size that was not judged is believed to take at most so many times as long for each row as those that were. */
const UNJUDGED = 2;
/** Throughputs this close are equal; the smaller batch then waits less. */
const EQUAL = 0.98;
/** Rows beyond the largest size are hoped to cost half of a mean row: larger batches are worth a few runs. */
const HOPED_SLOPE = 0.5;

/** Sizes 1, 2, 3, 4, 6, 8, 12, 16, 24 …: the class of so many rows, by its largest. */
function sizeClass(rows: number): number {
  let size = 1;
  while (size < rows) {
    const middle = size + (size >> 1);
    if (size > 1 && rows <= middle) return middle;
    size *= 2;
  }
  return size;
}

/** Moves the mean of a size towards a run. */
function update(knot: Knot, rows: number, tookMs: number, expected: number): void {
  knot.count++;
  const share = 1 / Math.min(knot.count, MEMORY_RUNS);
  knot.rows += (rows - knot.rows) * share;
  if (knot.count <= TRUSTED_RUNS) {
    knot.first.push(tookMs);
    knot.first.sort((a, b) => a - b);
    knot.ms = knot.first[(knot.first.length - 1) >> 1] ?? tookMs;
    return;
  }
  const counted = Math.min(expected * OUTLIER, Math.max(expected / OUTLIER, tookMs));
  knot.ms += (counted - knot.ms) * share;
}

/** What was measured of one bucket. */
export class Profile {
  readonly elementsPerRow: number;
  /** Rows that came in. */
  readonly arrivals: Rate = new Rate();
  /** In order of size; at most two for each doubling of rows. */
  readonly #knots: Knot[] = [];
  #runs = 0;
  #leastMs = Number.POSITIVE_INFINITY;
  #best = 0;
  #bestOf = 0;

  constructor(elementsPerRow: number) {
    this.elementsPerRow = elementsPerRow;
  }

  /** How many runs have been seen. */
  get runs(): number {
    return this.#runs;
  }

  /** The shortest run that was seen. */
  get leastMs(): number {
    return this.#leastMs;
  }

  /** Takes a run in. @returns measured / expected where this size was well known, for its spread. */
  record(rows: number, tookMs: number): number | undefined {
    this.#runs++;
    this.#leastMs = Math.min(this.#leastMs, tookMs);
    this.#best = 0;
    const size = sizeClass(rows);
    const knot = this.#knots.find((one) => one.size === size);
    if (knot === undefined) {
      const times = { ms: tookMs, believedMs: tookMs, first: [tookMs] };
      this.#knots.push({
        size,
        rows,
        ...times,
        count: 1,
        seen: this.#runs,
        retryAfter: FORGOTTEN_AFTER,
      });
      this.#knots.sort((a, b) => a.size - b.size);
      this.#believe();
      return undefined;
    }
    const expected = this.meanMs(rows);
    knot.seen = this.#runs;
    update(knot, rows, tookMs, expected);
    this.#forget();
    this.#believe();
    return expected > 0 && knot.count > 2 ? tookMs / expected : undefined;
  }

  /**
   * What was learned in a bad minute turned out wrong for one size, so it is for all: each counts so many times as
   * much, and little against what is measured from now on. Runs come out too long by chance, never too short.
   */
  rescale(factor: number): void {
    this.#best = 0;
    for (const knot of this.#knots) {
      knot.ms *= factor;
      knot.count = 1;
      knot.first.length = 0;
      knot.first.push(knot.ms);
    }
    this.#believe();
  }

  /** Expected time of a run; where sizes were not seen, rather too long than too short. */
  meanMs(rows: number): number {
    const knots = this.#knots;
    const first = knots[0];
    if (first === undefined) return 0;
    if (rows <= first.rows)
      return Math.max(this.#below(first, rows), (first.believedMs * rows) / first.rows);
    let left = first;
    for (let i = 1; i < knots.length; i++) {
      const right = knots[i];
      if (right === undefined) break;
      if (rows <= right.rows) {
        const slope = (right.believedMs - left.believedMs) / (right.rows - left.rows);
        return left.believedMs + slope * (rows - left.rows);
      }
      left = right;
    }
    return left.believedMs + slopeAbove(knots) * (rows - left.rows);
  }

  /** The rows, at most `max`, that give the most rows for each millisecond: the smallest of equal ones. */
  bestRows(max: number): number {
    if (this.#best > 0 && this.#bestOf === max) return this.#best;
    this.#bestOf = max;
    this.#best = this.#findBest(max);
    return this.#best;
  }

  #findBest(max: number): number {
    const judged = this.#knots.filter((knot) => knot.count >= JUDGED_RUNS);
    const last = judged.at(-1) ?? this.#knots[0];
    if (last === undefined) return max;
    const hoped = (HOPED_SLOPE * last.believedMs) / last.rows;
    const rate = (rows: number): number =>
      rows / (rows > last.rows ? last.believedMs + hoped * (rows - last.rows) : this.meanMs(rows));
    // New sizes are tried in steps of at most twice the rows: who runs in them may be late.
    const limit = Math.min(max, 2 * sizeClass(last.rows));
    const sizes: number[] = [];
    for (let size = 1; size < limit; size = sizeClass(size + 1)) sizes.push(size);
    sizes.push(limit);
    const most = Math.max(...sizes.map(rate));
    return sizes.find((size) => rate(size) >= EQUAL * most) ?? limit;
  }

  /** Time of fewer rows than ever ran: at most the time of the smallest size. */
  #below(first: Knot, rows: number): number {
    const second = this.#knots[1];
    if (second === undefined) return first.believedMs;
    const slope = (second.believedMs - first.believedMs) / (second.rows - first.rows);
    return first.believedMs - Math.max(0, slope) * (first.rows - rows);
  }

  /**
   * A bad minute of the machine spoils the sizes that ran in it. Those would never be used again, were it not known
   * that fewer rows take no longer than more, and that few models take longer for each row in larger batches.
   */
  #believe(): void {
    let below: Knot | undefined;
    for (const knot of this.#knots) {
      const most =
        below === undefined || knot.count >= JUDGED_RUNS
          ? Number.POSITIVE_INFINITY
          : (UNJUDGED * below.believedMs * knot.rows) / below.rows;
      knot.believedMs = Math.min(knot.ms, most);
      if (knot.count >= JUDGED_RUNS) below = knot;
    }
    let aboveMs = Number.POSITIVE_INFINITY;
    for (const knot of this.#knots.toReversed()) {
      knot.believedMs = Math.min(knot.believedMs, aboveMs);
      if (knot.count >= JUDGED_RUNS) aboveMs = knot.believedMs;
    }
  }

  /** Lets sizes that were not used for long be tried once more. */
  #forget(): void {
    for (const knot of this.#knots) {
      if (this.#runs - knot.seen <= knot.retryAfter) continue;
      knot.seen = this.#runs;
      knot.retryAfter *= 2;
      knot.count = Math.min(knot.count, JUDGED_RUNS - 1);
      knot.first.length = 0;
      knot.first.push(knot.ms);
    }
  }
}

/** Milliseconds of each row beyond the largest size, rather too many: deadlines go by it. */
function slopeAbove(knots: readonly Knot[]): number {
  const last = knots.at(-1);
  if (last === undefined) return 0;
  const mean = last.believedMs / last.rows;
  const before = knots.at(-2);
  if (before === undefined) return mean;
  const slope = (last.believedMs - before.believedMs) / (last.rows - before.rows);
  return Math.min(2 * mean, Math.max(mean / 2, slope));
}
