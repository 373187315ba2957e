// Runs the command line: the built one as a process, as a user would, or its commands in the process of the test.

import { type ChildProcess, spawn } from "node:child_process";
import { runCommand } from "../src/cli/run.ts";

/** What a command left behind. */
export interface Outcome {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** A command that runs. */
export class Running {
  readonly process: ChildProcess;
  readonly done: Promise<Outcome>;
  #out = "";
  #err = "";

  constructor(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
    this.process = spawn(process.execPath, ["dist/cli/main.js", ...args], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, ...env },
    });
    this.process.stdout?.on("data", (data: Buffer) => {
      this.#out += data.toString();
    });
    this.process.stderr?.on("data", (data: Buffer) => {
      this.#err += data.toString();
    });
    this.done = new Promise((resolve) => {
      this.process.once("close", (code) => resolve({ code, out: this.#out, err: this.#err }));
    });
  }

  /** Waits until the error stream holds a text; gives the match. */
  async says(pattern: RegExp): Promise<RegExpMatchArray> {
    for (;;) {
      const found = this.#err.match(pattern);
      if (found !== null) return found;
      if (this.process.exitCode !== null) {
        throw new Error(`it ended with ${this.process.exitCode} and said:\n${this.#err}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** Waits until the output holds a text; gives all that there is then. */
  async prints(pattern: RegExp): Promise<string> {
    while (!pattern.test(this.#out)) {
      if (this.process.exitCode !== null) throw new Error(`it ended and said:\n${this.#err}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return this.#out;
  }

  kill(signal: NodeJS.Signals): void {
    this.process.kill(signal);
  }
}

/** Runs a command to its end. */
export function skipway(...args: string[]): Promise<Outcome> {
  return new Running(args).done;
}

/**
 * Runs a command in this process, which costs a twentieth of a new one. For what is told by its streams and its exit
 * code; signals, pipes and the bundle itself need a process.
 */
export async function command(...args: string[]): Promise<Outcome> {
  let [out, err] = ["", ""];
  const before = process.exitCode;
  process.exitCode = undefined;
  try {
    const code = await runCommand(args, {
      out: (text) => {
        out += text;
      },
      err: (text) => {
        err += text;
      },
      ...{ live: false, color: false, columns: 100, rows: 24 },
      ...{ outColor: false, outColumns: Number.POSITIVE_INFINITY, outUnicode: true },
      signal: new AbortController().signal,
    });
    return { code, out, err };
  } finally {
    process.exitCode = before;
  }
}

/** Pids of the processes that a process has started. */
export async function childrenOf(pid: number | undefined): Promise<number[]> {
  const { readFile } = await import("node:fs/promises");
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, "utf8");
  return text.split(" ").filter(Boolean).map(Number);
}

/** Whether a process runs. */
export function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Waits until something holds. */
export async function until(test: () => boolean): Promise<void> {
  while (!test()) await new Promise((resolve) => setTimeout(resolve, 20));
}
