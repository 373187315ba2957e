// The series of one family: found once by their labels, then written through a handle. Their number is
// bounded, since label values can come from clients: beyond the bound, what is counted goes to one series
// whose labels all say `other`, so that sums stay true.

import { assert, present } from "../base/assert.ts";
import { limits } from "../base/limits.ts";
import type { Labels } from "./exposition.ts";

/** The label value of what has no series of its own. */
export const OTHER = "other";

/** Something that counts, and can take over what another one has counted. */
export interface Countable {
  /** Adds what `gone` has; from now on its handle writes here. */
  absorb(gone: this): void;
}

/** Handles by their labels, bounded. */
export class SeriesTable<T extends Countable> {
  readonly #names: readonly string[];
  readonly #max: number;
  readonly #make: () => T;
  readonly #live = new Map<string, { readonly labels: Labels; readonly handle: T }>();
  /** Keys of series that nothing counts into any more, the oldest first. */
  readonly #retired = new Set<string>();
  #overflow: T | undefined;
  #refused = 0;

  constructor(names: readonly string[], make: () => T, max: number = limits.metricSeriesMax) {
    this.#names = names;
    this.#make = make;
    this.#max = max;
  }

  /** How often labels found no place of their own. */
  get refused(): number {
    return this.#refused;
  }

  /** The handle for these values, in the order of the declared names. */
  find(values: readonly string[]): T {
    assert(values.length === this.#names.length, "every declared label has a value");
    const clean = values.map(cleanValue);
    const key = JSON.stringify(clean);
    const found = this.#live.get(key);
    if (found !== undefined) {
      this.#retired.delete(key);
      return found.handle;
    }
    if (this.#live.size >= this.#max && !this.#evict()) {
      this.#refused++;
      return this.#other();
    }
    const handle = this.#make();
    this.#live.set(key, { labels: this.#labelled(clean), handle });
    return handle;
  }

  /** Series with these labels may give their place away: what they counted for is gone. */
  retire(match: Labels): void {
    for (const [key, { labels }] of this.#live) {
      const all = Object.entries(match).every(
        ([name, value]) => labels[name] === cleanValue(value),
      );
      if (all) this.#retired.add(key);
    }
  }

  /** All series, that of everything else last. */
  *entries(): Generator<{ readonly labels: Labels; readonly handle: T }> {
    yield* this.#live.values();
    if (this.#overflow === undefined) return;
    yield { labels: this.#labelled(this.#names.map(() => OTHER)), handle: this.#overflow };
  }

  #labelled(values: readonly string[]): Labels {
    return Object.fromEntries(this.#names.map((name, i) => [name, values[i] ?? ""]));
  }

  #other(): T {
    this.#overflow ??= this.#make();
    return this.#overflow;
  }

  /** Makes room by giving the oldest retired series' counts to the one of everything else. */
  #evict(): boolean {
    const [oldest] = this.#retired;
    if (oldest === undefined) return false;
    const { handle } = present(this.#live.get(oldest), "a retired series is a live one");
    this.#other().absorb(handle);
    this.#live.delete(oldest);
    this.#retired.delete(oldest);
    return true;
  }
}

/** Short, and the same once written as UTF-8: halves of a surrogate pair would all become one character. */
function cleanValue(value: string): string {
  const short =
    value.length > limits.metricLabelCharsMax ? value.slice(0, limits.metricLabelCharsMax) : value;
  return Buffer.from(short, "utf8").toString("utf8");
}
