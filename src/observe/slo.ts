// Objectives: what a model has promised. One file, `slo.json`, for the release check, the pages and the alerts;
// single ones on a command line are written `p99=50ms`.

import { diagnostic } from "../base/diagnostic.ts";
import { SkipwayError } from "../base/errors.ts";
import { parseDuration } from "../base/format.ts";

/** A bound on a quantile of latency. */
export interface LatencyObjective {
  /** 0.99 for P99. */
  readonly p: number;
  readonly ms: number;
}

/** What one model has promised. */
export interface Objectives {
  readonly latency: readonly LatencyObjective[];
  /** Share of requests that are answered well, such as 0.999. */
  readonly availability?: number;
  /** The time over which the promises hold, in days. */
  readonly windowDays: number;
}

/** Objectives by the name of a model; `*` is for those that have none of their own. */
export type Slo = ReadonlyMap<string, Objectives>;

/** Four weeks: weekends count the same in every window (Google SRE Workbook, chapter 2). */
const WINDOW_DAYS = 28;

/** Nothing promised. */
export const NO_OBJECTIVES: Objectives = { latency: [], windowDays: WINDOW_DAYS };

/** The objectives of a model. */
export function objectivesOf(slo: Slo, model: string): Objectives {
  return slo.get(model) ?? slo.get("*") ?? NO_OBJECTIVES;
}

/** Reads `p99=50ms` or `p99.9=1s`; undefined for anything else. */
export function parseLatencyObjective(text: string): LatencyObjective | undefined {
  const [name = "", value = "", ...more] = text.split("=");
  const percent = /^p(\d{1,2}(?:\.\d+)?)$/.exec(name.trim())?.[1];
  const ms = parseDuration(value);
  if (percent === undefined || Number(percent) === 0 || ms === undefined || ms <= 0)
    return undefined;
  return more.length > 0 ? undefined : { p: Number((Number(percent) / 100).toFixed(6)), ms };
}

/**
 * Reads `{"models": {"NAME": {"latency": {"p99": "50ms"}, "availability": "99.9%", "window": "28d"}}}`.
 *
 * @throws SkipwayError `input` with every fault of the text.
 */
export function parseSlo(text: string, where: string): Slo {
  const faults: string[] = [];
  const slo = new Map<string, Objectives>();
  const models = fieldsOf(fieldsOf(parsed(text, faults)).get("models"));
  if (models.size === 0 && faults.length === 0) faults.push('has no "models" with objectives');
  for (const [name, value] of models) {
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      faults.push(`${name.slice(0, 64)}: its objectives are no object`);
    }
    slo.set(name, readObjectives(name, fieldsOf(value), faults));
  }
  if (faults.length === 0) return slo;
  throw SkipwayError.fromDiagnostics(
    "input",
    faults.map((fault) =>
      diagnostic({
        id: "slo/invalid",
        severity: "error",
        where,
        text: fault,
        fix: 'Write it as {"models": {"NAME": {"latency": {"p99": "50ms"}, "availability": "99.9%", "window": "28d"}}}.',
      }),
    ),
  );
}

function readObjectives(
  name: string,
  fields: ReadonlyMap<string, unknown>,
  faults: string[],
): Objectives {
  const unknown = [...fields.keys()].filter(
    (key) => !["latency", "availability", "window"].includes(key),
  );
  for (const key of unknown) faults.push(`${name}: there is no objective "${key.slice(0, 64)}"`);
  const latency: LatencyObjective[] = [];
  for (const [quantile, value] of fieldsOf(fields.get("latency"))) {
    const found = parseLatencyObjective(`${quantile}=${String(value)}`);
    if (found === undefined)
      faults.push(
        `${name}: latency "${quantile.slice(0, 64)}" is no objective such as "p99": "50ms"`,
      );
    else latency.push(found);
  }
  const availability = shareOf(fields.get("availability"));
  if (availability === "wrong")
    faults.push(`${name}: availability is no share such as "99.9%" or 0.999`);
  const days = daysOf(fields.get("window"));
  if (days === undefined) faults.push(`${name}: window is no time such as "28d"`);
  return {
    latency,
    ...(typeof availability === "number" ? { availability } : {}),
    windowDays: days ?? WINDOW_DAYS,
  };
}

function shareOf(value: unknown): number | "wrong" | undefined {
  if (value === undefined) return undefined;
  const percent = typeof value === "string" ? /^(\d+(?:\.\d+)?)\s*%$/.exec(value)?.[1] : undefined;
  const share = percent === undefined ? value : Number((Number(percent) / 100).toFixed(9));
  return typeof share === "number" && share > 0 && share < 1 ? share : "wrong";
}

function daysOf(value: unknown): number | undefined {
  if (value === undefined) return WINDOW_DAYS;
  const ms = typeof value === "string" ? parseDuration(value) : undefined;
  return ms === undefined || ms <= 0 ? undefined : ms / 86_400_000;
}

function parsed(text: string, faults: string[]): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    faults.push(`is no JSON: ${error instanceof Error ? error.message : String(error)}`);
    return undefined;
  }
}

function fieldsOf(value: unknown): ReadonlyMap<string, unknown> {
  const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
  return new Map(isObject ? Object.entries(value) : []);
}
