// When a model's process that died is started again: at once the first time, then after longer and
// longer pauses, as long as it keeps dying young.

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
