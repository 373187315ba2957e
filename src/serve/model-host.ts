// One version of a model, served by one process: loaded, asked a question with a known answer, kept
// alive, and drained at the end. Bounds what waits; counts what happened.

import { type Clock, systemClock } from "../base/clock.ts";
import { diagnostic } from "../base/diagnostic.ts";
import { SkipwayError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import type { ValueType } from "../graph/graph.ts";
import { float32Values, type Tensor } from "../graph/tensor.ts";
import { Histogram } from "../observe/histogram.ts";
import { SlidingHistogram } from "../observe/window.ts";
import type { ChildRunner, ChildSession } from "../runtime/child-process.ts";
import { inconclusive, madeUpInputs } from "../runtime/made-up.ts";
import { memoryOf } from "../runtime/memory-probe.ts";
import type { MemoryReading, Tensors } from "../runtime/runner.ts";
import { type FailureReason, RequestError, requestErrorOf } from "./errors.ts";
import type { InferenceAnswer, InferenceCall, ServedVersion } from "./inference.ts";
import type { VersionReadings } from "./metric-readings.ts";
import { afterDeath, NO_FAILURES, type RestartState } from "./restart.ts";

/** What is to be served. */
export interface ServedModel {
  readonly name: string;
  readonly version: number;
  readonly path: string;
  readonly digest: string;
  /** A question with its known answer: asked after every load. */
  readonly probe?: { readonly inputs: Tensors; readonly outputs: Tensors };
}

/** Where a model stands in its life. */
export type ModelState = "starting" | "ready" | "restarting" | "draining" | "stopped";

/** What a model has done and does. */
export interface ModelStats {
  readonly model: string;
  readonly version: number;
  readonly state: ModelState;
  /** Requests answered by the model. */
  readonly requests: number;
  readonly failures: Readonly<Partial<Record<FailureReason, number>>>;
  readonly ratePerSecond: number;
  readonly latency: {
    readonly windowSeconds: number;
    readonly n: number;
    /** null: too few requests in the window to know. */
    readonly p50Ms: number | null;
    readonly p99Ms: number | null;
  };
  readonly queued: number;
  readonly inFlight: number;
  readonly restarts: number;
  readonly pid: number | undefined;
  readonly memory: MemoryReading | undefined;
}

/** The window of live latencies. */
const WINDOW_MS = 60_000;
const SLOT_MS = 5000;
/** How long a request waits for a process that is being restarted. */
const RESTART_PATIENCE_MS = 5000;
/** Different kernels round differently; a wrong file is off by far more. */
const PROBE_TOLERANCE = 1e-3;

/** Serves one version. */
export class ModelHost implements ServedVersion {
  readonly model: ServedModel;
  /** Durations of all answered requests, in milliseconds. */
  readonly durations: Histogram = new Histogram();
  readonly #runner: ChildRunner;
  readonly #clock: Clock;
  readonly #recent: SlidingHistogram;
  readonly #failures = new Map<FailureReason, number>();
  readonly #onState: () => void;
  #session: ChildSession | undefined;
  #ready: Promise<ChildSession>;
  #state: ModelState = "starting";
  #restart: RestartState = NO_FAILURES;
  #restarts = 0;
  /** Ends the pause before a restart: who stops does not wait for it. */
  #endPause: () => void = () => undefined;
  #waiting = 0;
  #waitingBytes = 0;

  constructor(
    model: ServedModel,
    options: { runner: ChildRunner; clock?: Clock; onState?: () => void },
  ) {
    this.model = model;
    this.#runner = options.runner;
    this.#clock = options.clock ?? systemClock;
    this.#onState = options.onState ?? (() => undefined);
    this.#recent = new SlidingHistogram(this.#clock, { windowMs: WINDOW_MS, slotMs: SLOT_MS });
    this.#ready = this.#load();
    // The first load is awaited in `start`; an error before that is not unhandled.
    this.#ready.catch(() => undefined);
  }

  /** Waits until the model answers. @throws SkipwayError when it does not load or answers wrongly. */
  async start(): Promise<void> {
    await this.#ready;
  }

  get state(): ModelState {
    return this.#state;
  }

  get inputs(): ReadonlyMap<string, ValueType> {
    return this.#session?.inputs ?? new Map();
  }

  get outputs(): ReadonlyMap<string, ValueType> {
    return this.#session?.outputs ?? new Map();
  }

  get name(): string {
    return this.model.name;
  }

  get version(): number {
    return this.model.version;
  }

  get digest(): string {
    return this.model.digest;
  }

  get ready(): boolean {
    return this.#state === "ready";
  }

  async infer({ inputs, outputs, signal, observe }: InferenceCall): Promise<InferenceAnswer> {
    const from = this.#clock.monotonicMs();
    const bytes = sizeOf(inputs);
    try {
      this.#admit(bytes);
      this.#waiting++;
      this.#waitingBytes += bytes;
      try {
        const admittedMs = this.#clock.monotonicMs();
        const session = await this.#whenReady();
        const startMs = this.#clock.monotonicMs();
        const answer = await session.run(inputs, {
          ...(outputs && { outputs }),
          ...(signal && { signal }),
        });
        const endMs = this.#clock.monotonicMs();
        const took = endMs - from;
        observe?.phase("admit", from, admittedMs);
        observe?.phase("queue", admittedMs, startMs);
        observe?.phase("infer", startMs, endMs);
        this.durations.record(took);
        this.#recent.record(took);
        const phases = { queueMs: 0, computeMs: took };
        return { outputs: answer, version: this.model.version, batchRows: 1, phases };
      } finally {
        this.#waiting--;
        this.#waitingBytes -= bytes;
      }
    } catch (error) {
      const refusal = requestErrorOf(error, signal);
      this.countFailure(refusal.reason);
      throw refusal;
    }
  }

  /** Counts a request that failed before it reached the model. */
  countFailure(reason: FailureReason): void {
    this.#failures.set(reason, (this.#failures.get(reason) ?? 0) + 1);
  }

  stats(): ModelStats {
    const recent = this.#recent.total();
    const quantile = (p: number): number | null => recent.quantile(p).value ?? null;
    const pid = this.#session?.pid;
    return {
      model: this.model.name,
      version: this.model.version,
      state: this.#state,
      requests: this.durations.count,
      failures: Object.fromEntries(this.#failures),
      ratePerSecond: recent.count / (WINDOW_MS / 1000),
      latency: {
        windowSeconds: WINDOW_MS / 1000,
        n: recent.count,
        p50Ms: quantile(0.5),
        p99Ms: quantile(0.99),
      },
      queued: Math.max(0, this.#waiting - 1),
      inFlight: Math.min(1, this.#waiting),
      restarts: this.#restarts,
      pid,
      memory: pid === undefined ? undefined : memoryOf(pid),
    };
  }

  /** For a scrape. */
  readings(): VersionReadings {
    const pid = this.#session?.pid;
    const memory = pid === undefined ? undefined : memoryOf(pid);
    const requests = Math.max(0, this.#waiting - 1);
    return {
      ready: this.ready,
      queue: { requests, rows: requests, bytes: this.#waitingBytes, oldestMs: 0 },
      inFlight: Math.min(1, this.#waiting),
      processes: memory === undefined ? [] : [{ slot: "0", ...memory }],
    };
  }

  /** Lets what is under way finish, then ends the process. */
  async stop(): Promise<void> {
    this.#setState("draining");
    this.#endPause();
    const session = await this.#ready.catch(() => undefined);
    await session?.close();
    this.#setState("stopped");
  }

  #setState(state: ModelState): void {
    this.#state = state;
    this.#onState();
  }

  #admit(bytes: number): void {
    if (this.#state === "draining" || this.#state === "stopped") {
      throw new RequestError(503, "not-ready", "the server is shutting down", {
        retryAfterSeconds: 5,
      });
    }
    const full =
      this.#waiting >= limits.queueRequestsMax || this.#waitingBytes + bytes > limits.queueBytesMax;
    if (!full) return;
    const text = `${this.#waiting} requests of ${this.#waitingBytes} bytes wait already; at most ${limits.queueRequestsMax} requests and ${limits.queueBytesMax} bytes may`;
    throw new RequestError(429, "queue-full", text, { retryAfterSeconds: 1 });
  }

  /** The session, or after a death the next one, if it comes soon. */
  async #whenReady(): Promise<ChildSession> {
    if (this.#state === "ready" && this.#session !== undefined) return this.#session;
    let timer: NodeJS.Timeout | undefined;
    const patience = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        const text = "the model's process is being restarted";
        reject(new RequestError(503, "not-ready", text, { retryAfterSeconds: 1 }));
      }, RESTART_PATIENCE_MS);
    });
    try {
      return await Promise.race([this.#ready, patience]);
    } finally {
      clearTimeout(timer);
    }
  }

  async #load(): Promise<ChildSession> {
    const session = await this.#runner.load({ path: this.model.path });
    try {
      await probe(session, this.model);
    } catch (error) {
      await session.close();
      throw error;
    }
    const since = this.#clock.monotonicMs();
    this.#session = session;
    this.#setState(this.#state === "draining" ? "draining" : "ready");
    void session.exited.then(() => this.#died(this.#clock.monotonicMs() - since));
    return session;
  }

  #died(livedMs: number): void {
    if (this.#state !== "ready") return;
    const { state, delayMs } = afterDeath(this.#restart, livedMs);
    this.#restart = state;
    this.#restarts++;
    this.#session = undefined;
    this.#setState("restarting");
    this.#ready = this.#reload(delayMs);
    this.#ready.catch(() => undefined);
  }

  async #reload(delayMs: number): Promise<ChildSession> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, delayMs);
      this.#endPause = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    if (this.#state !== "restarting") throw new RequestError(503, "not-ready", "shutting down");
    try {
      return await this.#load();
    } catch {
      const next = afterDeath(this.#restart, 0);
      this.#restart = next.state;
      return this.#reload(next.delayMs);
    }
  }
}

function sizeOf(tensors: Tensors): number {
  let total = 0;
  for (const value of tensors.values()) total += value.data.bytes.byteLength;
  return total;
}

/** Asks the known question, or if there is none runs the model once on zeros where its shape allows. */
async function probe(session: ChildSession, model: ServedModel): Promise<void> {
  if (model.probe === undefined) {
    const zeros = madeUpInputs(session.inputs, () => 0);
    if (zeros === undefined) return;
    await session.run(zeros).catch((error: unknown) => {
      if (!inconclusive(error)) throw error;
    });
    return;
  }
  const answer = await session.run(model.probe.inputs);
  for (const [name, expected] of model.probe.outputs) {
    const found = answer.get(name);
    if (found === undefined || !agrees(found, expected)) throw wrongAnswer(model, name);
  }
}

function agrees(found: Tensor, expected: Tensor): boolean {
  if (found.dtype !== expected.dtype || found.shape.join() !== expected.shape.join()) return false;
  if (found.dtype !== "float32") {
    return Buffer.compare(found.data.bytes, expected.data.bytes) === 0;
  }
  const [a, b] = [float32Values(found), float32Values(expected)];
  return b.every((value, i) => {
    const distance = Math.abs((a[i] ?? Number.NaN) - value);
    return Object.is(a[i], value) || distance <= PROBE_TOLERANCE * (1 + Math.abs(value));
  });
}

function wrongAnswer(model: ServedModel, output: string): SkipwayError {
  return SkipwayError.fromDiagnostics("check", [
    diagnostic({
      id: "serve/probe-mismatch",
      severity: "error",
      where: `${model.name} version ${model.version}, output "${output}"`,
      text: "the model does not give the answer that was recorded for it, so it is not served",
      fix: "Register the model again; its file or the runtime has changed since.",
    }),
  ]);
}
