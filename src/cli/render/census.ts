// The census as a table: repeated blocks folded, what is no skip counted by reason, hazards told once.

import type { Census, Skip, SkipKind } from "../../analysis/skips/skip.ts";
import type { Diagnostic } from "../../base/diagnostic.ts";
import { formatBytes } from "../../base/format.ts";
import { printable } from "../../base/printable.ts";
import { type Column, tableLines } from "../../base/table.ts";
import { type Fold, foldIds, foldSkips, unfolded } from "./census-fold.ts";
import { findingLines } from "./findings.ts";
import { type Style, styled } from "./style.ts";

/** How wide and how detailed. */
export interface CensusView {
  readonly width: number;
  /** Each skip, each node that is none and each hazard by itself. */
  readonly all?: boolean;
  readonly color?: boolean;
}

/** A column, and what stands in it. */
interface CensusColumn extends Column {
  cell(fold: Fold): string;
}

const COLUMNS: readonly CensusColumn[] = [
  { title: "skip", cell: foldIds },
  { title: "×", align: "right", cell: ({ skips }) => String(skips.length) },
  { title: "kind", cell: ({ skips: [skip] }) => kindOf(skip) },
  { title: "block", cell: ({ skips: [skip] }) => skip?.block ?? "" },
  { title: "norm", cell: ({ skips: [skip] }) => known(skip?.norm) },
  { title: "activation", cell: ({ skips: [skip] }) => known(skip?.activation) },
  { title: "from", flexible: true, cell: (fold) => ends(fold, (skip) => skip.source) },
  { title: "to", flexible: true, cell: (fold) => ends(fold, (skip) => skip.merge) },
  { title: "span", align: "right", cell: ({ skips: [skip] }) => String(skip?.span ?? "") },
  { title: "bytes", align: "right", cell: (fold) => ends(fold, bytesOf) },
  { title: "at peak", cell: peakOf },
];

/** Columns that are left out where they would say nothing. */
const OPTIONAL = new Set(["×", "norm", "activation"]);

/** Beside the word, never instead of it. */
const STYLES: Readonly<Partial<Record<SkipKind, Style>>> = {
  projection: "yellow",
  concat: "cyan",
  gated: "magenta",
  conditional: "magenta",
  recurrent: "magenta",
  "multi-stream": "blue",
};

/** The lines of the table. */
export function censusTable(census: Census, view: CensusView): string[] {
  if (census.skips.length === 0) return ["no skip connections"];
  const folds = view.all === true ? unfolded(census.skips) : foldSkips(census.skips);
  const columns = COLUMNS.filter(
    (column) => !OPTIONAL.has(column.title) || folds.some((fold) => tells(column, fold)),
  );
  const rows = folds.map((fold) => columns.map((column) => column.cell(fold)));
  const kind = columns.findIndex((column) => column.title === "kind");
  return tableLines(columns, rows, view.width, (text, row, column) => {
    const style = column === kind ? STYLES[folds[row]?.skips[0]?.kind ?? "identity"] : undefined;
    return style === undefined ? text : styled(style, text, view.color === true);
  });
}

function tells(column: CensusColumn, fold: Fold): boolean {
  const cell = column.cell(fold);
  return cell !== "" && !(column.title === "×" && cell === "1");
}

function kindOf(skip: Skip | undefined): string {
  if (skip === undefined) return "";
  const marks = [
    ...(skip.encoderDecoder ? ["encoder-decoder"] : []),
    ...(skip.scaled ? ["scaled"] : []),
    ...(skip.sign === -1 ? ["subtracted"] : []),
    ...(skip.recurrence?.gated ? ["gated"] : []),
    ...(skip.recurrence?.trips === undefined ? [] : [`${skip.recurrence.trips} rounds`]),
  ];
  return [skip.kind, ...marks].join(", ");
}

function known(order: "pre" | "post" | "sandwich" | "none" | undefined): string {
  return order === undefined || order === "none" ? "" : order;
}

function bytesOf(skip: Skip): string {
  return skip.bytes === undefined ? "?" : formatBytes(skip.bytes);
}

/** What the first and the last of a row have, once if it is the same. */
function ends({ skips }: Fold, of: (skip: Skip) => string): string {
  const texts = [skips.at(0), skips.at(-1)].map((skip) => (skip === undefined ? "" : of(skip)));
  return [...new Set(texts)].join(" … ");
}

function peakOf({ skips }: Fold): string {
  const found = skips.filter((skip) => skip.atPeak).map((skip) => skip.id);
  if (found.length === 0) return "";
  return found.length === skips.length ? "yes" : found.join(", ");
}

/** `15 skips: 14 identity, 1 projection`. */
export function censusSummary({
  counts,
  denseLinks,
}: Pick<Census, "counts" | "denseLinks">): string {
  const parts = [
    [counts.additiveIdentity, "identity"],
    [counts.additiveProjection, "projection"],
    [counts.concat, "concatenation"],
    [counts.gated, "gated"],
    [counts.conditional, "conditional"],
    [counts.recurrent, "recurrent"],
    [counts.multiStream, "multi-stream"],
  ] as const;
  const named = parts.filter(([n]) => n > 0).map(([n, name]) => `${n} ${name}`);
  const dense = denseLinks > 0 ? `, ${denseLinks} dense links` : "";
  const word = counts.total === 1 ? "skip" : "skips";
  return `${counts.total} ${word}${named.length > 0 ? `: ${named.join(", ")}` : ""}${dense}`;
}

/** Merges that look like skips and are none: how many for which reason, or each by its name. */
export function notSkipLines({ notSkips }: Census, view: CensusView): string[] {
  if (notSkips.length === 0) return [];
  if (view.all === true) {
    const columns = [
      { title: "no skip", flexible: true },
      { title: "because", flexible: true },
    ];
    const rows = notSkips.map(({ node, reason }) => [node, reason]);
    return tableLines(columns, rows, view.width);
  }
  const reasons = new Map<string, number>();
  for (const { reason } of notSkips) reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
  const sorted = [...reasons].toSorted(([, a], [, b]) => b - a);
  const digits = String(sorted[0]?.[1] ?? 0).length;
  return [
    `no skips, though they look like some: ${notSkips.length} (--all names them)`,
    ...sorted.map(([reason, count]) => `  ${String(count).padStart(digits)}  ${printable(reason)}`),
  ];
}

/** Places that one hazard is told of; the rest is counted. */
const PLACES_MAX = 4;

/** The hazards; those that say the same of several places are one, unless all are asked for. */
export function hazardLines(hazards: readonly Diagnostic[], view: CensusView): string[] {
  const color = view.color === true;
  if (view.all === true) return hazards.flatMap((one) => findingLines(one, color));
  const alike = new Map<string, Diagnostic[]>();
  for (const one of hazards) {
    const key = JSON.stringify({ ...one, where: "" });
    const group = alike.get(key);
    if (group === undefined) alike.set(key, [one]);
    else group.push(one);
  }
  return [...alike.values()].flatMap((group) => {
    const [first] = group;
    if (first === undefined) return [];
    const places = group.slice(0, PLACES_MAX).map((one) => one.where);
    const more = group.length - places.length;
    const where = [...places, ...(more > 0 ? [`${more} more`] : [])].join(", ");
    return findingLines({ ...first, where }, color);
  });
}
