// One request under observation, from its head to the end of its answer: what happens to it is told here
// once, and becomes counts, a trace and a line of the log. The edges (REST, gRPC) begin and end it.

import { type Clock, systemClock } from "../base/clock.ts";
import type { Exemplar, Labels } from "../observe/exposition.ts";
import type { OtlpExporter } from "../observe/otlp-exporter.ts";
import {
  type Attribute,
  PHASES,
  type Phase,
  type Sampling,
  TailSampler,
  type TraceSpan,
} from "../observe/trace.ts";
import {
  contextOf,
  randomHex,
  type TraceContext,
  traceparentOf,
} from "../observe/trace-context.ts";
import type { ServerMetrics, TimedPhase, VersionKey, VersionMetrics } from "./metrics.ts";
import { isLogged, type LogEntry, type LogMode, logLine, shortened } from "./request-log.ts";

/** What the engine is given to say when the phases of a request were. Monotonic milliseconds. */
export interface PhaseSink {
  readonly requestId: string;
  /** Under which name it was let in. */
  readonly tenant: string | undefined;
  /** Which version it goes to; the last one told counts. */
  target(version: VersionKey): void;
  /** Once for each phase; the time of a batch is told of each of its requests. */
  phase(phase: Phase, startMs: number, endMs: number): void;
  /** The batch that it ran in. */
  batched(batch: { readonly id: number; readonly rows: number }): void;
  /** The header by which another server goes on with its trace, below the span of the run. */
  outgoing(): { readonly traceparent: string; readonly tracestate: string | undefined };
}

/** A request as an edge sees its head. */
export interface RequestHead {
  readonly protocol: "rest" | "grpc";
  readonly requestId: string;
  readonly traceparent?: string | undefined;
  readonly tracestate?: string | undefined;
  /** As the client named them. */
  readonly model: string;
  readonly version?: string | undefined;
  /** Monotonic milliseconds. */
  readonly startMs: number;
}

/** How it ended. */
export interface RequestEnd {
  /** Of HTTP; gRPC edges give the one that theirs stands for. */
  readonly status: number;
  /** Why the model did not answer; undefined where it did. */
  readonly reason: string | undefined;
  readonly bytesIn: number;
  readonly bytesOut: number;
}

/** What an observer works with. */
export interface ObserverOptions {
  readonly metrics: ServerMetrics;
  /** Which version a name means now; for requests that failed before that was asked. */
  readonly resolve: (model: string, version: string | undefined) => VersionKey | undefined;
  readonly sampling: Sampling;
  readonly exporter?: OtlpExporter | undefined;
  readonly log?: { readonly mode: LogMode; readonly write: (line: string) => void } | undefined;
  readonly clock?: Clock;
}

/** Rows and shapes of what is asked. */
export interface InputsSummary {
  readonly rows: number;
  /** Shapes without the first axis, by input. */
  readonly shape: string;
}

/** What metrics and traces say of the inputs. The rows are those of the first one. */
export function inputsSummary(
  inputs: ReadonlyMap<string, { readonly shape: readonly number[] }>,
): InputsSummary {
  let rows: number | undefined;
  let shape = "";
  for (const [name, tensor] of inputs) {
    rows ??= tensor.shape[0] ?? 1;
    shape += `${shape === "" ? "" : " "}${name}[${tensor.shape.slice(1).join(",")}]`;
  }
  return { rows: rows ?? 1, shape };
}

/** Says when a request waited, when its batch was on its way, and when that ran, all ending at `endMs`. */
export function tellPhases(
  observe: PhaseSink | undefined,
  {
    batch,
    rows,
    sentMs,
  }: { readonly batch: number; readonly rows: number; readonly sentMs: number },
  took: {
    readonly queueMs: number;
    /** Of the batch alone, without waiting for the one before it. */
    readonly tookMs: number;
    /** Inside the model, where its process says so. */
    readonly inferMs: number | undefined;
    readonly endMs: number;
  },
): void {
  if (observe === undefined) return;
  const { queueMs, tookMs, inferMs, endMs } = took;
  const beganMs = endMs - Math.min(tookMs, inferMs ?? tookMs);
  observe.phase("queue", sentMs - queueMs, sentMs);
  observe.phase("batch", sentMs, beganMs);
  observe.phase("infer", beganMs, endMs);
  observe.batched({ id: batch, rows });
}

/** Statuses by which the server refuses a request that could be right. */
const REFUSALS: ReadonlySet<number> = new Set([401, 403, 429, 503, 504, 507]);
/** Answered with these by a run that failed; everything else of theirs was not taken on. */
const NOT_REFUSED: ReadonlySet<string> = new Set(["process-died"]);

