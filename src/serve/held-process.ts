// A process of a version from its start to its end, loaded or not.

import type { ChildSession } from "../runtime/child-process.ts";

/** A process of a version. */
export interface Held {
  session: ChildSession | undefined;
  readonly abort: AbortController;
  /** Since when a spare has been thinking about its question. */
  askedMs: number | undefined;
}

/** How long a process that finishes its last run may take. */
const CLOSE_MS = 10_000;

/** Ends it now. */
export function kill({ session, abort }: Held): void {
  abort.abort();
  session?.kill();
}

/** Ends it once it has finished what it computes. */
export async function close(held: Held): Promise<void> {
  const timer = setTimeout(() => kill(held), CLOSE_MS);
  await held.session?.close();
  clearTimeout(timer);
}
