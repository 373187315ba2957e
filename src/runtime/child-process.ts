// ONNX Runtime in a process of its own: what a model does to memory, or a crash of the runtime, stays
// there; killing it is the one safe way to stop a run (DESIGN section 4), and ending it gives all
// memory back.

import { type ChildProcess, spawn } from "node:child_process";
import { present } from "../base/assert.ts";
import { type Diagnostic, diagnostic } from "../base/diagnostic.ts";
import { builtEntry } from "../base/entry.ts";
import { type ErrorCode, messageOf, SkipwayError } from "../base/errors.ts";
import type { ValueType } from "../graph/graph.ts";
import { tensor } from "../graph/tensor.ts";
import { closedSession } from "./closed.ts";
import { checkFeeds, checkFetches } from "./feeds.ts";
import { encodeFrame, type Frame, FrameReader } from "./frames.ts";
import { memoryOf } from "./memory-probe.ts";
import type {
  MemoryReading,
  ModelSource,
  Runner,
  RunOptions,
  Session,
  SessionOptions,
  Tensors,
} from "./runner.ts";

/** How a process ended. */
export interface ProcessExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A session whose model lives in a process of its own. */
export interface ChildSession extends Session {
  readonly pid: number;
  /** Settles when the process is gone, for whatever reason. */
  readonly exited: Promise<ProcessExit>;
}

/** A runner that starts one process for each model. */
export interface ChildRunner extends Runner {
  load(model: ModelSource, options?: SessionOptions): Promise<ChildSession>;
}

/** How long a process that was asked to end may take. */
const GRACE_MS = 2000;
/** Last words of a process that are kept for its obituary. */
const STDERR_CHARS_MAX = 4096;

/** Runs each model in a child process. */
export function childProcessRunner(): ChildRunner {
  return { name: "child-process", load };
}

async function load(model: ModelSource, options: SessionOptions = {}): Promise<ChildSession> {
  const child = new ModelProcess();
  const abort = (): void => child.kill();
  options.signal?.addEventListener("abort", abort, { once: true });
  try {
    const bytes = "bytes" in model ? model.bytes : undefined;
    const { threads = 1, memoryPattern = true } = options;
    const header = {
      kind: "load",
      options: { threads, memoryPattern },
      ...("path" in model ? { path: model.path } : { name: model.name }),
    };
    const sent: Tensors = new Map(
      bytes === undefined ? [] : [["model", tensor("uint8", [bytes.byteLength], bytes)]],
    );
    const loaded = await child.ask(header, sent);
    return new ChildProcessSession(child, loaded);
  } catch (error) {
    child.kill();
    options.signal?.throwIfAborted();
    throw error;
  } finally {
    options.signal?.removeEventListener("abort", abort);
  }
}

interface Waiting {
  resolve(frame: Frame): void;
  reject(error: unknown): void;
}

/** The process and the pipe to it. One question is under way at a time; answers come in order. */
class ModelProcess {
  readonly exited: Promise<ProcessExit>;
  readonly #process: ChildProcess;
  readonly #reader: FrameReader = new FrameReader();
  readonly #waiting: Waiting[] = [];
  #gone: SkipwayError | undefined;
  #stderr = "";