/** Where the times of a phase lie: two for each, in the order of the phases. */
const AT: Readonly<Record<Phase, number>> = {
  receive: 0,
  admit: 2,
  queue: 4,
  batch: 6,
  infer: 8,
  split: 10,
  send: 12,
};

/** Those that have a histogram. */
const TIMED: readonly (readonly [at: number, phase: TimedPhase])[] = [
  [AT.queue, "queue"],
  [AT.batch, "computeInput"],
  [AT.infer, "computeInfer"],
  [AT.split, "computeOutput"],
  [AT.send, "send"],
];

/** Begins the observation of requests. */
export class RequestObserver {
  readonly options: ObserverOptions;
  readonly clock: Clock;
  readonly #tail: TailSampler;

  constructor(options: ObserverOptions) {
    this.options = options;
    this.clock = options.clock ?? systemClock;
    this.#tail = new TailSampler(options.sampling, this.clock);
  }

  begin(head: RequestHead): RequestWatch {
    const context = contextOf(head, this.options.sampling.ratio);
    return new RequestWatch(this, head, context);
  }

  /** Whether a request that is over goes to the collector. */
  keeps(context: TraceContext, request: { tookMs: number; failed: boolean }): boolean {
    if (this.options.exporter === undefined) return false;
    return context.sampled || this.#tail.keeps(request);
  }
}

/** One request. Every request that begins ends, once. */
export class RequestWatch implements PhaseSink {
  readonly requestId: string;
  readonly context: TraceContext;
  /** Set by the edge, once it has let the request in. */
  tenant: string | undefined;
  readonly #observer: RequestObserver;
  #head: RequestHead;
  readonly #times: number[] = [];
  #version: VersionKey | undefined;
  #rows: number | undefined;
  #shape: string | undefined;
  #deadlineMs: number | undefined;
  #batch: { readonly id: number; readonly rows: number } | undefined;
  #inferId: string | undefined;
  #ended = false;

  constructor(observer: RequestObserver, head: RequestHead, context: TraceContext) {
    this.#observer = observer;
    this.#head = head;
    this.context = context;
    this.requestId = head.requestId;
  }

  /** For the answer: the trace and this server's span in it. */
  get traceparent(): string {
    return traceparentOf(this.context);
  }

  /** Which model it is for, where its head did not say so. */
  asks({ model, version }: Pick<RequestHead, "model" | "version">): void {
    this.#head = { ...this.#head, model, version };
  }

  target(version: VersionKey): void {
    this.#version = version;
  }

