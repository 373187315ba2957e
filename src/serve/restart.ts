// When a model's process that died is started again: at once the first time, then after longer and
// longer pauses, as long as it keeps dying young. Where no client waits for it, starts keep out of the way.

/** How often a process died in a row without living long enough to be called well. */
export interface RestartState {
  readonly failures: number;
}

const FIRST_MS = 100;
const LONGEST_MS = 10_000;
/** A process that lived this long was well; its death starts the count anew. */
const WELL_AFTER_MS = 30_000;

/** No failure so far. */
export const NO_FAILURES: RestartState = { failures: 0 };

/** The state after a death, and the pause before the next start. */
export function afterDeath(
  state: RestartState,
  livedMs: number,
): { state: RestartState; delayMs: number } {
  const failures = livedMs >= WELL_AFTER_MS ? 1 : state.failures + 1;
  const delayMs = failures === 1 ? 0 : Math.min(LONGEST_MS, FIRST_MS * 2 ** (failures - 2));
  return { state: { failures }, delayMs };
}

/**
 * Of the time that a process lived and rests, the part that its start may take where no client waits for its answers.
 * A start has a core for itself: of two cores that serve, more than a few in a thousand is seen in the P99 of the
 * others (docs/design/rollout.md, "What a shadow costs").
 */
const STARTS_AT_MOST = 1 / 200;
const LONGEST_REST_MS = 300_000;

/**
 * The pause before the next start of a process for which no client waits.
 *
 * @param startMs what the last start took, to the process's being ready or dead.
 * @param delayMs as if clients waited.
 */
export function restMs(startMs: number, livedMs: number, delayMs: number): number {
  const restMs = Math.min(LONGEST_REST_MS, startMs / STARTS_AT_MOST - livedMs);
  return Math.max(delayMs, restMs);
}
