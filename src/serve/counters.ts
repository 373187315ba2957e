// What one version has done, in numbers that only grow, and the last minute. No labels, no text: the metrics
// and the statistics extension read from here.

import type { Clock } from "../base/clock.ts";
import { Histogram } from "../observe/histogram.ts";
import { SlidingHistogram } from "../observe/window.ts";
import type { FailureReason } from "./errors.ts";
import type { VersionCounts } from "./extensions.ts";
import { LastRequests } from "./last-requests.ts";

/** One answered request. Milliseconds. */
export interface AnsweredRequest {
  readonly rows: number;
  readonly totalMs: number;
  readonly queueMs: number;
}

/** One run of the model. Milliseconds. */
export interface BatchRun {
  readonly rows: number;
  /** Requests that it answered. */
  readonly requests: number;
  readonly inputMs: number;
  readonly inferMs: number;
  readonly outputMs: number;
}

type Running = { count: number; ms: number };

interface BatchTotals {
  readonly rows: number;
  readonly computeInput: Running;
  readonly computeInfer: Running;
  readonly computeOutput: Running;
}

/** The window of live latencies. */
export const WINDOW_MS = 60_000;
const SLOT_MS = 5000;
/** Rows that are told apart: beyond, a batch counts for the next power of two. */
const ROWS_APART = 64;

/** Counts for one version of a model. */
export class Counters {
  /** Durations of all answered requests, in milliseconds. */
  readonly durations: Histogram = new Histogram();
  readonly recent: SlidingHistogram;
  readonly lastRequests: LastRequests = new LastRequests();
  readonly failures: Map<FailureReason, number> = new Map();
  readonly queue: Running = { count: 0, ms: 0 };
  readonly success: Running = { count: 0, ms: 0 };
  readonly fail: Running = { count: 0, ms: 0 };
  /** Runs of the model by the rows of their batch. */
  readonly batches: Map<number, BatchTotals> = new Map();
  /** As Triton counts them: each answered request with the whole run of its batch. */
  readonly #compute: Omit<BatchTotals, "rows"> = nothingComputed();
  inferences = 0;
  executions = 0;
  /** Milliseconds since the Unix epoch. */
  lastInferenceMs: number | undefined;
  readonly #clock: Clock;
  #batch: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    // Unique also beside those before a restart: nobody runs a batch each microsecond.
    this.#batch = 1000 * Math.floor(clock.nowMs());
    this.recent = new SlidingHistogram(clock, { windowMs: WINDOW_MS, slotMs: SLOT_MS });
  }

  /** The number of the next batch. */
  nextBatch(): number {
    return ++this.#batch;
  }

  /** For the statistics extension. */
  snapshot(): VersionCounts {
    return {
      lastInferenceMs: this.lastInferenceMs,
      inferences: this.inferences,
      executions: this.executions,
      success: this.success,
      fail: this.fail,
      queue: this.queue,
      ...this.#compute,
      batches: [...this.batches.values()],
    };
  }

  answered({ rows, totalMs, queueMs }: AnsweredRequest): void {
    this.durations.record(totalMs);
    this.recent.record(totalMs);
    this.inferences += rows;
    this.lastInferenceMs = this.#clock.nowMs();
    add(this.success, totalMs);
    add(this.queue, queueMs);
  }

  failed(reason: FailureReason, totalMs: number): void {
    this.failures.set(reason, (this.failures.get(reason) ?? 0) + 1);
    add(this.fail, totalMs);
  }

  ran({ rows, requests, inputMs, inferMs, outputMs }: BatchRun): void {
    this.executions++;
    const key = rows <= ROWS_APART ? rows : 2 ** Math.ceil(Math.log2(rows));
    let totals = this.batches.get(key);
    if (totals === undefined) {
      totals = { rows: key, ...nothingComputed() };
      this.batches.set(key, totals);
    }
    for (const [into, times] of [
      [totals, 1],
      [this.#compute, requests],
    ] as const) {
      add(into.computeInput, inputMs, times);
      add(into.computeInfer, inferMs, times);
      add(into.computeOutput, outputMs, times);
    }
  }
}

function nothing(): Running {
  return { count: 0, ms: 0 };
}

function nothingComputed(): Omit<BatchTotals, "rows"> {
  return { computeInput: nothing(), computeInfer: nothing(), computeOutput: nothing() };
}

function add(total: Running, ms: number, times = 1): void {
  total.count += times;
  total.ms += ms * times;
}

/** Of a version that has not done anything. */
export const NO_COUNTS: VersionCounts = {
  lastInferenceMs: undefined,
  inferences: 0,
  executions: 0,
  success: nothing(),
  fail: nothing(),
  queue: nothing(),
  ...nothingComputed(),
  batches: [],
};
