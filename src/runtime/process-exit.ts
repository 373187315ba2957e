// How a model's process ended, and why: for messages and for what counts deaths by cause.

import { diagnostic } from "../base/diagnostic.ts";
import { SkipwayError } from "../base/errors.ts";

/**
 * Why a process ended: memory ran out (the system's killer, an allocation that failed), a fault inside the
 * runtime, an exit of its own, or somebody killed it.
 */
export type ExitCause = "out-of-memory" | "crash" | "exit" | "killed";

/** How a process ended. */
export interface ProcessExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly cause: ExitCause;
  /** The end of what it wrote to its standard error. */
  readonly lastWords: string;
}

/** What can be seen of an end from outside. */
export interface SeenExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly lastWords: string;
  /** Whether the system's killer has been at work in our control group since the process began. */
  readonly outOfMemoryKill: boolean;
  /** Whether we killed it ourselves. */
  readonly asked: boolean;
}

/** std::bad_alloc of C++, the end of V8's heap, and what the runtime says. */
const NO_MEMORY = /bad_alloc|heap out of memory|failed to allocate memory|cannot allocate memory/i;
const FAULTS: ReadonlySet<string> = new Set(["SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE"]);
/** Exit codes by which a shell or an init process tells a signal: 128 and its number. */
const CODES: ReadonlyMap<number, NodeJS.Signals> = new Map([
  [132, "SIGILL"],
  [134, "SIGABRT"],
  [135, "SIGBUS"],
  [136, "SIGFPE"],
  [137, "SIGKILL"],
  [139, "SIGSEGV"],
]);

/** The exit with its cause. */
export function exitOf(seen: SeenExit): ProcessExit {
  const { code, signal, lastWords } = seen;
  return { code, signal, cause: causeOf(seen), lastWords };
}

function causeOf({ code, signal, lastWords, outOfMemoryKill, asked }: SeenExit): ExitCause {
  const by = signal ?? CODES.get(code ?? 0);
  if (asked) return by === undefined ? "exit" : "killed";
  if (NO_MEMORY.test(lastWords) && (by !== undefined || code !== 0)) return "out-of-memory";
  if (by === undefined) return "exit";
  if (by === "SIGKILL" && outOfMemoryKill) return "out-of-memory";
  return FAULTS.has(by) ? "crash" : "killed";
}

const WORDS: Readonly<Record<ExitCause, string>> = {
  "out-of-memory": "; memory ran out",
  crash: "; the runtime crashed",
  exit: "",
  killed: "",
};

/** The error of every question that such a process leaves unanswered. */
export function died(exit: ProcessExit): SkipwayError {
  const how = exit.signal === null ? `with exit code ${exit.code}` : `by signal ${exit.signal}`;
  const words = exit.lastWords.trim().split("\n").at(-1) ?? "";
  const found = diagnostic({
    id: exit.cause === "out-of-memory" ? "runtime/process-out-of-memory" : "runtime/process-died",
    severity: "error",
    where: "model process",
    text: `the process of the model ended ${how}${WORDS[exit.cause]}`,
    notes: words === "" ? [] : [words],
    fix: "Send the request again in a moment; if it was killed for memory, use smaller batches.",
  });
  return SkipwayError.fromDiagnostics("environment", [found]);
}
