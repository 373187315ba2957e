// When the requests of a load test are meant to be sent: drawn before the first one leaves, from the rate
// over time alone. How the server does has no say in it; that is what makes a load test open.

import { Random } from "../../base/random.ts";

/** A rate that holds, or changes evenly, for a time. */
export interface Segment {
  readonly seconds: number;
  /** Requests a second at the beginning and at the end. */
  readonly from: number;
  readonly to: number;
}

/** How arrivals are spread: as many users who know nothing of each other send them, or evenly. */
export type Spread = "poisson" | "even";

/** How a rate changes over a test. */
export type Pattern =
  | { readonly kind: "steady"; readonly rate: number }
  /** From one rate evenly to another. */
  | { readonly kind: "ramp"; readonly from: number; readonly to: number }
  /** Rates that hold for the same time each. */
  | { readonly kind: "steps"; readonly rates: readonly number[] };

/** The segments of a pattern that takes `seconds` in all. */
export function segmentsOf(pattern: Pattern, seconds: number): readonly Segment[] {
  switch (pattern.kind) {
    case "steady":
      return [{ seconds, from: pattern.rate, to: pattern.rate }];
    case "ramp":
      return [{ seconds, from: pattern.from, to: pattern.to }];
    case "steps":
      return pattern.rates.map((rate) => ({
        seconds: seconds / pattern.rates.length,
        from: rate,
        to: rate,
      }));
  }
}

/** Requests that the segments mean on average. */
export function expectedCount(segments: readonly Segment[]): number {
  return segments.reduce((sum, { seconds, from, to }) => sum + (seconds * (from + to)) / 2, 0);
}

/**
 * Times of arrival in milliseconds from the start, ascending. A Poisson process whose rate changes is one of
 * rate 1 on the scale of the expected count (Lewis and Shedler 1979, section 2: inversion); evenly spread
 * arrivals stand at its whole numbers.
 */
export function arrivals(
  segments: readonly Segment[],
  options: { readonly spread: Spread; readonly seed: number },
): Float64Array {
  const random = new Random(options.seed);
  const gap = options.spread === "poisson" ? () => -Math.log(1 - random.uniform()) : () => 1;
  const times: number[] = [];
  let due = options.spread === "poisson" ? gap() : 0;
  let countBefore = 0;
  let secondsBefore = 0;
  for (const segment of segments) {
    const count = expectedCount([segment]);
    while (due < countBefore + count) {
      times.push((secondsBefore + secondsInto(segment, due - countBefore)) * 1000);
      due += gap();
    }
    countBefore += count;
    secondsBefore += segment.seconds;
  }
  return Float64Array.from(times);
}

/** The time into a segment at which `count` requests are expected to have come. */
function secondsInto({ seconds, from, to }: Segment, count: number): number {
  const slope = (to - from) / seconds;
  if (Math.abs(slope) < 1e-12 * Math.max(from, to)) return count / from;
  // count = from·t + slope·t²/2, in the form that does not cancel for small slopes.
  return (2 * count) / (from + Math.sqrt(Math.max(0, from * from + 2 * slope * count)));
}
