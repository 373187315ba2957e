// Names of the Triton server for what means the same here, so that dashboards and autoscalers that were
// made for it go on working. Shadows have no place in them: no client waits for one.

import { freemem, totalmem } from "node:os";
import type { Labels, Sample } from "../observe/exposition.ts";
import type { Counter, Handles, HistogramSeries, MetricRegistry } from "../observe/registry.ts";
import type { ServerFamilies } from "./metric-families.ts";
import type { ReadingsSnapshot } from "./metric-readings.ts";

const LABELS: readonly string[] = ["model", "version"];

/** What our reasons are called there (docs/user_guide/metrics.md of Triton); all others are OTHER. */
const REASONS: Readonly<Record<string, string>> = {
  canceled: "CANCELED",
  runtime: "BACKEND",
  "process-died": "BACKEND",
};

/** Declares them. */
export function observeTritonNames(
  registry: MetricRegistry,
  families: ServerFamilies,
  snapshot: ReadingsSnapshot,
): void {
  const counter = (
    name: string,
    help: string,
    labels: readonly string[],
    collect: () => Sample[],
  ) => registry.observe({ name, type: "counter", help, labels, bare: true }, collect);
  const counts = (name: string, help: string, family: Handles<Counter>): void =>
    counter(name, help, LABELS, () => summed(family, ({ value }) => value));
  const micros = (name: string, help: string, family: Handles<HistogramSeries>): void =>
    counter(`nv_inference_${name}_duration_us`, help, LABELS, () =>
      summed(family, ({ data }) => Math.round(data.value().sum * 1e6)),
    );
  counts("nv_inference_request_success", "Requests answered by the model", families.requests);
  counter("nv_inference_request_failure", "Requests refused or failed", [...LABELS, "reason"], () =>
    summed(failuresOf(families), ({ value }) => value, "reason"),
  );
  counts("nv_inference_count", "Rows that answered requests had", families.rows);
  counter("nv_inference_exec_count", "Batches that ran", LABELS, () =>
    summed(families.batchRows, ({ data }) => data.value().count),
  );
  micros("request", "Microseconds of answered requests", families.duration);
  micros("queue", "Microseconds that answered requests waited", families.queue);
  micros("compute_input", "Microseconds until their batches began to run", families.computeInput);
  micros("compute_infer", "Microseconds that their batches ran", families.computeInfer);
  micros("compute_output", "Microseconds in which answers were taken out", families.computeOutput);
  const gauge = (name: string, help: string, labels: readonly string[], collect: () => Sample[]) =>
    registry.observe({ name, type: "gauge", help, labels }, collect);
  gauge("nv_inference_pending_request_count", "Requests in the queue", LABELS, () =>
    added(
      snapshot.versions.map((one) => ({ labels: one.labels, value: one.readings.queue.requests })),
      LABELS,
    ),
  );
  gauge("nv_cpu_memory_total_bytes", "Memory of the machine", [], () => [
    { labels: {}, value: totalmem() },
  ]);
  gauge("nv_cpu_memory_used_bytes", "Memory of the machine that is in use", [], () => [
    { labels: {}, value: totalmem() - freemem() },
  ]);
}

type Entries<T> = Pick<Handles<T>, "entries">;

/** Failures with Triton's reasons; what was refused is REJECTED. */
function failuresOf({ failures, refusals }: ServerFamilies): Entries<{ readonly value: number }> {
  return {
    *entries() {
      for (const { labels, handle } of refusals.entries()) {
        yield { labels: { ...labels, reason: "REJECTED" }, handle };
      }
      const refused = new Map(
        [...refusals.entries()].map(({ labels, handle }) => [JSON.stringify(labels), handle.value]),
      );
      for (const { labels, handle } of failures.entries()) {
        const value = handle.value - (refused.get(JSON.stringify(labels)) ?? 0);
        const reason = REASONS[labels["reason"] ?? ""] ?? "OTHER";
        yield { labels: { ...labels, reason }, handle: { value } };
      }
    },
  };
}

/** A family's series added over digests and roles. */
function summed<T>(
  family: Entries<T>,
  value: (handle: T) => number,
  ...more: readonly string[]
): Sample[] {
  const samples = [...family.entries()].map(({ labels, handle }) => ({
    labels,
    value: value(handle),
  }));
  return added(samples, [...LABELS, ...more]);
}

function added(
  samples: readonly { readonly labels: Labels; readonly value: number }[],
  names: readonly string[],
): Sample[] {
  const sums = new Map<string, { readonly labels: Labels; value: number }>();
  for (const { labels, value } of samples) {
    if (labels["role"] === "shadow") continue;
    const kept = Object.fromEntries(names.map((name) => [name, labels[name] ?? ""]));
    const key = JSON.stringify(kept);
    const found = sums.get(key) ?? { labels: kept, value: 0 };
    found.value += value;
    sums.set(key, found);
  }
  return [...sums.values()];
}
