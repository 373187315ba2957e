// What is asked of the server when somebody scrapes: queues, readiness, saturation, memory.

import type { Clock } from "../base/clock.ts";
import type { FamilyHead, Labels, Sample } from "../observe/exposition.ts";
import type { OtlpExporter } from "../observe/otlp-exporter.ts";
import type { MetricRegistry } from "../observe/registry.ts";
import { VERSION_LABELS } from "./metric-families.ts";

/** The state of a version now. Bytes and milliseconds. */
export interface VersionReadings {
  readonly ready: boolean;
  readonly queue: {
    readonly requests: number;
    readonly rows: number;
    readonly bytes: number;
    /** How long the oldest has waited; 0 where none does. */
    readonly oldestMs: number;
  };
  /** Requests whose batch runs. */
  readonly inFlight: number;
  readonly processes: readonly ProcessReadings[];
}

/** One process of a version. */
export interface ProcessReadings {
  /** Which of the version's: a name that stays when the process is replaced. */
  readonly slot: string;
  readonly residentBytes: number;
  readonly peakResidentBytes: number;
  /** Resident bytes with shared pages divided among their users, where the system tells. */
  readonly proportionalBytes?: number | undefined;
  /** The most that it is predicted to hold with what was admitted. */
  readonly predictedBytes?: number | undefined;
}

/** What all gauges of one scrape are made from, so that each version is asked once. */
export interface ReadingsSnapshot {
  readonly versions: readonly {
    readonly labels: Labels;
    readonly saturation: number;
    readonly readings: VersionReadings;
  }[];
}

/** Declares the gauges of all versions that are watched. */
export function observeReadings(registry: MetricRegistry, snapshot: ReadingsSnapshot): void {
  const gauge = (
    name: string,
    help: string,
    value: (readings: VersionReadings, saturation: number) => number,
  ): void =>
    registry.observe(headOf(name, help), () =>
      snapshot.versions.map(({ labels, saturation, readings }) => ({
        labels,
        value: value(readings, saturation),
      })),
    );
  gauge("skipway_model_ready", "1 while the model answers", (one) => Number(one.ready));
  gauge("skipway_requests_waiting", "Requests in the queue", (one) => one.queue.requests);
  gauge("skipway_queue_rows", "Rows of the requests in the queue", (one) => one.queue.rows);
  gauge("skipway_queue_bytes", "Bytes of the tensors in the queue", (one) => one.queue.bytes);
  gauge(
    "skipway_queue_oldest_seconds",
    "Seconds that the oldest request in the queue has waited",
    (one) => one.queue.oldestMs / 1000,
  );
  gauge("skipway_requests_in_flight", "Requests whose batch runs", (one) => one.inFlight);
  gauge(
    "skipway_model_saturation_ratio",
    "Share of the last 15 seconds in which a batch of the model ran",
    (_, saturation) => saturation,
  );
  observeProcesses(registry, snapshot);
}

function observeProcesses(registry: MetricRegistry, snapshot: ReadingsSnapshot): void {
  const gauge = (
    name: string,
    help: string,
    value: (process: ProcessReadings) => number | undefined,
  ): void =>
    registry.observe(headOf(name, help, "process"), () =>
      snapshot.versions.flatMap(({ labels, readings }) =>
        readings.processes.flatMap((process): Sample[] => {
          const found = value(process);
          const own = { ...labels, process: process.slot };
          return found === undefined ? [] : [{ labels: own, value: found }];
        }),
      ),
    );
  const name = (what: string): string => `skipway_process_${what}_bytes`;
  gauge(name("resident"), "Resident bytes of the model's process", (one) => one.residentBytes);
  gauge(
    name("peak_resident"),
    "Most resident bytes that the model's process has had",
    (one) => one.peakResidentBytes,
  );
  gauge(
    name("proportional"),
    "Resident bytes of the model's process, shared pages divided among their users (PSS)",
    (one) => one.proportionalBytes,
  );
  gauge(
    name("predicted"),
    "Most bytes that the model's process is predicted to hold with what it was given",
    (one) => one.predictedBytes,
  );
}

