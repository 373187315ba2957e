// The server's metric families: name, labels, meaning. docs/reference/metrics.md is written from them.

import type { HistogramScale } from "../observe/histogram.ts";
import type { Counter, Handles, HistogramSeries, MetricRegistry } from "../observe/registry.ts";

/** Labels of everything that a version of a model does. */
export const VERSION_LABELS: readonly string[] = ["model", "version", "digest", "role"];

/** Seconds from 8 µs to 17 minutes, within 1.1 %. */
const SECONDS: HistogramScale = { schema: 5, minExponent: -17, maxExponent: 10 };
/** From below a tiny model to a request that nobody waits for. */
const SECOND_BOUNDS: readonly number[] = [
  0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
];
const ROWS: HistogramScale = { schema: 3, minExponent: -1, maxExponent: 16 };
const ROW_BOUNDS: readonly number[] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];
const BYTES: HistogramScale = { schema: 3, minExponent: 6, maxExponent: 38 };
const BYTE_BOUNDS: readonly number[] = [
  2 ** 14,
  2 ** 17,
  2 ** 20,
  2 ** 23,
  2 ** 26,
  2 ** 29,
  2 ** 32,
];

/** Handles of what is counted as it happens. */
export interface ServerFamilies {
  readonly requests: Handles<Counter>;
  readonly failures: Handles<Counter>;
  readonly refusals: Handles<Counter>;
  readonly retried: Handles<Counter>;
  readonly deadlineMisses: Handles<Counter>;
  readonly duration: Handles<HistogramSeries>;
  readonly queue: Handles<HistogramSeries>;
  readonly computeInput: Handles<HistogramSeries>;
  readonly computeInfer: Handles<HistogramSeries>;
  readonly computeOutput: Handles<HistogramSeries>;
  readonly send: Handles<HistogramSeries>;
  readonly rows: Handles<Counter>;
  readonly bytesIn: Handles<Counter>;
  readonly bytesOut: Handles<Counter>;
  readonly shapes: Handles<Counter>;
  readonly batchRows: Handles<HistogramSeries>;
  readonly busySeconds: Handles<Counter>;
  readonly memoryPerInference: Handles<HistogramSeries>;
  readonly outOfMemory: Handles<Counter>;
  readonly restarts: Handles<Counter>;
  readonly shadows: Handles<Counter>;
  readonly gatedRows: Handles<Counter>;
  readonly skipsTaken: Handles<Counter>;
}

/** Declares them. */
export function serverFamilies(registry: MetricRegistry): ServerFamilies {
  const counter = (name: string, help: string, ...more: readonly string[]): Handles<Counter> =>
    registry.counter({ name, help, labels: [...VERSION_LABELS, ...more] });
  return {
    ...requestFamilies(counter),
    ...phaseFamilies(registry),
    ...batchFamilies(registry, counter),
    outOfMemory: counter(
      "skipway_out_of_memory",
      "Times that memory ran out, by how it showed",
      "cause",
    ),
    restarts: counter(
      "skipway_process_restarts",
      "Processes of the model that were given up, by cause",
      "cause",
    ),
    shadows: counter(
      "skipway_shadow_comparisons",
      "Copies of requests for a shadow, by what became of them",
      "result",
    ),
    gatedRows: counter(
      "skipway_model_gated_rows",
      "Rows that came to a gate of the model, an output that says whether a block is run",
      "gate",
    ),
    skipsTaken: counter(
      "skipway_model_skips_taken",
      "Rows for which the block behind the gate was left out",
      "gate",
    ),
  };
}

type Count = (name: string, help: string, ...more: readonly string[]) => Handles<Counter>;

function requestFamilies(counter: Count) {
  return {
    requests: counter("skipway_requests", "Requests answered by the model"),
    failures: counter(
      "skipway_request_failures",
      "Requests refused or failed, by reason; with skipway_requests_total all that were sent. Those that name no model or version of this server have empty labels",
      "reason",
    ),
    refusals: counter(
      "skipway_request_refusals",
      "Those of the failures that the server refused to take on as it was loaded, not ready or had no leave",
      "reason",
    ),
    retried: counter(
      "skipway_retried",
      "Requests that a candidate failed and that stable was asked again, by reason; they are counted once, as stable's",
      "reason",
    ),
    deadlineMisses: counter(
      "skipway_deadline_misses",
      "Requests with a deadline that had no answer when it passed",
    ),
    rows: counter("skipway_inferences", "Rows that answered requests had"),
    bytesIn: counter("skipway_request_bytes", "Bytes of the bodies of requests, as they came"),
    bytesOut: counter("skipway_response_bytes", "Bytes of the bodies of answers, as they went"),
    shapes: counter(
      "skipway_input_shape_requests",
      "Answered requests by the shapes of their inputs without the rows; beyond 16 of a version, other",
      "shape",
    ),
  };
}

function phaseFamilies(registry: MetricRegistry) {
  const seconds = (name: string, help: string): Handles<HistogramSeries> =>
    registry.histogram({
      name: `skipway_${name}_duration_seconds`,
      help,
      labels: VERSION_LABELS,
      scale: SECONDS,
      bounds: SECOND_BOUNDS,
    });
  return {
    duration: seconds(
      "request",
      "Seconds from the head of an answered request to the end of its answer",
    ),
    queue: seconds("queue", "Seconds that answered requests waited for their batch"),
    computeInput: seconds(
      "compute_input",
      "Seconds until the batch of an answered request began to run",
    ),
    computeInfer: seconds("compute_infer", "Seconds that the batch of an answered request ran"),
    computeOutput: seconds(
      "compute_output",
      "Seconds in which an answer was taken out of its batch",
    ),
    send: seconds("send", "Seconds from the answer of the model to the end of sending it"),
  };
}

function batchFamilies(registry: MetricRegistry, counter: Count) {
  return {
    batchRows: registry.histogram({
      name: "skipway_batch_rows",
      help: "Rows of the batches that ran",
      labels: VERSION_LABELS,
      scale: ROWS,
      bounds: ROW_BOUNDS,
    }),
    busySeconds: counter(
      "skipway_model_busy_seconds",
      "Seconds in which a batch of the model ran; its rate is the saturation",
    ),
    memoryPerInference: registry.histogram({
      name: "skipway_inference_memory_bytes",
      help: "Bytes that a batch was admitted with, for each of its rows",
      labels: VERSION_LABELS,
      scale: BYTES,
      bounds: BYTE_BOUNDS,
    }),
  };
}
