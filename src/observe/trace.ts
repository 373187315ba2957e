// Which requests are kept as traces, and what is kept of one: times of its phases, from which spans are
// made only when it is sent.

import type { Clock } from "../base/clock.ts";
import type { TraceContext } from "./trace-context.ts";

/** What happens to a request, in this order: the spans of its trace. */
export const PHASES = ["receive", "admit", "queue", "batch", "infer", "split", "send"] as const;

/** One of them. */
export type Phase = (typeof PHASES)[number];

/** Value of a span's attribute. */
export type Attribute = string | number | boolean;

/** A request that is over. Times are milliseconds since the Unix epoch, with fractions. */
export interface FinishedTrace {
  readonly context: TraceContext;
  readonly name: string;
  readonly startMs: number;
  readonly endMs: number;
  readonly spans: readonly TraceSpan[];
  readonly attributes: Readonly<Record<string, Attribute>>;
  /** What failed, where something of the server's did. */
  readonly error: string | undefined;
}

/** A part of it. */
export interface TraceSpan {
  readonly name: string;
  /** Given where somebody else was told of it; else one is made. */
  readonly spanId?: string | undefined;
  readonly startMs: number;
  readonly endMs: number;
  readonly attributes?: Readonly<Record<string, Attribute>>;
}

/** Which traces are kept. */
export interface Sampling {
  /** Share of the requests without a caller's decision, 0 to 1. */
  readonly ratio: number;
  /** Kept besides, once their end is known: requests that took so long, and those that failed. */
  readonly slowMs: number;
  /** So many of those each second; an overload would make all of them. */
  readonly tailPerSecond: number;
}

/** Decides at the end of a request, when it is known how it went. */
export class TailSampler {
  readonly #sampling: Sampling;
  readonly #clock: Clock;
  #tokens: number;
  #atMs: number;

  constructor(sampling: Sampling, clock: Clock) {
    this.#sampling = sampling;
    this.#clock = clock;
    this.#tokens = sampling.tailPerSecond;
    this.#atMs = clock.monotonicMs();
  }

  /** Whether a request is kept that its beginning did not choose. */
  keeps(request: { readonly tookMs: number; readonly failed: boolean }): boolean {
    if (!request.failed && request.tookMs < this.#sampling.slowMs) return false;
    const now = this.#clock.monotonicMs();
    const { tailPerSecond } = this.#sampling;
    const refilled = this.#tokens + ((now - this.#atMs) / 1000) * tailPerSecond;
    this.#tokens = Math.min(tailPerSecond, refilled);
    this.#atMs = now;
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }
}
