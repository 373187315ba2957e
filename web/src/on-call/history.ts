// The history of a version as the page keeps it: what the server sent first, and what came since, no longer than
// the server's own. A page that is open for a day is no larger than a new one.

import type { HistorySeries, StatsEvent, VersionStatus } from "../../../src/dashboard/api.ts";

/** Histories by `model/version`. */
export type Histories = ReadonlyMap<string, HistorySeries>;

/** A version among all. */
export function keyOf({ model, version }: { model: string; version: number }): string {
  return `${model}/${version}`;
}

/** Histories with the point of an event; versions that are gone are gone here too. */
export function withPoint(before: Histories, event: StatsEvent, pointsMax: number): Histories {
  if (!event.kept) return withBeginnings(before, event, pointsMax);
  const after = new Map<string, HistorySeries>();
  for (const status of event.models) {
    const key = keyOf(status);
    after.set(key, added(before.get(key), status, event.atMs, pointsMax));
  }
  return after;
}

/** Versions that are new have a first point at once: what they do before the next one that is kept is growth. */
function withBeginnings(before: Histories, event: StatsEvent, pointsMax: number): Histories {
  const fresh = event.models.filter((status) => !before.has(keyOf(status)));
  if (fresh.length === 0) return before;
  const points = fresh.map(
    (status) => [keyOf(status), added(undefined, status, event.atMs, pointsMax)] as const,
  );
  return new Map([...before, ...points]);
}

function added(
  series: HistorySeries | undefined,
  status: VersionStatus,
  atMs: number,
  pointsMax: number,
): HistorySeries {
  const { outcomes, latency, batches, readings } = status;
  // The document that a page begins with may have been made by the same look as this event.
  if (series !== undefined && (series.atMs.at(-1) ?? 0) >= atMs) return series;
  const push = <T>(values: readonly T[] | undefined, value: T): T[] =>
    [...(values ?? []), value].slice(-pointsMax);
  return {
    model: status.model,
    version: status.version,
    atMs: push(series?.atMs, atMs),
    ratePerSecond: push(series?.ratePerSecond, status.ratePerSecond),
    p50Ms: push(series?.p50Ms, latency.p50Ms),
    p99Ms: push(series?.p99Ms, latency.p99Ms),
    queued: push(series?.queued, readings.queue.requests),
    saturation: push(series?.saturation, status.saturation),
    good: push(series?.good, outcomes.good),
    failed: push(series?.failed, total(outcomes.failed)),
    refused: push(series?.refused, total(outcomes.refused)),
    runs: push(series?.runs, batches.runs),
    rows: push(series?.rows, batches.rows),
  };
}

/** Sum of counts. */
export function total(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((a, b) => a + b, 0);
}

/** Where a chart ends: at the last point, or at what has happened since. */
export function lastMs(
  series: HistorySeries | undefined,
  marks: readonly { readonly atMs: number }[],
): number {
  return Math.max(series?.atMs.at(-1) ?? 0, ...marks.map(({ atMs }) => atMs));
}

/** The index of the first point of the last so many minutes. */
export function windowStart(atMs: readonly number[], nowMs: number, minutes: number): number {
  const from = nowMs - minutes * 60_000;
  const found = atMs.findIndex((at) => at >= from);
  return found < 0 ? atMs.length : found;
}

/** The counters that a history keeps. */
export type CounterName = "good" | "failed" | "refused" | "runs" | "rows";

/**
 * How much a counter has grown in the window, up to now. One that is less than before began anew: what it has
 * is new (as Prometheus' `increase` has it).
 */
export function increase(
  series: HistorySeries | undefined,
  counter: CounterName,
  now: { readonly value: number; readonly atMs: number; readonly minutes: number },
): number {
  const start = series === undefined ? 0 : windowStart(series.atMs, now.atMs, now.minutes);
  const values = [...(series?.[counter].slice(start) ?? []), now.value];
  return values.slice(1).reduce((sum, value, i) => {
    const before = values[i] ?? 0;
    return sum + (value >= before ? value - before : value);
  }, 0);
}
