// Why a process is given up, from what it did last: an error, an answer, an exit.

import { messageOf } from "../base/errors.ts";
import type { ProcessExit } from "../runtime/child-process.ts";
import { idOf, requestErrorOf } from "./errors.ts";
import { withoutFolders } from "./folders.ts";
import type { Cause } from "./life.ts";

/** The id of what is said where a process has no room to load or to run, whoever else lets go. */
export const NO_MEMORY = "serve/no-memory";

/** Refusals of the queue: the process was not asked. */
export function isBusy(error: unknown): boolean {
  const { reason } = requestErrorOf(error);
  return ["queue-full", "deadline", "memory", "not-ready", "process-died"].includes(reason);
}

/** What a first run or the known question failed with. Clients read the text: it has no folders. */
export function failureOf(error: unknown, file: string): Cause {
  const kind = idOf(error) === NO_MEMORY ? "no-memory" : "wrong-answer";
  return { kind, text: withoutFolders(messageOf(error), file) };
}

/** A file that was refused, or a process that did not get as far as that. */
export function loadFailed(error: unknown, file: string): Cause {
  const text = `the load failed: ${withoutFolders(messageOf(error), file)}`;
  return { kind: "load-failed", text };
}

/** A process that does not answer. */
export function hung(stuckAfterMs: number): Cause {
  const text = `the process of the model has not answered for more than ${stuckAfterMs} ms, and for ten times what its run was expected to take`;
  return { kind: "stuck", text };
}

/** How a process ended, as a cause. */
export function causeOf(exit: ProcessExit): Cause {
  const by = exit.signal === null ? `with exit code ${exit.code}` : `by signal ${exit.signal}`;
  const why = exit.cause === "out-of-memory" ? "; memory ran out" : "";
  return { kind: exit.cause, text: `the process of the model ended ${by}${why}` };
}
