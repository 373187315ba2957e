// Where arcs go: over the nodes that they span, higher where they reach over others.

import type { Graph } from "../../graph/graph.ts";
import { indexOf } from "../../graph/query.ts";
import type { Skip } from "./skip.ts";

/** An arc between two positions of the main path; -1 is the input. */
export interface PlacedArc {
  readonly skip: Skip;
  readonly from: number;
  readonly to: number;
  /** Pixels above the main path. */
  readonly height: number;
}

const LOWEST = 22;
const LEVEL = 15;
const HIGHEST = 260;

/**
 * Places the arcs of all skips. An arc is one level above the highest arc that lies inside it, found in
 * one pass over the arcs in order of their length of span: O(n log n) to sort, O(n·depth) to place.
 */
export function layoutArcs(graph: Graph, skips: readonly Skip[], pitch: number): PlacedArc[] {
  const { producers, positions } = indexOf(graph);
  const byName = new Map(graph.nodes.map((node, position) => [node.name, position]));
  const spans = skips.map((skip) => {
    const producer = producers.get(skip.source);
    const from = producer === undefined ? -1 : (positions.get(producer) ?? -1);
    return { skip, from, to: byName.get(skip.merge) ?? from + 1 };
  });
  const shortest = spans.toSorted((a, b) => a.to - a.from - (b.to - b.from));
  const levelAt = new Map<number, number>();
  const levels = new Map<Skip, number>();
  for (const { skip, from, to } of shortest) {
    let level = 0;
    // The level is kept at the positions strictly inside an arc, so a long arc sees those below it.
    for (let at = from + 1; at < to; at++) level = Math.max(level, levelAt.get(at) ?? 0);
    for (let at = from + 1; at < to; at++) levelAt.set(at, level + 1);
    levels.set(skip, level);
  }
  return spans.map((span) => {
    const level = levels.get(span.skip) ?? 0;
    const wide = Math.sqrt((span.to - span.from) * pitch) * 1.6;
    return { ...span, height: Math.min(HIGHEST, LOWEST + LEVEL * level + wide) };
  });
}
