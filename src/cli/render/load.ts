// A load report as lines for a terminal.

import { formatSeconds } from "../../base/format.ts";
import { tableLines } from "../../base/table.ts";
import type { LoadReport } from "../../drill/load/report.ts";
import type { LatencySummary } from "../../drill/load/summary.ts";

/** The lines of a report. */
export function loadLines(report: LoadReport, width: number): string[] {
  const { planned, sent, seconds, intendedRate, goodRate, good, refused, lateness } = report;
  const cut = sent < planned ? ` of ${planned} planned` : "";
  const lines = [
    `${sent} requests${cut} in ${formatSeconds(seconds)}: ${rate(intendedRate)} meant, ${rate(goodRate)} answered well`,
    `answers   ${countsText(report.answers) || "none"}`,
  ];
  const failures = countsText(report.failures);
  if (failures !== "") lines.push(`no answer ${failures}`);
  lines.push("", ...latencyLines("latency", good, width));
  if (refused.n > 0) lines.push("", ...latencyLines("refusals", refused, width));
  lines.push("", ...sliceLines(report, width));
  const late = lateness.quantiles.at(-1)?.ms;
  if (late !== undefined && late !== null) {
    lines.push("", `the generator itself was late by ${ms(late)} at its P99; latencies include it`);
  }
  return lines;
}

function latencyLines(title: string, summary: LatencySummary, width: number): string[] {
  const rows = summary.quantiles.map(({ p, ms: value, lowMs, highMs }) => [
    `P${Number((p * 100).toFixed(3))}`,
    value === null ? "unknown" : ms(value),
    `${lowMs === null ? "?" : ms(lowMs)} to ${highMs === null ? "?" : ms(highMs)}`,
  ]);
  if (summary.maxMs !== null) rows.push(["max", ms(summary.maxMs), ""]);
  return tableLines(
    [
      { title: `${title}, n = ${summary.n}` },
      { title: "", align: "right" },
      { title: "95 % interval", align: "right" },
    ],
    rows,
    width,
  );
}

function sliceLines({ slices }: LoadReport, width: number): string[] {
  const rows = slices.map((slice) => [
    formatSeconds(slice.untilSecond),
    String(slice.sent),
    String(slice.good),
    String(slice.refused),
    String(slice.failed),
    slice.p50Ms === null ? "unknown" : ms(slice.p50Ms),
    slice.p99Ms === null ? "unknown" : ms(slice.p99Ms),
  ]);
  const right = (title: string) => ({ title, align: "right" as const });
  return tableLines(
    ["until", "sent", "good", "refused", "no answer", "P50", "P99"].map(right),
    rows,
    width,
  );
}

function countsText(counts: Readonly<Record<string, number>>): string {
  return Object.entries(counts)
    .map(([key, count]) => `${key}: ${count}`)
    .join("  ");
}

function rate(perSecond: number): string {
  return `${perSecond < 10 ? perSecond.toFixed(1) : Math.round(perSecond)}/s`;
}

function ms(value: number): string {
  return `${value.toPrecision(3)} ms`;
}
