// Metrics as text, in the Prometheus exposition format 0.0.4 and in OpenMetrics 1.0.

import type { Histogram } from "./histogram.ts";

/** Labels of one series. */
export type Labels = Readonly<Record<string, string>>;

/** One series of a family: a number, or a histogram in the unit of its bounds. */
export interface Sample {
  readonly labels: Labels;
  readonly value: number | Histogram;
}

/** A family of series. Counters are named without `_total`, which the format adds. */
export interface Family {
  readonly name: string;
  readonly type: "counter" | "gauge" | "histogram";
  readonly help: string;
  readonly samples: readonly Sample[];
  /** For histograms: upper bounds in the unit of the name. */
  readonly bounds?: readonly number[];
  /** For histograms: what a recorded value is multiplied by to have the unit of the name. */
  readonly scale?: number;
}

/** Which text format. */
export type Format = "prometheus" | "openmetrics";

/** The `Content-Type` of a format. */
export const CONTENT_TYPES: Readonly<Record<Format, string>> = {
  prometheus: "text/plain; version=0.0.4; charset=utf-8",
  openmetrics: "application/openmetrics-text; version=1.0.0; charset=utf-8",
};

/** Which format an `Accept` header asks for. */
export function formatFor(accept: string | undefined): Format {
  return accept?.includes("application/openmetrics-text") ? "openmetrics" : "prometheus";
}

/** The text of all families. */
export function expose(families: readonly Family[], format: Format): string {
  const lines = families.flatMap((family) => familyLines(family, format));
  if (format === "openmetrics") lines.push("# EOF");
  return `${lines.join("\n")}\n`;
}

function familyLines(family: Family, format: Format): string[] {
  const total = family.type === "counter" ? "_total" : "";
  // OpenMetrics names the family of a counter without the suffix, the older format with it.
  const name = format === "openmetrics" ? family.name : `${family.name}${total}`;
  const lines = [`# HELP ${name} ${escapeHelp(family.help)}`, `# TYPE ${name} ${family.type}`];
  for (const { labels, value } of family.samples) {
    if (typeof value === "number") {
      lines.push(`${family.name}${total}${labelText(labels)} ${number(value)}`);
    } else {
      lines.push(...histogramLines(family, labels, value));
    }
  }
  return lines;
}

function histogramLines(family: Family, labels: Labels, value: Histogram): string[] {
  const { name, bounds = [], scale = 1 } = family;
  const counts = value.cumulative(bounds.map((bound) => bound / scale));
  const bucket = (le: string, count: number): string =>
    `${name}_bucket${labelText({ ...labels, le })} ${count}`;
  return [
    ...bounds.map((bound, i) => bucket(number(bound), counts[i] ?? 0)),
    bucket("+Inf", value.count),
    `${name}_sum${labelText(labels)} ${number(value.sum * scale)}`,
    `${name}_count${labelText(labels)} ${value.count}`,
  ];
}

function labelText(labels: Labels): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escapeLabel(value)}"`);
  return pairs.length === 0 ? "" : `{${pairs.join(",")}}`;
}

function escapeLabel(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll('"', '\\"');
}

function escapeHelp(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
}

function number(value: number): string {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "+Inf" : "-Inf";
  return String(value);
}
