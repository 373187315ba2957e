// The last half hour of each version, a point each few seconds: bounded, so that a server can be up for a year.

import type { HistorySeries, ServingStatus, VersionStatus } from "./api.ts";
import { keyOf } from "./on-call-changes.ts";

/** Between two points. Live quantiles are of windows that move in steps of five seconds: more would show no more. */
export const STEP_MS = 5000;
/** Half an hour: long enough to see what a release did. Some 30 KB for each version. */
export const POINTS_MAX = 360;

type Mutable<T> = { -readonly [K in keyof T]: T[K] extends readonly (infer E)[] ? E[] : T[K] };
type Series = Mutable<HistorySeries>;
type Column = Exclude<keyof Series, "model" | "version">;

/** Histories of the versions that are there. */
export class History {
  readonly #series = new Map<string, Series>();

  /** Adds a point to each version; forgets those that are gone. */
  add({ models }: Pick<ServingStatus, "models">, atMs: number): void {
    const there = new Set(models.map(keyOf));
    for (const key of this.#series.keys()) if (!there.has(key)) this.#series.delete(key);
    for (const status of models) {
      const key = keyOf(status);
      const series = this.#series.get(key) ?? emptySeries(status);
      this.#series.set(key, series);
      addPoint(series, status, atMs);
    }
  }

  series(): readonly HistorySeries[] {
    return [...this.#series.values()];
  }
}

function addPoint(series: Series, status: VersionStatus, atMs: number): void {
  const { outcomes, latency, batches, readings } = status;
  const point: Readonly<Record<Column, number | null>> = {
    atMs,
    ratePerSecond: status.ratePerSecond,
    p50Ms: latency.p50Ms,
    p99Ms: latency.p99Ms,
    queued: readings.queue.requests,
    saturation: status.saturation,
    good: outcomes.good,
    failed: total(outcomes.failed),
    refused: total(outcomes.refused),
    runs: batches.runs,
    rows: batches.rows,
  };
  for (const [column, value] of Object.entries(point)) {
    // The names are those of the record above.
    const values = series[column as Column] as (number | null)[];
    values.push(value);
    if (values.length > POINTS_MAX) values.shift();
  }
}

function emptySeries({ model, version }: VersionStatus): Series {
  return {
    ...{ model, version, atMs: [], ratePerSecond: [], p50Ms: [], p99Ms: [], queued: [] },
    ...{ saturation: [], good: [], failed: [], refused: [], runs: [], rows: [] },
  };
}

function total(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((a, b) => a + b, 0);
}
