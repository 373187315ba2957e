// Sends a load: each request at its intended time, whatever the answers to the others. A latency counts from
// the intended time: a server that stops for a second is charged with all requests that should have been sent
// in it, not with the one that waited ("coordinated omission", G. Tene, "How NOT to Measure Latency").

import { type ClientRequest, Agent as HttpAgent, type IncomingMessage, request } from "node:http";
import { Agent as HttpsAgent, request as secureRequest } from "node:https";
import { type Clock, systemClock } from "../../base/clock.ts";
import type { Question } from "./question.ts";

/** What is sent where, and when. */
export interface LoadPlan {
  readonly url: URL;
  readonly question: Question;
  /** Intended times of sending, in milliseconds from the start, ascending. */
  readonly arrivals: Float64Array;
  /** Connections at the most; a request that finds none free waits, and its latency counts on. */
  readonly connectionsMax: number;
  /** After this a request is given up. */
  readonly timeoutMs: number;
}

/** What became of each request, by its place in the plan. */
export interface LoadResult {
  /** Milliseconds from the intended time to the last byte of the answer. */
  readonly latencies: Float64Array;
  /** Status of HTTP; 0 where there was no answer. */
  readonly statuses: Uint16Array;
  /** How late the load generator itself began each request, in milliseconds. */
  readonly lateness: Float64Array;
  /** Failures without an answer, by the code of the system: `ECONNRESET`, `timeout`. */
  readonly failures: ReadonlyMap<string, number>;
  /** From the first intended time to the last answer. */
  readonly seconds: number;
  /** Requests begun; fewer than planned if the test was ended. */
  readonly sent: number;
}

/** How far a test has come. */
export interface LoadProgress {
  readonly sent: number;
  readonly answered: number;
  readonly good: number;
}

/** Requests that are due within this time are sent now: timers are no more exact. */
const SLACK_MS = 0.5;

/** Runs a load test; resolves when every request is answered or given up. */
export async function sendLoad(
  plan: LoadPlan,
  options: {
    readonly signal?: AbortSignal;
    readonly clock?: Clock;
    onProgress?(progress: LoadProgress): void;
  } = {},
): Promise<LoadResult> {
  const sender = new Sender(plan, options.clock ?? systemClock);
  const timer = setInterval(() => options.onProgress?.(sender.progress()), 200);
  const stop = (): void => sender.stop();
  options.signal?.addEventListener("abort", stop, { once: true });
  if (options.signal?.aborted) stop();
  try {
    return await sender.run();
  } finally {
    clearInterval(timer);
    options.signal?.removeEventListener("abort", stop);
  }
}

class Sender {
  readonly #plan: LoadPlan;
  readonly #clock: Clock;
  readonly #agent: HttpAgent;
  readonly #latencies: Float64Array;
  readonly #lateness: Float64Array;
  readonly #statuses: Uint16Array;
  readonly #failures = new Map<string, number>();
  readonly #send: typeof request;
  #startMs = 0;
  #sent = 0;
  #answered = 0;
  #good = 0;
  #stopped = false;
  #finish: () => void = () => undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(plan: LoadPlan, clock: Clock) {
    const count = plan.arrivals.length;
    this.#plan = plan;
    this.#clock = clock;
    const secure = plan.url.protocol === "https:";
    const settings = { keepAlive: true, maxSockets: plan.connectionsMax, noDelay: true };
    this.#agent = secure ? new HttpsAgent(settings) : new HttpAgent(settings);
    this.#send = secure ? secureRequest : request;
    this.#latencies = new Float64Array(count).fill(Number.NaN);
    this.#lateness = new Float64Array(count);
    this.#statuses = new Uint16Array(count);
  }

  progress(): LoadProgress {
    return { sent: this.#sent, answered: this.#answered, good: this.#good };
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#agent.destroy();
    this.#finishIfDone();
  }

  async run(): Promise<LoadResult> {
    this.#startMs = this.#clock.monotonicMs();
    await new Promise<void>((resolve) => {
      this.#finish = resolve;
      this.#sendDue();
    });
    this.#agent.destroy();
    const sent = this.#sent;
    return {
      latencies: this.#latencies.subarray(0, sent),
      statuses: this.#statuses.subarray(0, sent),
      lateness: this.#lateness.subarray(0, sent),
      failures: this.#failures,
      seconds: (this.#clock.monotonicMs() - this.#startMs) / 1000,
      sent,
    };
  }

  #sendDue(): void {
    if (this.#stopped) return;
    const { arrivals } = this.#plan;
    const now = this.#clock.monotonicMs() - this.#startMs;
    while (this.#sent < arrivals.length && (arrivals[this.#sent] ?? 0) <= now + SLACK_MS) {
      this.#sendOne(this.#sent++);
    }
    const next = arrivals[this.#sent];
    if (next === undefined) {
      this.#finishIfDone();
      return;
    }
    // A loop without pause would be more exact, and take a processor from a server on the same machine.
    const pause = next - (this.#clock.monotonicMs() - this.#startMs);
    this.#timer = setTimeout(() => this.#sendDue(), Math.max(1, Math.floor(pause)));
  }

  #sendOne(i: number): void {
    const { url, question, arrivals, timeoutMs } = this.#plan;
    const now = this.#clock.monotonicMs();
    // One that leaves a little early is not counted from a time at which it was under way already.
    const from = Math.min(now, this.#startMs + (arrivals[i] ?? 0));
    this.#lateness[i] = now - from;
    const call = this.#send(url, {
      method: "POST",
      agent: this.#agent,
      headers: { ...question.headers, "content-length": question.body.byteLength },
    });
    let settled = false;
    const settle = (status: number, failure?: string): void => {
      if (settled) return;
      settled = true;
      clearTimeout(timer);
      this.#latencies[i] = this.#clock.monotonicMs() - from;
      this.#statuses[i] = status;
      if (failure !== undefined) {
        this.#failures.set(failure, (this.#failures.get(failure) ?? 0) + 1);
      }
      this.#answered++;
      if (status >= 200 && status < 300) this.#good++;
      this.#finishIfDone();
    };
    const timer = setTimeout(() => {
      settle(0, "timeout");
      call.destroy();
    }, timeoutMs);
    listen(call, settle);
    call.end(question.body);
  }

  #finishIfDone(): void {
    const all = this.#stopped || this.#sent === this.#plan.arrivals.length;
    if (all && this.#answered === this.#sent) this.#finish();
  }
}

/** Settles with the status once the whole answer is there. */
function listen(call: ClientRequest, settle: (status: number, failure?: string) => void): void {
  const failed = (error: NodeJS.ErrnoException): void => settle(0, error.code ?? error.name);
  call.once("error", failed);
  call.once("response", (answer: IncomingMessage) => {
    answer.once("error", failed);
    answer.once("end", () => settle(answer.statusCode ?? 0));
    answer.once("close", () => settle(0, "cut-off"));
    answer.resume();
  });
}