  constructor() {
    this.#process = spawn(process.execPath, [builtEntry(import.meta.url, "./child-main.js")], {
      stdio: ["pipe", "pipe", "pipe"],
      // glibc keeps freed memory unless told when to give it back (measured: 186 MB against 85 MB).
      env: { ...process.env, MALLOC_TRIM_THRESHOLD_: "131072" },
    });
    this.exited = new Promise((resolve) => {
      // "close" comes after "exit": only then all answers and last words have been read.
      this.#process.once("close", (code, signal) => {
        this.#end(died({ code, signal }, this.#stderr));
        resolve({ code, signal });
      });
      this.#process.once("error", (cause) => {
        this.#end(notStarted(cause));
        resolve({ code: null, signal: null });
      });
    });
    this.#process.stdout?.on("data", (chunk: Uint8Array) => this.#receive(chunk));
    this.#process.stderr?.on("data", (chunk: Buffer) => {
      this.#stderr = (this.#stderr + chunk.toString("utf8")).slice(-STDERR_CHARS_MAX);
    });
    // A write to a process that has just died: its exit is reported by the event above.
    this.#process.stdin?.on("error", () => undefined);
  }

  get pid(): number {
    return this.#process.pid ?? -1;
  }

  /** Sends a question; the answer, or the reason why there is none. */
  ask(header: Record<string, unknown>, tensors: Tensors): Promise<Frame> {
    return new Promise((resolve, reject) => {
      if (this.#gone !== undefined) {
        reject(this.#gone);
        return;
      }
      const chunks = encodeFrame(header, tensors);
      this.#waiting.push({ resolve, reject });
      this.#process.stdin?.cork();
      for (const chunk of chunks) this.#process.stdin?.write(chunk);
      this.#process.stdin?.uncork();
    });
  }

  kill(): void {
    this.#process.kill("SIGKILL");
  }

  /** Ends the process: closes the pipe, and kills it if it does not leave or still computes. */
  async close(): Promise<void> {
    this.#process.stdin?.end();
    if (this.#waiting.length > 0) this.kill();
    const timer = setTimeout(() => this.kill(), GRACE_MS);
    await this.exited;
    clearTimeout(timer);
  }

  #receive(chunk: Uint8Array): void {
    try {
      for (const frame of this.#reader.push(chunk)) {
        const waiting = present(this.#waiting.shift(), "an answer without a question");
        if (frame.header["kind"] === "failed") waiting.reject(failure(frame.header));
        else waiting.resolve(frame);
      }
    } catch {
      // What comes out of the pipe is no answer: the process is not to be trusted any more.
      this.kill();
    }
  }

  #end(reason: SkipwayError): void {
    this.#gone ??= reason;
    for (const waiting of this.#waiting.splice(0)) waiting.reject(reason);
  }
}

class ChildProcessSession implements ChildSession {
  readonly inputs: ReadonlyMap<string, ValueType>;
  readonly outputs: ReadonlyMap<string, ValueType>;
  readonly #process: ModelProcess;
  #last: Promise<unknown> = Promise.resolve();
  /** What callers still wait for. A run that was given up leaves this set, and may go on alone. */
  readonly #wanted: Set<Promise<unknown>> = new Set();
  #closed = false;

  constructor(child: ModelProcess, loaded: Frame) {
    this.#process = child;
    this.inputs = new Map(loaded.header["inputs"] as [string, ValueType][]);
    this.outputs = new Map(loaded.header["outputs"] as [string, ValueType][]);
  }

  get pid(): number {
    return this.#process.pid;
  }

  get exited(): Promise<ProcessExit> {
    return this.#process.exited;
  }

  async run(feeds: Tensors, options: RunOptions = {}): Promise<Tensors> {
    options.signal?.throwIfAborted();
    if (this.#closed) throw closedSession();
    const faults = [
      ...checkFeeds(this.inputs, feeds),
      ...checkFetches(this.outputs, options.outputs),
    ];
    if (faults.length > 0) throw SkipwayError.fromDiagnostics("input", faults);
    const { outputs } = options;
    const turn = this.#last.then(() => {
      // One that was given up while it waited never reaches the process.
      options.signal?.throwIfAborted();
      return this.#process.ask({ kind: "run", ...(outputs && { outputs }) }, feeds);
    });
    this.#last = turn.catch(() => undefined);
    const answer = abortable(turn, options.signal);
    this.#wanted.add(answer);
    try {
      return (await answer).tensors;
    } finally {
      this.#wanted.delete(answer);
    }
  }

  async memory(): Promise<MemoryReading> {
    // The operating system answers at once, also while the process computes.
    const known = memoryOf(this.pid);
    if (known !== undefined) return known;
    const answer = await this.#process.ask({ kind: "memory" }, new Map());
    return answer.header["memory"] as MemoryReading;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.allSettled(this.#wanted);
    await this.#process.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** The promise, or the abort, whichever comes first. */
function abortable<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work;
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

function failure(header: Frame["header"]): SkipwayError {
  // Made by child-main.ts from a SkipwayError.
  const code = header["code"] as ErrorCode;
  const diagnostics = header["diagnostics"] as readonly Diagnostic[];
  return SkipwayError.fromDiagnostics(code, diagnostics);
}

function died(exit: ProcessExit, stderr: string): SkipwayError {
  const how = exit.signal === null ? `with exit code ${exit.code}` : `by signal ${exit.signal}`;
  const words = stderr.trim().split("\n").at(-1) ?? "";
  const found = diagnostic({
    id: "runtime/process-died",
    severity: "error",
    where: "model process",
    text: `the process of the model ended ${how}`,
    notes: words === "" ? [] : [words],
    fix: "Send the request again in a moment; if it was killed for memory, use smaller batches.",
  });
  return SkipwayError.fromDiagnostics("environment", [found]);
}

function notStarted(cause: Error): SkipwayError {
  const found = diagnostic({
    id: "runtime/process-not-started",
    severity: "error",
    where: "model process",
    text: `the process of the model could not be started: ${messageOf(cause)}`,
    fix: "Check the limits on processes and memory of this machine (ulimit -a).",
  });
  return new SkipwayError("environment", found.text, { cause, diagnostics: [found] });
}
