// Runs the built command line as a process, as a user would.

import { type ChildProcess, spawn } from "node:child_process";

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
