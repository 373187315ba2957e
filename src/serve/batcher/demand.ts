// How much work comes in, whether it is accepted or not: rates that forget exponentially.

/** Arrivals are counted over about so long: several batches of a slow model. */
const WINDOW_MS = 500;

/** A rate of something that comes in pieces. */
export class Rate {
  #sum = 0;
  #sinceMs = 0;

  add(amount: number, nowMs: number): void {
    this.#sum = this.#sum * Math.exp((this.#sinceMs - nowMs) / WINDOW_MS) + amount;
    this.#sinceMs = nowMs;
  }

  /** Of one millisecond, lately. */
  at(nowMs: number): number {
    return (this.#sum * Math.exp((this.#sinceMs - nowMs) / WINDOW_MS)) / WINDOW_MS;
  }
}

/** Work offered, by priority: milliseconds of a process for each millisecond, at the best batch sizes. */
export class Demand {
  readonly #levels: Rate[] = [];

  add(priority: number, workMs: number, nowMs: number): void {
    while (this.#levels.length < priority) this.#levels.push(new Rate());
    this.#levels[priority - 1]?.add(workMs, nowMs);
  }

  /** Of priorities higher than this one. */
  above(priority: number, nowMs: number): number {
    let sum = 0;
    for (let i = 0; i < Math.min(priority - 1, this.#levels.length); i++) {
      sum += this.#levels[i]?.at(nowMs) ?? 0;
    }
    return sum;
  }

  /** Of all priorities. */
  total(nowMs: number): number {
    return this.above(this.#levels.length + 1, nowMs);
  }
}
