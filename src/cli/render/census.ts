// The census as a table.

import type { Census, Skip } from "../../analysis/skips/skip.ts";
import { formatBytes } from "../../base/format.ts";
import { type Column, tableLines } from "../../base/table.ts";

const COLUMNS: readonly Column[] = [
  { title: "skip" },
  { title: "kind" },
  { title: "block" },
  { title: "from", flexible: true },
  { title: "to", flexible: true },
  { title: "span", align: "right" },
  { title: "bytes", align: "right" },
  { title: "at peak" },
];

/** The lines of the table. */
export function censusTable(census: Census, width: number): string[] {
  const rows = census.skips.map(rowOf);
  return rows.length === 0 ? ["no skip connections"] : tableLines(COLUMNS, rows, width);
}

function rowOf(skip: Skip): string[] {
  const kind = skip.encoderDecoder ? `${skip.kind}, encoder-decoder` : skip.kind;
  return [
    skip.id,
    kind,
    skip.block,
    skip.source,
    skip.merge,
    String(skip.span),
    skip.bytes === undefined ? "?" : formatBytes(skip.bytes),
    skip.atPeak ? "yes" : "",
  ];
}

/** `15 skips: 14 identity, 1 projection`. */
export function censusSummary(census: Census): string {
  const { counts } = census;
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
  const dense = census.denseLinks > 0 ? `, ${census.denseLinks} dense links` : "";
  const word = counts.total === 1 ? "skip" : "skips";
  return `${counts.total} ${word}${named.length > 0 ? `: ${named.join(", ")}` : ""}${dense}`;
}
