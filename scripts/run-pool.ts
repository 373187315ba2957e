// The process that runs models for the conformance check, killed and started anew when it does not
// answer in time.

import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { RunAnswer, RunRequest } from "./run-worker.ts";

const PATIENCE_MS = 10_000;

/** Runs models, one after another. */
export class RunPool {
  #worker: ChildProcess | undefined;

  /** How the two forms of a model compare; `late` if there was no answer in time. */
  compare(request: RunRequest): Promise<RunAnswer | "late"> {
    this.#worker ??= fork(fileURLToPath(new URL("./run-worker.js", import.meta.url)), {
      serialization: "advanced",
      stdio: ["ignore", "ignore", "ignore", "ipc"],
    });
    const worker = this.#worker;
    return new Promise((resolve) => {
      const settle = (answer: RunAnswer | "late"): void => {
        clearTimeout(timer);
        worker.removeAllListeners();
        resolve(answer);
      };
      const give = (): void => {
        worker.kill("SIGKILL");
        this.#worker = undefined;
        settle("late");
      };
      const timer = setTimeout(give, PATIENCE_MS);
      worker.once("message", (answer) => settle(answer as RunAnswer));
      worker.once("exit", give);
      worker.send(request);
    });
  }

  close(): void {
    this.#worker?.disconnect();
  }
}
