// Repeated blocks as one row each: the twelve equal layers of a transformer make two rows, one for
// attention and one for the MLP, with all their ids.

import type { Skip } from "../../analysis/skips/skip.ts";

/** Skips of one kind, block and size, `step` rows apart in the census: the first row of each repetition. */
export interface Fold {
  readonly skips: readonly Skip[];
  readonly step: number;
}

/** The most skips that one repeated block may have. */
const PERIOD_MAX = 8;

/** Fewer repetitions of a pattern of several rows are easier to read one by one. */
const REPEATS_MIN = 3;

/** The rows of a table in which repeated blocks are told once. Every skip is in exactly one of them. */
export function foldSkips(skips: readonly Skip[]): Fold[] {
  const keys = skips.map(keyOf);
  const folds: Fold[] = [];
  for (let at = 0; at < skips.length; ) {
    let best = { period: 1, repeats: repeatsAt(skips, keys, { at, period: 1 }) };
    for (let period = 2; period <= PERIOD_MAX; period++) {
      const repeats = repeatsAt(skips, keys, { at, period });
      const saves = period * (repeats - 1);
      if (repeats >= REPEATS_MIN && saves > best.period * (best.repeats - 1)) {
        best = { period, repeats };
      }
    }
    const { period, repeats } = best;
    for (let row = at; row < at + period; row++) {
      const members = Array.from({ length: repeats }, (_, i) => skips[row + i * period]);
      folds.push({ skips: members.filter((one) => one !== undefined), step: period });
    }
    at += period * repeats;
  }
  return folds;
}

/** Each skip as a row of its own. */
export function unfolded(skips: readonly Skip[]): Fold[] {
  return skips.map((skip) => ({ skips: [skip], step: 1 }));
}

/** `s3`, `s3…s14`, or with every second one left to another row `s1, s3 … s23`. */
export function foldIds({ skips, step }: Fold): string {
  const [first, second] = skips;
  const last = skips.at(-1);
  if (first === undefined || second === undefined || last === undefined) return first?.id ?? "";
  if (step > 1) {
    const dots = skips.length > 3 ? " … " : ", ";
    const ends = skips.length > 2 ? [second.id, last.id] : [second.id];
    return `${first.id}, ${ends.join(dots)}`;
  }
  return `${first.id}…${last.id}`;
}

/** What skips of one row have in common. */
function keyOf(skip: Skip): string {
  return JSON.stringify([
    ...[skip.kind, skip.encoderDecoder, skip.block, skip.span, skip.norm, skip.activation],
    ...[skip.sign, skip.scaled, skip.bytes === undefined],
    ...[skip.recurrence?.trips, skip.recurrence?.gated],
  ]);
}

/** How often the `period` rows from `at` on come one after another, their bytes equal or growing evenly. */
function repeatsAt(
  skips: readonly Skip[],
  keys: readonly string[],
  { at, period }: { at: number; period: number },
): number {
  let row = at + period;
  for (; row < skips.length; row++) {
    if (keys[row] !== keys[row - period]) break;
    const growth = growthTo(skips, row, period);
    const before = row - period < at + period ? growth : growthTo(skips, row - period, period);
    if (growth !== before) break;
  }
  return Math.floor((row - at) / period);
}

function growthTo(skips: readonly Skip[], row: number, period: number): number {
  return (skips[row]?.bytes ?? 0) - (skips[row - period]?.bytes ?? 0);
}
