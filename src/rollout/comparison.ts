// Whether a business outcome (clicks, minutes, money) differs between two versions: an interval for the difference of
// means that holds at every look, while shares change. Pure.

import { KeyMemory, type SavedKeys } from "./judge/keys.ts";
import type { Arm } from "./judge/types.ts";

/** Everything that is known of one outcome. Plain JSON. */
export interface SavedComparison {
  /** Outcomes, and the sum of their values, by arm. */
  readonly count: Readonly<Record<Arm, number>>;
  readonly sum: Readonly<Record<Arm, number>>;
  /** Of the scores: how many, their mean, and the sum of squares about it. */
  readonly n: number;
  readonly mean: number;
  readonly squares: number;
  readonly keys: SavedKeys;
}

/** One outcome of one request. */
export interface OutcomeValue {
  readonly arm: Arm;
  /** Chance of the candidate when the request was routed, strictly between 0 and 1. */
  readonly share: number;
  readonly key?: number | undefined;
  readonly value: number;
}

/** What is known of the difference. */
export interface ComparisonReading {
  readonly stable: { readonly n: number; readonly mean: number | null };
  readonly candidate: { readonly n: number; readonly mean: number | null };
  /** Candidate minus stable; null: too few. */
  readonly difference: number | null;
  /** Holds at every look with chance 1 - alpha, asymptotically. */
  readonly lower: number | null;
  readonly upper: number | null;
  readonly alpha: number;
  /** The smallest difference that would stand out by now. */
  readonly detectable: number | null;
  readonly verdict: "better" | "worse" | "no difference seen" | "too few";
}

const NOTHING: SavedComparison = {
  count: { stable: 0, candidate: 0 },
  sum: { stable: 0, candidate: 0 },
  n: 0,
  mean: 0,
  squares: 0,
  keys: [],
};

/** Before, the normal approximation is none. */
const FEWEST = 50;
/** Outcomes after which the interval is tightest. */
const TIGHTEST = 2000;

/** Compares one outcome. */
export class Comparison {
  readonly #count: Record<Arm, number>;
  readonly #sum: Record<Arm, number>;
  readonly #keys: KeyMemory;
  #n: number;
  #mean: number;
  #squares: number;

  constructor(saved: SavedComparison = NOTHING) {
    this.#count = { ...saved.count };
    this.#sum = { ...saved.sum };
    this.#n = saved.n;
    this.#mean = saved.mean;
    this.#squares = saved.squares;
    this.#keys = new KeyMemory(saved.keys);
  }

  /** Takes an outcome. Of one key the first alone counts, until the share has grown: the others follow from it. */
  take({ arm, share: routed, key, value }: OutcomeValue): void {
    const share = key === undefined ? routed : this.#keys.chance(key, routed, arm);
    if (!(share > 0 && share < 1)) return;
    // Each score is an unbiased guess of the difference whatever the share was (augmented inverse propensity
    // weighting; Robins, Rotnitzky and Zhao 1994), so a ramp cannot turn it round (Simpson 1951). The means are those
    // before this outcome.
    const before = { stable: this.#meanOf("stable"), candidate: this.#meanOf("candidate") };
    const weight = arm === "candidate" ? 1 / share : -1 / (1 - share);
    const score = weight * (value - before[arm]) + before.candidate - before.stable;
    this.#count[arm]++;
    this.#sum[arm] += value;
    this.#n++;
    const off = score - this.#mean;
    this.#mean += off / this.#n;
    this.#squares += off * (score - this.#mean);
  }

  /** What is known now. */
  reading(alpha = 0.05): ComparisonReading {
    const [stable, candidate] = (["stable", "candidate"] as const).map((arm) => ({
      n: this.#count[arm],
      mean: this.#count[arm] === 0 ? null : this.#meanOf(arm),
    }));
    const arms = {
      stable: stable ?? { n: 0, mean: null },
      candidate: candidate ?? { n: 0, mean: null },
    };
    if (Math.min(arms.stable.n, arms.candidate.n) < FEWEST) {
      const none = { difference: null, lower: null, upper: null, detectable: null };
      return { ...arms, ...none, alpha, verdict: "too few" };
    }
    const half = (Math.sqrt(this.#squares) / this.#n) * wideningOf(this.#n, alpha);
    const lower = this.#mean - half;
    const upper = this.#mean + half;
    const verdict = lower > 0 ? "better" : upper < 0 ? "worse" : "no difference seen";
    return { ...arms, difference: this.#mean, lower, upper, alpha, detectable: 2 * half, verdict };
  }

  saved(): SavedComparison {
    return {
      count: { ...this.#count },
      sum: { ...this.#sum },
      n: this.#n,
      mean: this.#mean,
      squares: this.#squares,
      keys: this.#keys.saved(),
    };
  }

  #meanOf(arm: Arm): number {
    return this.#count[arm] === 0 ? 0 : this.#sum[arm] / this.#count[arm];
  }
}

/**
 * How many standard errors to either side an interval reaches that holds at every look with chance 1 - alpha,
 * asymptotically (Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas 2024, theorem 2.2).
 */
export function wideningOf(n: number, alpha: number): number {
  const log = -2 * Math.log(alpha);
  const rho2 = (log + Math.log(log) + 1) / TIGHTEST;
  const scale = (2 * (n * rho2 + 1)) / (n * rho2);
  return Math.sqrt(scale * Math.log(Math.sqrt(n * rho2 + 1) / alpha));
}
