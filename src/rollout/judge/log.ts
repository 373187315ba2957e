// What a certificate keeps: the rows that changed the evidence, and from them the verdict once more.

import { type Rules, rulesOf } from "./gates.ts";
import { apply, type Evidence, type LogRow, noEvidence } from "./state.ts";
import type { JudgePolicy, Verdict } from "./types.ts";
import { type Circumstances, verdictOf } from "./verdict.ts";

/** Everything that a verdict follows from, beside the policy. Plain JSON. */
export interface JudgeLog {
  /** What rows that are no longer kept add up to; the oldest half is added up when there are too many. */
  readonly base: Evidence;
  readonly rows: readonly LogRow[];
  /** When the verdict was asked for, and the rate then. */
  readonly circumstances: Circumstances;
}

/** Keeps rows, and adds up the oldest ones where they become too many. */
export class Keeper {
  readonly #rules: Rules;
  readonly #base: Evidence;
  #rows: LogRow[];
  /** Rows that have been added up: the first that is kept has this number. */
  #first: number;

  constructor(
    rules: Rules,
    base: Evidence = noEvidence(),
    rows: readonly LogRow[] = [],
    first: number = 0,
  ) {
    this.#rules = rules;
    this.#base = structuredClone(base);
    this.#rows = [...rows];
    this.#first = first;
  }

  get first(): number {
    return this.#first;
  }

  /** The number that the next row gets. */
  get end(): number {
    return this.#first + this.#rows.length;
  }

  /** Rows that are kept, from a number on. */
  from(number: number): readonly LogRow[] {
    return this.#rows.slice(Math.max(0, number - this.#first));
  }

  get base(): Evidence {
    return structuredClone(this.#base);
  }

  get rows(): readonly LogRow[] {
    return [...this.#rows];
  }

  /** `joined`: counts that follow counts may be added to them, because nothing was decided in between. */
  add(row: LogRow, joined: boolean): void {
    const last = this.#rows.at(-1);
    if (joined && row[0] === "counts" && last?.[0] === "counts") {
      const sum = row[2].map((count, i) => count + (last[2][i] ?? 0));
      this.#rows[this.#rows.length - 1] = ["counts", row[1], sum];
      return;
    }
    this.#rows.push(row);
    if (this.#rows.length <= this.#rules.logRows) return;
    const half = Math.floor(this.#rules.logRows / 2);
    for (const old of this.#rows.slice(0, half)) apply(this.#base, old, this.#rules);
    this.#rows = this.#rows.slice(half);
    this.#first += half;
  }
}

/** The verdict that follows from what was kept: the same bits as when it was given. */
export function replay(policy: JudgePolicy, log: JudgeLog): Verdict {
  const rules = rulesOf(policy);
  const evidence = structuredClone(log.base);
  for (const row of log.rows) apply(evidence, row, rules);
  return verdictOf(evidence, rules, log.circumstances);
}
