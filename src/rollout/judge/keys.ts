// Which sticky clients have been counted. A client that keeps its version counts once, however often it comes:
// one slow client with many requests is one event. A client goes to the candidate where its place, a hash in [0, 1),
// is below the share; so when the share has grown, where it goes is news again.

import { mix32 } from "../../base/random.ts";
import type { Arm } from "./types.ts";

export type SavedKeys = readonly (readonly [key: number, least: number])[];

/** Clients with an event that are remembered by gate. Beyond, events of new ones no longer count, on either side. */
const EVENTS_MAX = 20_000;
/** Clients that are remembered for the check of the assignment; beyond, every second one is sampled, then every fourth… */
const SAMPLE_MAX = 8_192;
const SAMPLE_SEED = 0x51a7;

/** The clients that have had their event, and what is known of their places. */
export class KeyMemory {
  /** A client's place is at least this; 1: it is known to go to the candidate. */
  readonly #least: Map<number, number>;

  constructor(saved: SavedKeys = []) {
    this.#least = new Map(saved);
  }

  saved(): SavedKeys {
    return [...this.#least];
  }

  /**
   * The chance that an event of this client is the candidate's, given what its earlier events told; 0 where it tells
   * nothing new, or there is no room.
   */
  chance(key: number, share: number, arm: Arm): number {
    const least = this.#least.get(key);
    if (least === undefined && this.#least.size >= EVENTS_MAX) return 0;
    if (least !== undefined && share <= least) return 0;
    this.#least.set(key, arm === "candidate" ? 1 : share);
    return least === undefined ? share : (share - least) / (1 - least);
  }
}

/** Batches of a client without a fault, after which he is no suspect any more. */
const CLEAN = 8;

export type SavedSuspects = readonly (readonly [key: number, clean: number])[];

/**
 * Clients that keep their version, and in whose company a batch was bad. Who sends what takes long slows those who
 * share his batch, again and again on the version that he has; so a batch is left out, on both sides, while one of its
 * clients had a bad one among his last 8. That is known before its outcome is.
 */
export class Suspects {
  readonly #clean: Map<number, number>;

  constructor(saved: SavedSuspects = []) {
    this.#clean = new Map(saved);
  }

  saved(): SavedSuspects {
    return [...this.#clean];
  }

  /**
   * Whether a batch of these clients is compared; then takes its outcome into account.
   *
   * @param bad whether one of its requests was bad.
   * @param alone the client whose requests alone were bad; undefined: those of several, or of one without a key.
   */
  admits(keys: readonly number[], bad: boolean, alone?: number): boolean {
    const known = keys.filter((key) => this.#clean.has(key));
    const admitted = known.length === 0 && this.#clean.size < EVENTS_MAX;
    if (bad) {
      // Where a suspect was there it was he, as far as one can tell; his company would be left out for nothing.
      const blamed = alone !== undefined ? [alone] : known.length > 0 ? known : keys;
      for (const key of blamed) this.#clean.set(key, 0);
      return admitted;
    }
    for (const key of known) {
      const clean = this.#clean.get(key) ?? 0;
      if (clean === CLEAN - 1) this.#clean.delete(key);
      else this.#clean.set(key, clean + 1);
    }
    return admitted;
  }
}

/** Distinct clients, sampled by their hash so that memory is bounded (Gibbons 2001). */
export class KeySample {
  readonly #seen: Set<number>;
  #level: number;

  constructor(
    saved: { readonly level: number; readonly keys: readonly number[] } = { level: 0, keys: [] },
  ) {
    this.#seen = new Set(saved.keys);
    this.#level = saved.level;
  }

  saved(): { readonly level: number; readonly keys: readonly number[] } {
    return { level: this.#level, keys: [...this.#seen] };
  }

  /** Whether this client counts: it is in the sample and comes for the first time. */
  first(key: number): boolean {
    if (!sampled(key, this.#level) || this.#seen.has(key)) return false;
    this.#seen.add(key);
    while (this.#seen.size > SAMPLE_MAX) {
      this.#level++;
      for (const one of this.#seen) if (!sampled(one, this.#level)) this.#seen.delete(one);
    }
    return true;
  }
}

/** By bits that say nothing about the arm, which is chosen by the key itself. */
function sampled(key: number, level: number): boolean {
  return level === 0 || mix32(SAMPLE_SEED, key) % 2 ** level === 0;
}
