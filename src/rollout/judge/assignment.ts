// Whether requests went where they should have: the sequential check of the sample ratio (Lindon and Malek 2022),
// with the share that held for each request. What has not been answered yet is missing on the slower side, so
// requests are counted by when they came, and only once whoever came then has long been answered.

import { KeySample } from "./keys.ts";
import type { Arm } from "./types.ts";

/** Requests are counted in slots of this length, milliseconds, */
const SLOT_MS = 5_000;
/** this long after the slot has ended. */
const LAG_MS = 30_000;

/** Candidate and stable requests of one slot, stratum and share. */
export interface Assigned {
  readonly stratum: number;
  readonly share: number;
  candidate: number;
  stable: number;
}

export interface SavedAssignment {
  readonly keys: { readonly level: number; readonly keys: readonly number[] };
  readonly slots: readonly (readonly [slot: number, cells: readonly Assigned[]])[];
}

/** Gathers assignments until they can be judged. */
export class Assignment {
  readonly #keys: KeySample;
  /** In order of time. */
  readonly #slots: { readonly slot: number; readonly cells: Assigned[] }[];

  constructor(saved?: SavedAssignment) {
    this.#keys = new KeySample(saved?.keys);
    this.#slots = (saved?.slots ?? []).map(([slot, cells]) => ({
      slot,
      cells: cells.map((cell) => ({ ...cell })),
    }));
  }

  saved(): SavedAssignment {
    return {
      keys: this.#keys.saved(),
      slots: this.#slots.map(({ slot, cells }) => [slot, cells.map((cell) => ({ ...cell }))]),
    };
  }

  /** A request that came at a time. */
  count(cameMs: number, arm: Arm, stratum: number, share: number, key: number | undefined): void {
    if (key !== undefined && !this.#keys.first(key)) return;
    const cells = this.#cellsOf(Math.floor(cameMs / SLOT_MS));
    let cell = cells.find((one) => one.share === share && one.stratum === stratum);
    if (cell === undefined) {
      cell = { stratum, share, candidate: 0, stable: 0 };
      cells.push(cell);
    }
    cell[arm]++;
  }

  /** Those of the oldest slot, if it can be judged. */
  due(nowMs: number): readonly Assigned[] | undefined {
    const oldest = this.#slots[0];
    if (oldest === undefined || (oldest.slot + 1) * SLOT_MS > nowMs - LAG_MS) return undefined;
    this.#slots.shift();
    return oldest.cells;
  }

  /** Whatever came before the oldest slot counts there: its own is closed. */
  #cellsOf(slot: number): Assigned[] {
    for (let i = this.#slots.length - 1; i >= 0; i--) {
      const one = this.#slots[i];
      if (one === undefined) break;
      if (one.slot === slot || (i === 0 && slot < one.slot)) return one.cells;
      if (one.slot < slot) {
        const cells: Assigned[] = [];
        this.#slots.splice(i + 1, 0, { slot, cells });
        return cells;
      }
    }
    const cells: Assigned[] = [];
    this.#slots.unshift({ slot, cells });
    return cells;
  }
}
