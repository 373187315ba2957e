// The difference between two censuses: which skips are gone, new or changed. Skips are partners by where they
// lie along the main path, so that two exports of one network, whose names differ, have no difference.

import type { Graph } from "../../graph/graph.ts";
import { countsOf, examine } from "../census.ts";
import type { SizeOptions } from "../memory.ts";
import type { Skip, SkipCounts } from "../skips/skip.ts";
import { alignLevels, type Mark } from "./align.ts";
import { type Levels, levelsOf } from "./levels.ts";
import { type PlacedSkip, pairSkips } from "./pair.ts";
import { type Rounding, roundingOf } from "./rounding.ts";

/** A field of the census in which partners differ; `quantizedOperands` and `scales` are of their merges. */
export type DiffField =
  | ("kind" | "block" | "norm" | "activation" | "sign" | "scaled" | "encoderDecoder")
  | ("span" | "bytes" | "quantizedOperands" | "scales");

/** What a field was and is. */
export interface Change {
  readonly field: DiffField;
  readonly before: DiffValue;
  readonly after: DiffValue;
}

/** A value of a field. */
export type DiffValue = string | number | boolean | readonly number[];

/** One skip that is in both models, and not the same. */
export interface ChangedSkip {
  readonly before: Skip;
  readonly after: Skip;
  readonly changes: readonly Change[];
}

/** The difference between the skips of two models. */
export interface CensusDiff {
  readonly same: boolean;
  readonly unchanged: number;
  readonly before: { readonly counts: SkipCounts; readonly denseLinks: number };
  readonly after: { readonly counts: SkipCounts; readonly denseLinks: number };
  /** Skips that only the first model has, in its order. */
  readonly removed: readonly Skip[];
  /** Skips that only the second model has, in its order. */
  readonly added: readonly Skip[];
  readonly changed: readonly ChangedSkip[];
}

/** The fields that describe a skip in words. */
const DESCRIPTIONS = [
  ...(["kind", "block", "norm", "activation", "sign", "scaled", "encoderDecoder"] as const),
];

/** Scales that differ by less are the same: float16 keeps eleven bits. */
const SCALE_TOLERANCE = 1e-3;

/**
 * Compares the skips of two models. Swapping them swaps the answer.
 *
 * @param options sizes for which bytes are compared: a batch of 1 where nothing is said.
 * @example
 * const { same, removed, changed } = censusDiff(model.graph, exported.graph);
 */
export function censusDiff(before: Graph, after: Graph, options: SizeOptions = {}): CensusDiff {
  const [a, b] = [sideOf(before, options), sideOf(after, options)];
  const axis = alignLevels(a.levels.levels, b.levels.levels);
  const found = pairSkips(placed(a, axis.before), placed(b, axis.after));
  const changed = found.pairs
    .map(([one, other]) => compare({ side: a, placed: one }, { side: b, placed: other }))
    .filter(({ changes }) => changes.length > 0)
    .toSorted((one, other) => numberOf(one.before) - numberOf(other.before));
  const skipsOf = (list: readonly PlacedSkip[]) => list.map(({ examined }) => examined.skip);
  const [removed, added] = [skipsOf(found.before), skipsOf(found.after)];
  return {
    same: removed.length + added.length + changed.length === 0,
    unchanged: found.pairs.length - changed.length,
    before: totalsOf(a),
    after: totalsOf(b),
    removed,
    added,
    changed,
  };
}

interface Side {
  readonly examined: ReturnType<typeof examine>;
  readonly levels: Levels;
  readonly roundings: ReadonlyMap<string, Rounding | undefined>;
}

function sideOf(graph: Graph, options: SizeOptions): Side {
  const examined = examine(graph, options);
  const { canonical } = examined;
  const nodes = new Map(canonical.nodes.map((node) => [node.name, node]));
  const roundings = new Map(
    examined.skips.map(({ skip, found }) => [
      skip.id,
      roundingOf(canonical, nodes.get(found.merge)),
    ]),
  );
  const merges = examined.skips.map(({ found }) => found.merge);
  return { examined, levels: levelsOf(canonical, merges), roundings };
}

function totalsOf({ examined }: Side): CensusDiff["before"] {
  const counts = countsOf(examined.skips.map(({ skip }) => skip));
  return { counts, denseLinks: examined.denseLinks };
}

const START: Mark = { column: 0, shared: 0 };

function placed({ examined, levels }: Side, marks: readonly Mark[]): PlacedSkip[] {
  return examined.skips.map((one) => ({
    examined: one,
    from: marks[levels.depthOf(one.found.source)] ?? START,
    to: marks[levels.depthOfNode(one.found.merge)] ?? START,
  }));
}

/** `s12` → 12. */
function numberOf(skip: Skip): number {
  return Number(skip.id.slice(1));
}

interface Partner {
  readonly side: Side;
  readonly placed: PlacedSkip;
}

function compare(one: Partner, other: Partner): ChangedSkip {
  const [before, after] = [one.placed.examined.skip, other.placed.examined.skip];
  const changes: Change[] = [];
  const differs = (
    field: DiffField,
    was: DiffValue | undefined,
    is: DiffValue | undefined,
  ): void => {
    // What is not known of one contradicts nothing.
    if (was !== undefined && is !== undefined && was !== is) {
      changes.push({ field, before: was, after: is });
    }
  };
  for (const field of DESCRIPTIONS) differs(field, before[field], after[field]);
  // Fused ops count as one: the main path is longer only if it is so by its depth as well.
  if (depthOf(one) !== depthOf(other)) differs("span", before.span, after.span);
  differs("bytes", before.bytes, after.bytes);
  const [was, is] = [one, other].map(({ side, placed }) =>
    side.roundings.get(placed.examined.skip.id),
  );
  differs("quantizedOperands", was?.rounded, is?.rounded);
  if (was !== undefined && is !== undefined && was.rounded === is.rounded) {
    if (!near(was.scales, is.scales)) differs("scales", was.scales, is.scales);
  }
  return { before, after, changes };
}

/** Transforms between source and merge, those inside fused ops included. */
function depthOf({ side: { levels }, placed }: Partner): number {
  const { found } = placed.examined;
  return levels.depthOfNode(found.merge) - levels.depthOf(found.source);
}

function near(a: readonly number[], b: readonly number[]): boolean {
  if (a.length !== b.length) return true;
  return a.every((x, i) => Math.abs(x - (b[i] ?? 0)) <= SCALE_TOLERANCE * Math.abs(x));
}
