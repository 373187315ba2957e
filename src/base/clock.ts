// The only place that reads the time. Everything that decides takes a clock, so that tests can hold it.

/** Time as a value that can be passed in. */
export interface Clock {
  /** Milliseconds since the Unix epoch. */
  nowMs(): number;
  /** Milliseconds from an arbitrary start; never runs backwards. */
  monotonicMs(): number;
}

/** The machine's clock. */
export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
};

/** A time since the epoch as text: UTC, in the form of RFC 3339. */
export function timeText(ms: number): string {
  return new Date(ms).toISOString();
}
