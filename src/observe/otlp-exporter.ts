// Sends traces to a collector over OTLP/HTTP, in the background and in bounded memory: a collector that is
// slow or away costs traces, which are counted, and never a request.

import { type ClientRequest, Agent as HttpAgent, request as httpRequest } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import { encodeTraces, type TraceSource } from "./otlp.ts";
import type { FinishedTrace } from "./trace.ts";

/** Where traces go and how many may wait. */
export interface OtlpOptions {
  /** The whole address, with /v1/traces. */
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly source: TraceSource;
  /** How long one request may take. */
  readonly timeoutMs: number;
  /** A batch that is not full goes after this time. */
  readonly delayMs: number;
  /** Traces in one request. */
  readonly batchMax: number;
  /** Traces that wait; those that come then are dropped. */
  readonly queueMax: number;
}

/** Why traces did not arrive. */
export type DropReason = "queue-full" | "refused" | "unreachable";

/** What became of the traces so far. */
export interface ExportCounts {
  readonly sent: number;
  readonly dropped: Readonly<Record<DropReason, number>>;
}

/** Statuses after which the same request may go through (OTLP 1.5, "Failures"). */
const RETRYABLE: ReadonlySet<number> = new Set([429, 502, 503, 504]);
const RETRIES_MAX = 5;
const BACKOFF_MS = 500;
const BACKOFF_MAX_MS = 30_000;

/** A queue of traces with one request under way at a time. */
export class OtlpExporter {
  readonly #options: OtlpOptions;
  readonly #agent: HttpAgent;
  readonly #dropped: Record<DropReason, number> = { "queue-full": 0, refused: 0, unreachable: 0 };
  #queue: FinishedTrace[] = [];
  #sent = 0;
  #sending: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;
  /** Ends a pause between two tries. */
  #wake: () => void = () => undefined;
  #current: ClientRequest | undefined;

  constructor(options: OtlpOptions) {
    this.#options = options;
    const settings = { keepAlive: true, maxSockets: 1 };
    this.#agent =
      options.url.protocol === "https:" ? new HttpsAgent(settings) : new HttpAgent(settings);
  }

  /** Takes a trace, or counts it as dropped. Returns at once. */
  push(trace: FinishedTrace): void {
    if (this.#closed || this.#queue.length >= this.#options.queueMax) {
      this.#dropped["queue-full"]++;
      return;
    }
    this.#queue.push(trace);
    if (this.#sending !== undefined) return;
    if (this.#queue.length >= this.#options.batchMax) this.#start();
    else this.#timer ??= setTimeout(() => this.#start(), this.#options.delayMs).unref();
  }

  counts(): ExportCounts {
    return { sent: this.#sent, dropped: { ...this.#dropped } };
  }

  /** Sends what waits, as far as that goes within `timeoutMs`; then drops the rest. */
  async close(timeoutMs: number): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#wake();
    const deadline = setTimeout(() => this.#current?.destroy(), timeoutMs);
    this.#start();
    await this.#sending;
    clearTimeout(deadline);
    this.#drop("unreachable", this.#queue.length);
    this.#queue = [];
    this.#agent.destroy();
  }

  #start(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#sending !== undefined || this.#queue.length === 0) return;
    this.#sending = this.#drain().finally(() => {
      this.#sending = undefined;
      if (this.#queue.length > 0 && !this.#closed) {
        this.#timer = setTimeout(() => this.#start(), this.#options.delayMs).unref();
      }
    });
  }

  /** Full batches one after another; a partial one begins the round, or waits for its time. */
  async #drain(): Promise<void> {
    do {
      const batch = this.#queue.splice(0, this.#options.batchMax);
      const arrived = await this.#deliver(batch);
      // The rest would have to wait as long; `close` counts it.
      if (!arrived && this.#closed) return;
    } while (this.#queue.length >= (this.#closed ? 1 : this.#options.batchMax));
  }

  /** Whether the collector could be reached. */
  async #deliver(batch: readonly FinishedTrace[]): Promise<boolean> {
    const body = encodeTraces(this.#options.source, batch);
    for (let attempt = 0; attempt <= RETRIES_MAX; attempt++) {
      const status = await this.#post(body);
      if (status !== undefined && status >= 200 && status < 300) {
        this.#sent += batch.length;
        return true;
      }
      if (status !== undefined && !RETRYABLE.has(status)) {
        this.#drop("refused", batch.length);
        return true;
      }
      if (this.#closed) break;
      await this.#pause(Math.min(BACKOFF_MAX_MS, BACKOFF_MS * 2 ** attempt));
    }
    this.#drop("unreachable", batch.length);
    return false;
  }

  #drop(reason: DropReason, count: number): void {
    this.#dropped[reason] += count;
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms).unref();
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** The status of the answer; undefined where there is none. */
  #post(body: Uint8Array): Promise<number | undefined> {
    const { url, headers, timeoutMs } = this.#options;
    const send = url.protocol === "https:" ? httpsRequest : httpRequest;
    return new Promise((resolve) => {
      const request = send(url, {
        method: "POST",
        agent: this.#agent,
        headers: {
          ...headers,
          "content-type": "application/x-protobuf",
          "content-length": body.byteLength,
        },
      });
      const timer = setTimeout(() => request.destroy(), timeoutMs).unref();
      this.#current = request;
      const end = (status: number | undefined): void => {
        clearTimeout(timer);
        resolve(status);
      };
      request.once("response", (response) => {
        // What a collector says besides its status is not read.
        response.resume();
        response.once("end", () => end(response.statusCode));
        response.once("close", () => end(undefined));
      });
      request.once("error", () => end(undefined));
      request.once("close", () => end(undefined));
      request.end(body);
    });
  }
}
