// Candidate requests a second, lately: to say how long what is still needed takes.

/** Length of a slot, milliseconds, and how many are kept. */
const SLOT_MS = 10_000;
const SLOTS = 6;

export type SavedRate = readonly (readonly [slot: number, count: number])[];

/** Counts by slots of time. */
export class Rate {
  #slots: [slot: number, count: number][];

  constructor(saved: SavedRate = []) {
    this.#slots = saved.map(([slot, count]) => [slot, count]);
  }

  saved(): SavedRate {
    return this.#slots.map(([slot, count]) => [slot, count]);
  }

  count(atMs: number): void {
    const slot = Math.floor(atMs / SLOT_MS);
    const last = this.#slots.at(-1);
    if (last !== undefined && last[0] === slot) {
      last[1]++;
      return;
    }
    // A clock that was set back begins anew.
    this.#slots = this.#slots.filter(([old]) => old < slot && old > slot - SLOTS);
    this.#slots.push([slot, 1]);
  }

  /** Over the last minute, or since the first request if that is less. */
  perSecond(nowMs: number): number {
    const now = Math.floor(nowMs / SLOT_MS);
    const recent = this.#slots.filter(([slot]) => slot <= now && slot > now - SLOTS);
    const first = recent[0];
    if (first === undefined) return 0;
    const count = recent.reduce((sum, [, one]) => sum + one, 0);
    return (1000 * count) / Math.max(1000, nowMs - first[0] * SLOT_MS);
  }
}
