// The last minute, as a ring of short histograms: old slots fall out as time goes on.

import type { Clock } from "../base/clock.ts";
import { Histogram } from "./histogram.ts";

/** Values of the last `windowMs`, in slots of `slotMs`. */
export class SlidingHistogram {
  readonly windowMs: number;
  readonly #slotMs: number;
  readonly #slots: Histogram[];
  readonly #clock: Clock;
  #current: number;
  #firstMs: number | undefined;

  constructor(clock: Clock, options: { windowMs: number; slotMs: number }) {
    this.windowMs = options.windowMs;
    this.#slotMs = options.slotMs;
    this.#clock = clock;
    const count = Math.ceil(options.windowMs / options.slotMs);
    this.#slots = Array.from({ length: count }, () => new Histogram());
    this.#current = this.#slotNow();
  }

  record(value: number): void {
    this.#firstMs ??= this.#clock.monotonicMs();
    this.#advance();
    this.#slots[this.#current % this.#slots.length]?.record(value);
  }

  /** All values of the window in one histogram. */
  total(): Histogram {
    this.#advance();
    const sum = new Histogram();
    for (const slot of this.#slots) sum.add(slot);
    return sum;
  }

  /** How long what it has was gathered for: since the first value that there was, and no longer than the window. */
  coveredMs(): number {
    if (this.#firstMs === undefined) return 0;
    const now = this.#clock.monotonicMs();
    const whole = (this.#slots.length - 1) * this.#slotMs;
    return Math.min(now - this.#firstMs, whole + (now - this.#slotMs * this.#slotNow()));
  }

  #slotNow(): number {
    return Math.floor(this.#clock.monotonicMs() / this.#slotMs);
  }

  #advance(): void {
    const now = this.#slotNow();
    const passed = Math.min(now - this.#current, this.#slots.length);
    for (let i = 0; i < passed; i++) {
      this.#slots[(now - i) % this.#slots.length]?.clear();
    }
    this.#current = now;
  }
}
