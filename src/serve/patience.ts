// How long a step on the way to ready may take: what the settings say, until it went well once. After that ten
// times what it took then: a process that hangs while it loads must not keep a version away for minutes.

const TIMES = 10;
/** A machine may be busy, or read a file from a disk that sleeps. */
const LEAST_MS = 20_000;

/** The steps of one version. Times in milliseconds. */
export class Patience {
  readonly #maxMs: number;
  readonly #longest = new Map<string, number>();

  constructor(maxMs: number) {
    this.#maxMs = maxMs;
  }

  /** How long this step may take now. */
  limitMs(step: string): number {
    const longest = this.#longest.get(step);
    if (longest === undefined) return this.#maxMs;
    return Math.min(this.#maxMs, Math.max(LEAST_MS, TIMES * longest));
  }

  /** A step went well. */
  took(step: string, ms: number): void {
    this.#longest.set(step, Math.max(ms, this.#longest.get(step) ?? 0));
  }
}
