// Checks of our own reasoning. They stay on in production: a wrong answer costs more than a test.

import { SkipwayError } from "./errors.ts";

/**
 * Throws when something that we promised ourselves does not hold.
 *
 * @throws SkipwayError with code `internal`: a defect of skipway, never of the input.
 */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new SkipwayError("internal", `skipway defect: ${message}`);
}

/** Narrows away `undefined` where our own bookkeeping says that there is a value. */
export function present<T>(value: T | undefined | null, message: string): T {
  assert(value !== undefined && value !== null, message);
  return value;
}

/** Ends a `switch` over a union: a new member does not compile until it is handled. */
export function unreachable(value: never): never {
  throw new SkipwayError("internal", `skipway defect: unexpected ${JSON.stringify(value)}`);
}
