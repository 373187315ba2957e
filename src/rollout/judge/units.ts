// Requests of one batch are one event. They are gathered here until all of them are told, and then count together
// as good or bad.

import type { Arm } from "./types.ts";

/** What can be bad about a request. */
export const FAULTS = ["slow", "failed", "out-of-memory", "not-finite"] as const;

/** A batch whose requests are being told. */
export interface Unit {
  readonly arm: Arm;
  readonly batch: number;
  readonly firstMs: number;
  readonly stratum: number;
  readonly share: number;
  /** Shape of its requests. */
  readonly form?: string | undefined;
  /** Requests that were told so far. */
  rows: number;
  /** Rows of the whole batch, where known: one request may have many. */
  readonly batchRows?: number | undefined;
  /** Sticky keys of its requests, each once. */
  keys: number[];
  /** The client whose requests alone were bad; null: of several, or of one without a key. Left out where none was. */
  alone?: number | null;
  /** Bit i: one of its requests has fault i. */
  bad: number;
}

/** Notes whose request was bad. */
export function blame(unit: Unit, key: number | undefined): void {
  unit.alone = unit.alone === undefined || unit.alone === key ? (key ?? null) : null;
}

/** Batches of one arm that may be open; the oldest one is closed then. */
const OPEN_MAX = 64;
/** Answers of one batch leave together: whatever comes later than this is not waited for, milliseconds. */
const OPEN_MS = 200;

/** The batches that are not complete. */
export class Units {
  readonly #open: Record<Arm, Map<number, Unit>>;

  constructor(saved: readonly Unit[] = []) {
    this.#open = { stable: new Map(), candidate: new Map() };
    for (const unit of saved) this.#open[unit.arm].set(unit.batch, { ...unit });
  }

  saved(): readonly Unit[] {
    return [...this.#open.stable.values(), ...this.#open.candidate.values()].map((unit) => ({
      ...unit,
    }));
  }

  /** The batch of a request. */
  unit(
    of: Pick<Unit, "arm" | "batch" | "firstMs" | "stratum" | "share" | "form" | "batchRows">,
  ): Unit {
    const open = this.#open[of.arm];
    let unit = open.get(of.batch);
    if (unit === undefined) {
      unit = { ...of, rows: 0, keys: [], bad: 0 };
      open.set(of.batch, unit);
    }
    return unit;
  }

  /** Closes and returns the oldest batch if too many are open. */
  excess(arm: Arm): Unit | undefined {
    const open = this.#open[arm];
    if (open.size <= OPEN_MAX) return undefined;
    const [oldest] = open.values();
    if (oldest !== undefined) open.delete(oldest.batch);
    return oldest;
  }

  close(unit: Unit): void {
    this.#open[unit.arm].delete(unit.batch);
  }

  /** Closes and returns the oldest batch that is waited for no longer. */
  expired(nowMs: number): Unit | undefined {
    for (const open of [this.#open.stable, this.#open.candidate]) {
      for (const unit of open.values()) {
        if (Math.abs(nowMs - unit.firstMs) < OPEN_MS) break;
        open.delete(unit.batch);
        return unit;
      }
    }
    return undefined;
  }
}
