// Metrics as text, in the Prometheus exposition format 0.0.4 and in OpenMetrics 1.0 with exemplars, and
// which format a scraper asks for.

import type { NativeBuckets } from "./histogram.ts";

/** Labels of one series. */
export type Labels = Readonly<Record<string, string>>;

/** One event of a series that a trace shows. */
export interface Exemplar {
  readonly traceId: string;
  readonly value: number;
  /** Milliseconds since the Unix epoch. */
  readonly atMs: number;
}

/** The state of a histogram. */
export interface HistogramValue {
  readonly count: number;
  readonly sum: number;
  /** Upper bounds, ascending, in the unit of the name; the one of infinity is left out. */
  readonly bounds: readonly number[];
  /** Events at or below each bound. */
  readonly cumulative: readonly number[];
  /** The last of each bucket, that of infinity too. */
  readonly exemplars?: readonly (Exemplar | undefined)[];
  readonly native?: () => NativeBuckets;
}

/** One series of a family. */
export interface Sample {
  readonly labels: Labels;
  readonly value: number | HistogramValue;
  /** Of a counter: an event that it counted. */
  readonly exemplar?: Exemplar | undefined;
}

/** What a family is, without its series. */
export interface FamilyHead {
  /** Counters are named without `_total`, which the format adds. */
  readonly name: string;
  readonly type: "counter" | "gauge" | "histogram";
  readonly help: string;
  /**
   * A counter that has no `_total` where it comes from, and must be found under that name: Triton's.
   * OpenMetrics has no such counters; there it is of an unknown type, which changes no query.
   */
  readonly bare?: boolean;
}

/** A family of series. */
export interface Family extends FamilyHead {
  readonly samples: readonly Sample[];
}

/** Which exposition format. */
export type Format = "prometheus" | "openmetrics" | "protobuf";

/** The `Content-Type` of a format. */
export const CONTENT_TYPES: Readonly<Record<Format, string>> = {
  prometheus: "text/plain; version=0.0.4; charset=utf-8",
  openmetrics: "application/openmetrics-text; version=1.0.0; charset=utf-8",
  protobuf:
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
};

/** Media ranges of an `Accept` header that are looked at: a scraper sends five. */
const RANGES_MAX = 32;

/** Which format an `Accept` header prefers (RFC 9110 12.5.1); of equals the one named first. */
export function formatFor(accept: string | undefined): Format {
  let best: Format = "prometheus";
  let bestQuality = 0;
  for (const range of (accept ?? "").split(",", RANGES_MAX)) {
    const [type = "", ...parameters] = range.split(";").map((part) => part.trim().toLowerCase());
    const format = formatOf(type, parameters);
    const given = parameters.find((one) => one.startsWith("q="))?.slice(2);
    const quality = given === undefined ? 1 : Number(given);
    if (format === undefined || !(quality > bestQuality)) continue;
    best = format;
    bestQuality = quality;
  }
  return best;
}

function formatOf(type: string, parameters: readonly string[]): Format | undefined {
  if (type === "text/plain" || type === "text/*" || type === "*/*") return "prometheus";
  if (type === "application/openmetrics-text") return "openmetrics";
  const protobuf =
    type === "application/vnd.google.protobuf" &&
    parameters.includes("proto=io.prometheus.client.metricfamily") &&
    parameters.includes("encoding=delimited");
  return protobuf ? "protobuf" : undefined;
}

/** The text of all families. */
export function exposeText(
  families: readonly Family[],
  format: "prometheus" | "openmetrics",
): string {
  const lines: string[] = [];
  for (const family of families) addFamily(lines, family, format === "openmetrics");
  if (format === "openmetrics") lines.push("# EOF");
  return `${lines.join("\n")}\n`;
}

/** The unit that a name ends in, which OpenMetrics wants told. */
export function unitOf(name: string): string | undefined {
  return /_(seconds|bytes|ratio)$/.exec(name)?.[1];
}

/** The suffix of a counter's series. */
export function suffixOf(family: FamilyHead): "" | "_total" {
  return family.type === "counter" && family.bare !== true ? "_total" : "";
}

function addFamily(lines: string[], family: Family, open: boolean): void {
  const suffix = suffixOf(family);
  // OpenMetrics names the family of a counter without the suffix, the older format with it.
  const name = open ? family.name : `${family.name}${suffix}`;
  const type = open && family.bare === true ? "unknown" : family.type;
  lines.push(`# HELP ${name} ${escapeHelp(family.help, open)}`, `# TYPE ${name} ${type}`);
  const unit = unitOf(family.name);
  if (open && unit !== undefined) lines.push(`# UNIT ${name} ${unit}`);
  for (const { labels, value, exemplar } of family.samples) {
    const pairs = pairsOf(labels);
    if (typeof value === "number") {
      const shown = open && suffix !== "" ? exemplarText(exemplar) : "";
      lines.push(`${family.name}${suffix}${braced(pairs)} ${numberText(value)}${shown}`);
    } else {
      addHistogram(lines, { name: family.name, pairs, value, open });
    }
  }
}

function addHistogram(
  lines: string[],
  of: { name: string; pairs: string; value: HistogramValue; open: boolean },
): void {
  const { name, pairs, value, open } = of;
  const lead = `${name}_bucket{${pairs === "" ? "" : `${pairs},`}le="`;
  const shown = (i: number): string => (open ? exemplarText(value.exemplars?.[i]) : "");
  for (const [i, bound] of value.bounds.entries()) {
    lines.push(`${lead}${boundText(bound, open)}"} ${value.cumulative[i] ?? 0}${shown(i)}`);
  }
  lines.push(
    `${lead}+Inf"} ${value.count}${shown(value.bounds.length)}`,
    `${name}_sum${braced(pairs)} ${numberText(value.sum)}`,
    `${name}_count${braced(pairs)} ${value.count}`,
  );
}

/** OpenMetrics 1.0 writes bounds as floats: 1.0, not 1. */
function boundText(bound: number, open: boolean): string {
  return open && Number.isInteger(bound) && Math.abs(bound) < 1e21
    ? bound.toFixed(1)
    : numberText(bound);
}

function exemplarText(exemplar: Exemplar | undefined): string {
  if (exemplar === undefined) return "";
  const { traceId, value, atMs } = exemplar;
  return ` # {trace_id="${escapeLabel(traceId)}"} ${numberText(value)} ${(atMs / 1000).toFixed(3)}`;
}

function pairsOf(labels: Labels): string {
  let text = "";
  for (const name in labels) {
    text += `${text === "" ? "" : ","}${name}="${escapeLabel(labels[name] ?? "")}"`;
  }
  return text;
}

function braced(pairs: string): string {
  return pairs === "" ? "" : `{${pairs}}`;
}

function escapeLabel(text: string): string {
  if (!/[\\\n"]/.test(text)) return text;
  return text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll('"', '\\"');
}

function escapeHelp(text: string, open: boolean): string {
  const escaped = text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
  return open ? escaped.replaceAll('"', '\\"') : escaped;
}

function numberText(value: number): string {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "+Inf" : "-Inf";
  return String(value);
}
