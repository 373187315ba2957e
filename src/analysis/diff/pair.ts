// Which skip of one model is which of another: by where they begin and end, not by names.

import type { ExaminedSkip } from "../hazards/rule.ts";
import type { Mark } from "./align.ts";

/** A skip with its place on the axis that both models share. */
export interface PlacedSkip {
  readonly examined: ExaminedSkip;
  readonly from: Mark;
  readonly to: Mark;
}

/** Two skips that are one, and those without a partner. */
export interface Pairs {
  readonly pairs: readonly (readonly [PlacedSkip, PlacedSkip])[];
  readonly before: readonly PlacedSkip[];
  readonly after: readonly PlacedSkip[];
}

/** What partners have in common, strictest first. A layer that only one model has moves ends by a column. */
const COMMON: readonly ((skip: PlacedSkip) => readonly unknown[])[] = [
  ({ from, to, examined: { skip } }) => [from.column, to.column, skip.kind, skip.block, skip.norm],
  ({ from, to, examined: { skip } }) => [from.column, to.column, skip.kind],
  ({ from, to }) => [from.column, to.column],
  ({ to, examined: { skip } }) => [to.column, skip.kind],
  ({ from, to, examined: { skip } }) => [from.shared, to.shared, skip.kind],
  ({ from, to }) => [from.shared, to.shared],
];

/** Pairs skips that have most in common; those that are alike in all are paired in order. O(skips). */
export function pairSkips(before: readonly PlacedSkip[], after: readonly PlacedSkip[]): Pairs {
  const pairs: (readonly [PlacedSkip, PlacedSkip])[] = [];
  let [left, right] = [before, after];
  for (const common of COMMON) {
    const waiting = new Map<string, PlacedSkip[]>();
    for (const skip of right) {
      const key = JSON.stringify(common(skip));
      const list = waiting.get(key);
      if (list === undefined) waiting.set(key, [skip]);
      else list.push(skip);
    }
    for (const list of waiting.values()) list.reverse();
    const taken = new Set<PlacedSkip>();
    left = left.filter((skip) => {
      const partner = waiting.get(JSON.stringify(common(skip)))?.pop();
      if (partner === undefined) return true;
      taken.add(partner);
      pairs.push([skip, partner]);
      return false;
    });
    right = right.filter((skip) => !taken.has(skip));
  }
  return { pairs, before: left, after: right };
}
