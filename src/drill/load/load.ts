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
  /** The same for all, or one for each place in the plan. */
  readonly question: Question | ((i: number) => Question);
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

/** One answer, for whoever looks at each. Times in milliseconds since the Unix epoch. */
export interface LoadAnswer {
  readonly i: number;
  readonly sentMs: number;
  readonly endedMs: number;
  /** 0 where there was none. */
  readonly status: number;
  readonly body: Buffer;
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
    /** Sends no more; what is under way is waited for. */
    readonly end?: AbortSignal;
    readonly clock?: Clock;
    onProgress?(progress: LoadProgress): void;
    onAnswer?(answer: LoadAnswer): void;
  } = {},
): Promise<LoadResult> {
  const { clock = systemClock, onAnswer } = options;
  const sender = new Sender(plan, clock, onAnswer && ((answer) => onAnswer(answer)));
  const timer = setInterval(() => options.onProgress?.(sender.progress()), 200);
  const stop = (): void => sender.stop();
  options.end?.addEventListener("abort", () => sender.end(), { once: true });
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
  readonly #onAnswer: ((answer: LoadAnswer) => void) | undefined;
  #finish: () => void = () => undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(plan: LoadPlan, clock: Clock, onAnswer?: (answer: LoadAnswer) => void) {
    const count = plan.arrivals.length;
    this.#onAnswer = onAnswer;
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
    this.end();
    this.#agent.destroy();
  }

  end(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
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
    if (this.#stopped) {
      this.#finishIfDone();
      return;
    }
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
    const { url, arrivals, timeoutMs } = this.#plan;
    const question =
      typeof this.#plan.question === "function" ? this.#plan.question(i) : this.#plan.question;
    const sentMs = this.#clock.nowMs();
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
    const settle = (status: number, failure?: string, body: Buffer = NO_BODY): void => {
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
      this.#onAnswer?.({ i, sentMs, endedMs: this.#clock.nowMs(), status, body });
      this.#finishIfDone();
    };
    const timer = setTimeout(() => {
      settle(0, "timeout");
      call.destroy();
    }, timeoutMs);
    listen(call, settle, this.#onAnswer !== undefined);
    call.end(question.body);
  }

  #finishIfDone(): void {
    const all = this.#stopped || this.#sent === this.#plan.arrivals.length;
    if (all && this.#answered === this.#sent) this.#finish();
  }
}

const NO_BODY = Buffer.alloc(0);

type Settle = (status: number, failure?: string, body?: Buffer) => void;

/** Settles with the status once the whole answer is there. */
function listen(call: ClientRequest, settle: Settle, reads: boolean): void {
  const failed = (error: NodeJS.ErrnoException): void => settle(0, error.code ?? error.name);
  call.once("error", failed);
  call.once("response", (answer: IncomingMessage) => {
    const chunks: Buffer[] = [];
    if (reads) answer.on("data", (chunk: Buffer) => chunks.push(chunk));
    answer.once("error", failed);
    answer.once("end", () => settle(answer.statusCode ?? 0, undefined, Buffer.concat(chunks)));
    answer.once("close", () => settle(0, "cut-off"));
    answer.resume();
  });
}
