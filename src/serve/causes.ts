// Why a process is given up, from what it did last: an error, an answer, an exit.

import { messageOf } from "../base/errors.ts";
import type { ProcessExit } from "../runtime/child-process.ts";
import { requestErrorOf } from "./errors.ts";
import type { Cause } from "./life.ts";

/** Refusals of the queue: the process was not asked. */
export function isBusy(error: unknown): boolean {
  const { reason } = requestErrorOf(error);
  return ["queue-full", "deadline", "memory", "not-ready", "process-died"].includes(reason);
}

/** An answer to the known question that is none, or another one. */
export function wrongAnswer(error: unknown): Cause {
  return { kind: "wrong-answer", text: messageOf(error) };
}

/** How a process ended, as a cause. */
export function causeOf(exit: ProcessExit): Cause {
  const by = exit.signal === null ? `with exit code ${exit.code}` : `by signal ${exit.signal}`;
  const why = exit.cause === "out-of-memory" ? "; memory ran out" : "";
  return { kind: exit.cause, text: `the process of the model ended ${by}${why}` };
}
