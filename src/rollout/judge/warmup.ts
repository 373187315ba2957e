// The first runs of a process are slow whatever it runs: memory is asked for, code and weights are read. They are left
// out of what is judged by time. How many is fixed in advance and no outcome is looked at; and while one version
// warms up, requests of the other one are left out too, so that one that counts is the candidate's with the chance that
// its share says.

import type { Arm } from "./types.ts";

export type SavedWarmup = readonly (readonly [name: string, stable: number, candidate: number])[];

/** Kinds of runs that are told apart; further ones are judged from their first on. */
const NAMES_MAX = 512;
const WARM = { own: true, both: true };

/** Counts the first runs of each kind of both versions. */
export class Warmup {
  readonly #runs: number;
  readonly #had: Map<string, Record<Arm, number>>;

  /** @param runs that are left out of each kind. */
  constructor(runs: number, saved: SavedWarmup = []) {
    this.#runs = runs;
    this.#had = new Map(saved.map(([name, stable, candidate]) => [name, { stable, candidate }]));
  }

  saved(): SavedWarmup {
    return [...this.#had].map(([name, { stable, candidate }]) => [name, stable, candidate]);
  }

  /** Takes a run into account. @returns whether its version, and both of them, had had their first ones before it. */
  take(name: string, arm: Arm): { readonly own: boolean; readonly both: boolean } {
    if (this.#runs === 0) return WARM;
    let had = this.#had.get(name);
    if (had === undefined) {
      if (this.#had.size >= NAMES_MAX) return WARM;
      had = { stable: 0, candidate: 0 };
      this.#had.set(name, had);
    }
    const own = had[arm] >= this.#runs;
    const both = had.stable >= this.#runs && had.candidate >= this.#runs;
    if (!own) had[arm]++;
    return { own, both };
  }

  /** Another process answers for this version from here on. */
  restart(arm: Arm): void {
    for (const had of this.#had.values()) had[arm] = 0;
  }
}
