// ONNX Runtime in a process of its own: what a model does to memory, or a crash of the runtime, stays
// there; killing it is the one safe way to stop a run (DESIGN section 4), and ending it gives all
// memory back.

import { SkipwayError } from "../base/errors.ts";
import type { ValueType } from "../graph/graph.ts";
import { joinMembers, splitByRows } from "./batch.ts";
import { closedSession } from "./closed.ts";
import { checkFeeds, checkFetches } from "./feeds.ts";
import { type Frame, type Part, partsOf } from "./frames.ts";
import { memoryOf, proportionalBytesOf, resetPeakOf } from "./memory-probe.ts";
import { ModelProcess } from "./model-process.ts";
import type { ProcessExit } from "./process-exit.ts";
import type {
  MemoryReading,
  ModelSource,
  Runner,
  RunOptions,
  Session,
  SessionOptions,
  Tensors,
} from "./runner.ts";

export type { ProcessExit } from "./process-exit.ts";

/** How a model is loaded into a process of its own. */
export interface ChildSessionOptions extends SessionOptions {
  /** `sha256:…` of the model's file. The process looks at the bytes before the runtime does, and refuses others. */
  readonly digest?: string;
}

/** What one call of a session in a process may be told. */
export interface ChildRunOptions extends RunOptions {
  /** Called before the answer is given: milliseconds that the runtime computed. */
  readonly onComputed?: (computeMs: number) => void;
}

/** A session whose model lives in a process of its own. */
export interface ChildSession extends Session {
  readonly pid: number;
  /** Settles when the process is gone, for whatever reason. */
  readonly exited: Promise<ProcessExit>;
  run(feeds: Tensors, options?: ChildRunOptions): Promise<Tensors>;
  /**
   * Computes many requests in one run, joined along the first axis of all inputs, and gives each its rows of the
   * outputs, as views of one answer.
   *
   * @throws SkipwayError as `run`; `input` with `runtime/not-batchable` where the model or the members cannot be
   * joined: each may still be run alone.
   */
  runBatch(members: readonly Tensors[], options?: ChildRunOptions): Promise<Tensors[]>;
  /** Sets the peak of `memory` to what is held now; false where the system does not allow it. */
  resetPeak(): boolean;
  /** Ends the process now, whatever it does. */
  kill(): void;
}

/** A runner that starts one process for each model. */
export interface ChildRunner extends Runner {
  load(model: ModelSource, options?: ChildSessionOptions): Promise<ChildSession>;
}

/** A runner that can have a process ready before a model comes. */
export interface SpareRunner extends ChildRunner {
  /** Waits until there is a process with the runtime in it and no model; the next `load` takes it. */
  prepare(): Promise<void>;
  /** Ends the process that waits, if there is one. Sessions are closed by who loaded them. */
  close(): Promise<void>;
}

/**
 * Runs each model in a child process.
 *
 * @param options `spare`: after each load, the process of the next one is made ready.
 */
export function childProcessRunner(options: { readonly spare?: boolean } = {}): SpareRunner {
  return new ProcessRunner(options.spare ?? false);
}

class ProcessRunner implements SpareRunner {
  readonly name = "child-process";
  readonly #keepsSpare: boolean;
  #spare: { readonly child: ModelProcess; readonly ready: Promise<unknown> } | undefined;

  constructor(keepsSpare: boolean) {
    this.#keepsSpare = keepsSpare;
  }

  async load(model: ModelSource, options: ChildSessionOptions = {}): Promise<ChildSession> {
    options.signal?.throwIfAborted();
    const child = this.#taken() ?? new ModelProcess();
    const abort = (): void => child.kill();
    options.signal?.addEventListener("abort", abort, { once: true });
    try {
      const loaded = await child.ask(...questionOf(model, options));
      return new ChildProcessSession(child, loaded);
    } catch (error) {
      child.kill();
      options.signal?.throwIfAborted();
      throw error;
    } finally {
      options.signal?.removeEventListener("abort", abort);
      // A spare that does not start is no fault of this model; the next load starts its own.
      if (this.#keepsSpare) this.prepare().catch(() => undefined);
    }
  }

  async prepare(): Promise<void> {
    if (this.#spare === undefined || this.#spare.child.isGone) {
      const child = new ModelProcess();
      child.keepsParent(false);
      this.#spare = { child, ready: child.ask({ kind: "prepare" }) };
    }
    await this.#spare.ready;
  }

  async close(): Promise<void> {
    const spare = this.#spare;
    this.#spare = undefined;
    // Whoever waits for its end is waiting for something: this process would end first.
    spare?.child.keepsParent(true);
    spare?.child.kill();
    await spare?.child.exited;
  }

  #taken(): ModelProcess | undefined {
    const spare = this.#spare;
    this.#spare = undefined;
    if (spare === undefined || spare.child.isGone) return undefined;
    spare.ready.catch(() => undefined);
    spare.child.keepsParent(true);
    return spare.child;
  }
}