  /** It has been read: the end of the first phase. */
  received({ rows, shape }: InputsSummary, deadlineMs?: number): void {
    this.#rows = rows;
    this.#shape = shape;
    this.#deadlineMs = deadlineMs;
    this.phase("receive", this.#head.startMs, this.#observer.clock.monotonicMs());
  }

  phase(phase: Phase, startMs: number, endMs: number): void {
    const at = AT[phase];
    this.#times[at] = startMs;
    this.#times[at + 1] = endMs;
  }

  batched(batch: { readonly id: number; readonly rows: number }): void {
    this.#batch = batch;
  }

  outgoing(): { readonly traceparent: string; readonly tracestate: string | undefined } {
    this.#inferId ??= randomHex(8);
    const traceparent = traceparentOf(this.context, this.#inferId);
    return { traceparent, tracestate: this.context.state };
  }

  /** The end of its phase, where that has one: how an edge knows when sending began. */
  endOf(phase: Phase): number | undefined {
    return this.#times[AT[phase] + 1];
  }

  /** Counts it, and hands it to the collector and the log. Only the first end counts. */
  end(end: RequestEnd): void {
    if (this.#ended) return;
    this.#ended = true;
    const { options, clock } = this.#observer;
    const endMs = clock.monotonicMs();
    const tookMs = endMs - this.#head.startMs;
    const failed = end.status >= 500 || end.status === 429;
    const kept = this.#observer.keeps(this.context, { tookMs, failed });
    const epochMs = clock.nowMs() - endMs;
    const key = this.#version ?? options.resolve(this.#head.model, this.#head.version);
    const version = key === undefined ? undefined : options.metrics.version(key);
    const exemplar = kept
      ? { traceId: this.context.traceId, value: tookMs / 1000, atMs: epochMs + endMs }
      : undefined;
    if (version === undefined) options.metrics.unknown(end.reason ?? "not-found");
    else this.#count(version, end, endMs, exemplar);
    if (kept) this.#export(version, end, { epochMs, endMs });
    const { log } = options;
    if (log !== undefined && isLogged(log.mode, end)) {
      log.write(logLine(this.#entry(version, end, { epochMs, tookMs })));
    }
  }

  #count(
    version: VersionMetrics,
    end: RequestEnd,
    endMs: number,
    exemplar: Exemplar | undefined,
  ): void {
    const { reason, status, bytesIn, bytesOut } = end;
    if (this.#deadlineMs !== undefined && endMs > this.#deadlineMs) version.deadlineMissed();
    if (reason !== undefined) {
      version.failed(reason, REFUSALS.has(status) && !NOT_REFUSED.has(reason), exemplar);
      return;
    }
    const seconds = (endMs - this.#head.startMs) / 1000;
    const rows = this.#rows ?? 1;
    version.succeeded({ seconds, rows, bytesIn, bytesOut, shape: this.#shape }, exemplar);
    for (const [at, timed] of TIMED) {
      const from = this.#times[at];
      const until = this.#times[at + 1];
      if (from === undefined || until === undefined) continue;
      const own = exemplar && { ...exemplar, value: (until - from) / 1000 };
      version.phase(timed, (until - from) / 1000, own);
    }
  }

  #export(
    version: VersionMetrics | undefined,
    end: RequestEnd,
    at: { readonly epochMs: number; readonly endMs: number },
  ): void {
    const spans: TraceSpan[] = [];
    for (const [phase, , startMs, stopMs] of this.#phases()) {
      const attributes = phase === "batch" ? this.#batchAttributes() : undefined;
      const spanId = phase === "infer" ? this.#inferId : undefined;
      const name = phase;
      const times = { startMs: at.epochMs + startMs, endMs: at.epochMs + stopMs };
      spans.push({ name, spanId, ...times, ...(attributes && { attributes }) });
    }
    this.#observer.options.exporter?.push({
      context: this.context,
      name: "inference",
      startMs: at.epochMs + this.#head.startMs,
      endMs: at.epochMs + at.endMs,
      spans,
      attributes: this.#attributes(version, end),
      error: end.status >= 500 ? (end.reason ?? "error") : undefined,
    });
  }

  #batchAttributes(): Record<string, Attribute> | undefined {
    if (this.#batch === undefined) return undefined;
    return { "skipway.batch.id": this.#batch.id, "skipway.batch.size": this.#batch.rows };
  }

  #attributes(version: VersionMetrics | undefined, end: RequestEnd): Record<string, Attribute> {
    const labels: Labels = version?.labels ?? {};
    const status =
      this.#head.protocol === "rest"
        ? { "http.response.status_code": end.status }
        : { "rpc.system": "grpc" };
    return {
      "skipway.request.id": shortened(this.requestId),
      "skipway.model.name": labels["model"] ?? shortened(this.#head.model),
      "skipway.model.version": labels["version"] ?? "",
      "skipway.model.digest": labels["digest"] ?? "",
      "skipway.role": labels["role"] ?? "",
      ...status,
      ...(this.#rows === undefined ? {} : { "skipway.rows": this.#rows }),
      ...(end.reason === undefined ? {} : { "error.type": end.reason }),
    };
  }

  #entry(
    version: VersionMetrics | undefined,
    end: RequestEnd,
    at: { readonly epochMs: number; readonly tookMs: number },
  ): LogEntry {
    return {
      atMs: at.epochMs + this.#head.startMs + at.tookMs,
      requestId: this.requestId,
      traceId: this.context.traceId,
      protocol: this.#head.protocol,
      model: version?.labels["model"] ?? this.#head.model,
      version: version?.labels["version"] ?? this.#head.version ?? "",
      role: version?.labels["role"],
      status: end.status,
      reason: end.reason,
      tookMs: at.tookMs,
      phasesMs: new Map(this.#phases().map(([phase, ms]) => [phase, ms])),
      rows: this.#rows,
      batchRows: this.#batch?.rows,
    };
  }

  /** The phases that were told: name, duration, start, end. */
  #phases(): [phase: Phase, ms: number, startMs: number, endMs: number][] {
    const found: [Phase, number, number, number][] = [];
    for (const phase of PHASES) {
      const [start, end] = [this.#times[AT[phase]], this.#times[AT[phase] + 1]];
      if (start !== undefined && end !== undefined) found.push([phase, end - start, start, end]);
    }
    return found;
  }
}
