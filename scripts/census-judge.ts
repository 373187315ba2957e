// What the census says of a graph against its label: counts per kind, links, and how many skips have which
// activation, norm and block.

import { census } from "../src/analysis/census.ts";
import type { Census, Skip } from "../src/analysis/skips/skip.ts";
import type { Graph } from "../src/graph/graph.ts";
import { countsOf, type Label } from "./census-labels.ts";

/** How a census compares with its label. */
export interface Verdict {
  /** Skips of the label, of the census, and those that are in both, kind by kind. */
  readonly expected: number;
  readonly found: number;
  readonly right: number;
  /** What differs, in words; empty where nothing does. */
  readonly misses: readonly string[];
}

const KINDS = [
  ...(["additiveIdentity", "additiveProjection", "concat", "gated"] as const),
  ...(["conditional", "recurrent", "multiStream"] as const),
];

/** Judges the census of a graph. */
export function judge(graph: Graph, label: Label): Verdict {
  const found = census(graph);
  const expected = countsOf(label);
  const misses: string[] = [];
  const compare = (what: string, truth: number, said: number): void => {
    if (truth !== said) misses.push(`${what} ${said} instead of ${truth}`);
  };
  let right = 0;
  for (const kind of KINDS) {
    right += Math.min(expected[kind], found.counts[kind]);
    compare(kind, expected[kind], found.counts[kind]);
  }
  compare("encoderDecoder", expected.encoderDecoder, found.counts.encoderDecoder);
  if (label.denseLinks !== undefined) compare("links", label.denseLinks, found.denseLinks);
  for (const attribute of ["activation", "norm", "blocks"] as const) {
    for (const [word, count] of Object.entries(label[attribute] ?? {})) {
      const said = found.skips.filter((skip) => wordOf(skip, attribute) === word).length;
      compare(`${attribute} ${word}`, count, said);
    }
  }
  return { expected: expected.total, found: found.counts.total, right, misses };
}

function wordOf(skip: Skip, attribute: "activation" | "norm" | "blocks"): string {
  return attribute === "blocks" ? skip.block : skip[attribute];
}

/** The skips without the names of nodes, which differ from form to form. */
export function rowsOf({ skips, denseLinks }: Census): readonly string[] {
  const rows = skips.map((skip) =>
    [
      ...[skip.kind, skip.block, skip.activation, skip.norm, skip.sign],
      ...[skip.scaled ? "scaled" : "", skip.encoderDecoder ? "encoder-decoder" : ""],
    ].join(" "),
  );
  return [...rows.toSorted(), `links ${denseLinks}`];
}
