// Training in a process of its own, seen from the parent.

import { fork } from "node:child_process";
import { type Diagnostic, diagnostic } from "../base/diagnostic.ts";
import { builtEntry } from "../base/entry.ts";
import { type ErrorCode, SkipwayError } from "../base/errors.ts";
import type { StarterJob, TwinResult } from "./starter.ts";
import type { StepProgress } from "./train.ts";

/** What the training process tells. */
export type WorkerMessage =
  | { readonly kind: "step"; readonly progress: StepProgress }
  | { readonly kind: "done"; readonly result: TwinResult }
  | {
      readonly kind: "failed";
      readonly code: ErrorCode;
      readonly message: string;
      readonly diagnostics: readonly Diagnostic[];
    };

/**
 * Trains a twin in a child process. On abort the process is killed: its last checkpoint stays.
 *
 * @throws SkipwayError what the training threw, `interrupted` on abort, `environment` if the process
 * died.
 */
export function trainInProcess(
  job: StarterJob,
  options: { onStep?: (progress: StepProgress) => void; signal?: AbortSignal } = {},
): Promise<TwinResult> {
  const { onStep, signal } = options;
  return new Promise((resolve, reject) => {
    const child = fork(builtEntry(import.meta.url, "./worker-main.js"), [JSON.stringify(job)], {
      stdio: ["ignore", "ignore", "inherit", "ipc"],
    });
    const abort = (): void => {
      child.kill("SIGKILL");
      reject(new SkipwayError("interrupted", "training was interrupted"));
    };
    signal?.addEventListener("abort", abort, { once: true });
    if (signal?.aborted) abort();
    child.on("message", (message: WorkerMessage) => {
      if (message.kind === "step") onStep?.(message.progress);
      else if (message.kind === "done") resolve(message.result);
      else reject(new SkipwayError(message.code, message.message, message));
    });
    child.once("error", reject);
    child.once("exit", (code, killed) => {
      signal?.removeEventListener("abort", abort);
      // After a result this changes nothing: a promise settles once.
      reject(died(code, killed));
    });
  });
}

function died(code: number | null, killed: NodeJS.Signals | null): SkipwayError {
  const how = killed === null ? `with exit code ${code}` : `by signal ${killed}`;
  return SkipwayError.fromDiagnostics("environment", [
    diagnostic({
      id: "train/process-died",
      severity: "error",
      where: "training process",
      text: `it ended ${how} before the training was done`,
      fix: "Start again: training goes on after the last whole epoch. If memory ran out, close other programs.",
    }),
  ]);
}