function questionOf(
  model: ModelSource,
  options: ChildSessionOptions,
): [Record<string, unknown>, Part[]] {
  const { signal: _, ...settings } = options;
  if ("path" in model) return [{ kind: "load", options: settings, path: model.path }, []];
  const { bytes, name } = model;
  return [
    { kind: "load", options: settings, ...(name !== undefined && { name }) },
    [{ name: "model", dtype: "uint8", shape: [bytes.byteLength], pieces: [bytes] }],
  ];
}

/**
 * Runs that the process has been sent: one that it computes, and the next, so that it never waits for us. Those
 * behind wait here, where they can still be given up.
 */
const SENT_MAX = 2;

/** The question of most runs: the same object, so that it is written once. */
const RUN = { kind: "run" };

interface Job {
  readonly header: Readonly<Record<string, unknown>>;
  readonly parts: readonly Part[];
  settle(answer: Frame | undefined, error?: unknown): void;
}

class ChildProcessSession implements ChildSession {
  readonly inputs: ReadonlyMap<string, ValueType>;
  readonly outputs: ReadonlyMap<string, ValueType>;
  readonly #process: ModelProcess;
  readonly #queue: Job[] = [];
  #sent = 0;
  /** Runs that callers wait for. One that was given up is none of them, and may go on alone. */
  #wanted = 0;
  readonly #idle: (() => void)[] = [];
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

  async run(feeds: Tensors, options: ChildRunOptions = {}): Promise<Tensors> {
    this.#check([feeds], options);
    const { computeMs, tensors } = await this.#submit(partsOf(feeds), options);
    options.onComputed?.(computeMs);
    return tensors;
  }

  async runBatch(members: readonly Tensors[], options: ChildRunOptions = {}): Promise<Tensors[]> {
    this.#check(members, options);
    if (members.length === 0) return [];
    const { parts, rows } = joinMembers(this.inputs, members);
    const { computeMs, tensors } = await this.#submit(parts, options);
    options.onComputed?.(computeMs);
    return splitByRows(tensors, rows);
  }

  #check(members: readonly Tensors[], { signal, outputs }: RunOptions): void {
    signal?.throwIfAborted();
    if (this.#closed) throw closedSession();
    const faults = checkFetches(this.outputs, outputs);
    for (const feeds of members) faults.unshift(...checkFeeds(this.inputs, feeds));
    if (faults.length > 0) throw SkipwayError.fromDiagnostics("input", faults);
  }

  #submit(parts: readonly Part[], { outputs, signal }: ChildRunOptions): Promise<Frame> {
    this.#wanted++;
    return new Promise((resolve, reject) => {
      const job: Job = {
        header: outputs === undefined ? RUN : { kind: "run", outputs },
        parts,
        settle: (answer, error) => {
          signal?.removeEventListener("abort", giveUp);
          // Only the first end counts.
          if (answer === undefined) reject(error);
          else resolve(answer);
          leave();
        },
      };
      let waits = true;
      const leave = (): void => {
        if (waits) this.#left();
        waits = false;
      };
      const giveUp = (): void => {
        const place = this.#queue.indexOf(job);
        // One that still waits here never reaches the process.
        if (place >= 0) this.#queue.splice(place, 1);
        reject(signal?.reason);
        leave();
      };
      signal?.addEventListener("abort", giveUp, { once: true });
      this.#queue.push(job);
      this.#send();
    });
  }

  /** A caller waits no more. */
  #left(): void {
    this.#wanted--;
    if (this.#wanted > 0) return;
    for (const resolve of this.#idle.splice(0)) resolve();
  }

  #send(): void {
    while (this.#sent < SENT_MAX) {
      const job = this.#queue.shift();
      if (job === undefined) return;
      this.#sent++;
      this.#process.send(job.header, job.parts, (answer, error) => {
        this.#sent--;
        // The next one first: the process shall not wait while callers read their answers.
        this.#send();
        job.settle(answer, error);
      });
    }
  }

  async memory(): Promise<MemoryReading> {
    // The operating system answers at once, also while the process computes.
    const known = memoryOf(this.pid);
    if (known !== undefined) {
      const proportionalBytes = await proportionalBytesOf(this.pid);
      return { ...known, ...(proportionalBytes !== undefined && { proportionalBytes }) };
    }
    const answer = await this.#process.ask({ kind: "memory" });
    return answer.header["memory"] as MemoryReading;
  }

  resetPeak(): boolean {
    return resetPeakOf(this.pid);
  }

  kill(): void {
    this.#closed = true;
    this.#process.kill();
  }

  async close(): Promise<void> {
    this.#closed = true;
    if (this.#wanted > 0) await new Promise<void>((resolve) => this.#idle.push(resolve));
    await this.#process.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
