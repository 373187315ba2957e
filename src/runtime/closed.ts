// The answer of a session after its end.

import { diagnostic } from "../base/diagnostic.ts";
import { SkipwayError } from "../base/errors.ts";

/** The error of a run after `close`. */
export function closedSession(): SkipwayError {
  return SkipwayError.fromDiagnostics("environment", [
    diagnostic({
      id: "runtime/closed",
      severity: "error",
      where: "session",
      text: "the session is closed",
      fix: "Load the model again.",
    }),
  ]);
}
