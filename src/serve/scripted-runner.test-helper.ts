// Processes that do as a test says, without processes: y = gain · x over [N, 1], or over more columns.

import { diagnostic } from "../base/diagnostic.ts";
import { SkipwayError } from "../base/errors.ts";
import type { ValueType } from "../graph/graph.ts";
import { float32, float32Values } from "../graph/tensor.ts";
import type { ChildRunner, ChildRunOptions, ChildSession } from "../runtime/child-process.ts";
import { died, type ExitCause, type ProcessExit } from "../runtime/process-exit.ts";
import type { MemoryReading, Tensors } from "../runtime/runner.ts";

/** What a scripted process does. Changed by the test at any time. */
export interface Script {
  /** What it answers is this many times what it is asked. */
  gain: number;
  /** Loads hang, fail, or go well. */
  load: "well" | "hangs" | "fails";
  /** Runs hang (a stopped process), fail, refuse what they are given, or go well after a while. */
  run: "well" | "hangs" | "fails" | "refuses";
  runMs: number;
  /** What its input is called. */
  readonly input: string;
  /** Which elements make a run fail that has them, though `run` is well. */
  failsAt(value: number): boolean;
}

/** A process as the test sees it. */
export interface ScriptedProcess {
  readonly pid: number;
  readonly script: Script;
  readonly path: string;
  readonly alive: boolean;
  /** Rows of each run, in order. */
  readonly runs: number[];
  die(cause?: ExitCause): void;
}

/** A runner, and all the processes that it has started. */
export class ScriptedRunner implements ChildRunner {
  readonly name = "scripted";
  readonly processes: Scripted[] = [];
  /** What the next processes do, by the path of their model. */
  readonly scripts: Map<string, Partial<Script>> = new Map();
  /** Processes that live at a time, at the most. */
  most = 0;
  readonly #columns: number;

  constructor(columns = 1) {
    this.#columns = columns;
  }

  get alive(): readonly Scripted[] {
    return this.processes.filter((one) => one.alive);
  }

  async load(
    model: { path: string } | { bytes: Uint8Array },
    options: { signal?: AbortSignal } = {},
  ): Promise<ChildSession> {
    const path = "path" in model ? model.path : "";
    const script: Script = {
      gain: 2,
      load: "well",
      run: "well",
      runMs: 0,
      input: "x",
      failsAt: () => false,
      ...this.scripts.get(path),
    };
    const process = new Scripted(this.processes.length + 1, path, script, this.#columns);
    this.processes.push(process);
    this.most = Math.max(this.most, this.alive.length);
    const { signal } = options;
    signal?.addEventListener("abort", () => process.kill());
    await new Promise((resolve) => setTimeout(resolve, 1));
    if (script.load === "hangs") await process.exited;
    if (signal?.aborted) throw signal.reason;
    if (script.load === "fails" || !process.alive) {
      process.kill();
      throw new SkipwayError("input", "the model is broken", {
        diagnostics: [
          diagnostic({ id: "runtime/refused", severity: "error", where: path, text: "is broken" }),
        ],
      });
    }
    return process;
  }
}

class Scripted implements ChildSession, ScriptedProcess {
  readonly inputs: ReadonlyMap<string, ValueType>;
  readonly outputs: ReadonlyMap<string, ValueType>;
  readonly pid: number;
  readonly path: string;
  readonly script: Script;
  readonly runs: number[] = [];
  readonly exited: Promise<ProcessExit>;
  alive = true;
  #exit: (exit: ProcessExit) => void = () => undefined;
  #closed = false;
  readonly #flying = new Set<Promise<unknown>>();

  constructor(pid: number, path: string, script: Script, columns: number) {
    const type: ValueType = { dtype: "float32", shape: ["N", columns] };
    this.inputs = new Map([[script.input, type]]);
    this.outputs = new Map([["y", type]]);
    this.pid = pid;
    this.path = path;
    this.script = script;
    this.exited = new Promise((resolve) => {
      this.#exit = resolve;
    });
  }

  async run(feeds: Tensors, options: ChildRunOptions = {}): Promise<Tensors> {
    const [answer] = await this.runBatch([feeds], options);
    if (answer === undefined) throw new Error("no answer");
    return answer;
  }

  runBatch(members: readonly Tensors[], options: ChildRunOptions = {}): Promise<Tensors[]> {
    if (this.#closed) return Promise.reject(closed());
    const work = this.#answers(members, options);
    this.#flying.add(work);
    work.finally(() => this.#flying.delete(work)).catch(() => undefined);
    return work;
  }

  async #answers(members: readonly Tensors[], options: ChildRunOptions): Promise<Tensors[]> {
    const rows = members.map((one) => one.get(this.script.input)?.shape[0] ?? 0);
    this.runs.push(rows.reduce((a, b) => a + b, 0));
    const end = this.exited.then((exit) => Promise.reject(died(exit)));
    const work = new Promise((resolve) => {
      if (this.script.run !== "hangs") setTimeout(resolve, this.script.runMs);
    });
    await Promise.race([work, end]);
    if (this.script.run === "refuses") throw refused();
    const values = members.flatMap((one) => [...valuesOf(one)]);
    if (this.script.run === "fails" || values.some((value) => this.script.failsAt(value)))
      throw new SkipwayError("environment", "it always fails");
    options.onComputed?.(this.script.runMs);
    return members.map((one) => {
      const x = one.get(this.script.input);
      return new Map([
        [
          "y",
          float32(
            x?.shape ?? [0],
            valuesOf(one).map((v) => v * this.script.gain),
          ),
        ],
      ]);
    });
  }

  die(cause: ExitCause = "crash"): void {
    if (!this.alive) return;
    this.alive = false;
    this.#exit({ code: null, signal: "SIGKILL", cause, lastWords: "" });
  }

  kill(): void {
    this.#closed = true;
    this.die("killed");
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.allSettled(this.#flying);
    this.die("exit");
  }

  async memory(): Promise<MemoryReading> {
    return { residentBytes: 0, peakResidentBytes: 0 };
  }

  resetPeak(): boolean {
    return false;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function valuesOf(member: Tensors): Float32Array {
  const [x] = member.values();
  return x === undefined ? new Float32Array() : float32Values(x);
}

function closed(): SkipwayError {
  return SkipwayError.fromDiagnostics("environment", [
    diagnostic({ id: "runtime/closed", severity: "error", where: "session", text: "is closed" }),
  ]);
}

/** As the runtime refuses inputs that do not fit its inner shapes. */
function refused(): SkipwayError {
  const found = { where: "run", text: "the inputs do not fit" };
  return SkipwayError.fromDiagnostics("environment", [
    diagnostic({ id: "runtime/failed", severity: "error", ...found }),
  ]);
}
