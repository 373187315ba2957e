// How much of the last seconds something was busy: the saturation of a model's process.

import type { Clock } from "../base/clock.ts";

const SLOT_MS = 1000;
const SLOTS = 15;

/** Busy time in a ring of seconds. */
export class BusyWindow {
  readonly #clock: Clock;
  readonly #busyMs: Float64Array = new Float64Array(SLOTS);
  readonly #startedMs: number;
  #newest: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#startedMs = clock.monotonicMs();
    this.#newest = slotOf(this.#startedMs);
  }

  /** Adds a time that was spent busy, in monotonic milliseconds. It may be longer than the window. */
  add(startMs: number, endMs: number): void {
    this.#advance();
    const oldest = (this.#newest - SLOTS + 1) * SLOT_MS;
    for (let at = Math.max(startMs, oldest); at < endMs; ) {
      const slot = slotOf(at);
      const until = Math.min(endMs, (slot + 1) * SLOT_MS);
      const index = slot % SLOTS;
      if (slot <= this.#newest) this.#busyMs[index] = (this.#busyMs[index] ?? 0) + until - at;
      at = until;
    }
  }

  /** Share of the window that was busy, 0 to 1; of a younger one, share of its life. */
  share(): number {
    this.#advance();
    const now = this.#clock.monotonicMs();
    const oldest = Math.max(this.#startedMs, (this.#newest - SLOTS + 1) * SLOT_MS);
    const total = this.#busyMs.reduce((sum, one) => sum + one, 0);
    return now <= oldest ? 0 : Math.min(1, total / (now - oldest));
  }

  #advance(): void {
    const now = slotOf(this.#clock.monotonicMs());
    const passed = Math.min(now - this.#newest, SLOTS);
    for (let i = 0; i < passed; i++) this.#busyMs[(now - i) % SLOTS] = 0;
    this.#newest = Math.max(now, this.#newest);
  }
}

function slotOf(ms: number): number {
  return Math.floor(ms / SLOT_MS);
}