/** Bytes that all processes together may hold, and what is promised of them. */
export interface BudgetReadings {
  readonly budgetBytes: number;
  readonly usedBytes: number;
}

/** Declares the gauges of the memory budget. */
export function observeBudget(registry: MetricRegistry, readings: () => BudgetReadings): void {
  const gauge = (name: string, help: string, value: (one: BudgetReadings) => number): void =>
    registry.observe({ name, type: "gauge", help, labels: [] }, () => [
      { labels: {}, value: value(readings()) },
    ]);
  gauge(
    "skipway_memory_budget_bytes",
    "Bytes that all processes of models together may hold",
    (one) => one.budgetBytes,
  );
  gauge(
    "skipway_memory_budget_used_bytes",
    "Bytes of the budget that processes hold or were promised",
    (one) => one.usedBytes,
  );
}

/** Declares the counters of traces. */
export function observeTraces(
  registry: MetricRegistry,
  exporter: Pick<OtlpExporter, "counts"> | undefined,
): void {
  const sent = "Traces that the collector took";
  registry.observe({ name: "skipway_traces_sent", type: "counter", help: sent, labels: [] }, () =>
    exporter === undefined ? [] : [{ labels: {}, value: exporter.counts().sent }],
  );
  const help = "Traces that did not reach the collector, by reason";
  const head = { name: "skipway_traces_dropped", type: "counter", help } as const;
  registry.observe({ ...head, labels: ["reason"] }, () =>
    Object.entries(exporter?.counts().dropped ?? {}).map(([reason, value]) => ({
      labels: { reason },
      value,
    })),
  );
}

/** How a receiver of events does. Counts since the server started. */
export interface WebhookReadings {
  readonly webhook: string;
  readonly delivered: number;
  /** Tries that failed. */
  readonly failed: number;
  /** Events that it was not told, and will not be. */
  readonly givenUp: number;
  /** Events that it is still to be told. */
  readonly undelivered: number;
  /** When the oldest of them happened, since the epoch; null where there is none. */
  readonly oldestMs: number | null;
  /** null while it takes what it is sent. */
  readonly failure: { readonly sinceMs: number; readonly why: string } | null;
}

/** Declares what becomes of the events that webhooks are told. */
export function observeWebhooks(
  registry: MetricRegistry,
  clock: Clock,
  readings: () => readonly WebhookReadings[],
): void {
  const name = "skipway_webhook_deliveries";
  const help =
    "Tries to tell a webhook of an event, by what became of them; given-up: events that it is told no more, after three days";
  registry.observe({ name, type: "counter", help, labels: ["webhook", "result"] }, () =>
    readings().flatMap(({ webhook, delivered, failed, givenUp }) =>
      Object.entries({ delivered, failed, "given-up": givenUp }).map(([result, value]) => ({
        labels: { webhook, result },
        value,
      })),
    ),
  );
  const gauge = (what: string, meaning: string, value: (one: WebhookReadings) => number): void =>
    registry.observe(
      { name: `skipway_webhook_${what}`, type: "gauge", help: meaning, labels: ["webhook"] },
      () => readings().map((one) => ({ labels: { webhook: one.webhook }, value: value(one) })),
    );
  gauge("failing", "1 while the webhook does not take what it is sent", (one) =>
    Number(one.failure !== null),
  );
  gauge("undelivered", "Events that the webhook has not taken yet", (one) => one.undelivered);
  gauge(
    "undelivered_oldest_seconds",
    "Seconds since the oldest of those events happened; 0 where there is none",
    ({ oldestMs }) => (oldestMs === null ? 0 : Math.max(0, clock.nowMs() - oldestMs) / 1000),
  );
}

function headOf(name: string, help: string, ...more: readonly string[]) {
  const head: FamilyHead = { name, type: "gauge", help };
  return { ...head, labels: [...VERSION_LABELS, ...more] };
}
