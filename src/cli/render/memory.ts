// The memory of inference as lines of text.

import type { MemoryReport } from "../../analysis/memory/report.ts";
import { sizesText } from "../../analysis/picture/words.ts";
import { formatBytes } from "../../base/format.ts";
import { printable } from "../../base/printable.ts";
import { type Column, tableLines } from "../../base/table.ts";

const COLUMNS: readonly Column[] = [
  { title: "alive at the peak", flexible: true },
  { title: "bytes", align: "right" },
  { title: "because" },
];

/** The peak in numbers, and how low another order or a network without skips would be. */
export function memoryHead(path: string, report: MemoryReport): string[] {
  const { best } = report;
  const gap = best.optimal
    ? "proven optimal"
    : `search ran out; no order is below ${formatBytes(best.lowerBoundBytes)}`;
  const share = `${(100 * report.skipTax).toFixed(0)} %`;
  return [
    `${path}: peak ${formatBytes(report.peakBytes)} at ${report.peakNode}, ${sizesText(report)}`,
    `weights ${formatBytes(report.weightsBytes)}, arena ${formatBytes(report.arenaBytes)}`,
    `in ONNX Runtime ${formatBytes(report.runtimePeakBytes)} (its own order, buffers and workspace)`,
    `best order ${formatBytes(best.peakBytes)} (${gap})`,
    `without skips ${formatBytes(report.withoutSkipsPeakBytes)} (skip tax ${share})`,
  ].map(printable);
}

/** What the peak is made of. */
export function memoryTable({ atPeak }: MemoryReport, width: number): string[] {
  const rows = atPeak.map(({ value, bytes, because, body }) => {
    return [value, formatBytes(bytes), because === "body" ? `body of ${body}` : because];
  });
  return tableLines(COLUMNS, rows, width);
}
