// What turned out about requests, hours later and in any order: which version answered each is remembered for a time,
// so that whoever knows the truth needs no more than the request's id.

import { setImmediate as nextTurn } from "node:timers/promises";
import type { Clock } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { RequestOutcome } from "../serve/outcomes.ts";
import type { Arm } from "./judge/types.ts";
import type { Records } from "./record.ts";

/** Requests that are remembered in memory, and how long the store remembers them. */
const REQUESTS_MAX = 100_000;
const STORED_MS = 86_400_000;
/** Ids that are looked up in the store at once; requests are served in between. */
const LOOKED_UP = 500;
/** Unknown ids that an answer names. */
const NAMED = 20;

/** One thing that turned out. */
export interface FeedbackItem {
  readonly requestId: string;
  /** Whether the answer was right. */
  readonly correct?: boolean;
  /** Business outcomes, each a number of its own name. */
  readonly outcome?: Readonly<Record<string, number>>;
}

/** What became of feedback. */
export interface FeedbackReport {
  readonly schema: "skipway.feedback/1";
  /** Labels and outcomes that count. */
  readonly taken: number;
  /** Those that were known already. */
  readonly duplicates: number;
  /** Those of rollouts that are over. */
  readonly late: number;
  /** Requests that nobody remembers: no rollout was under way, it was too long ago, or there never was one. */
  readonly unknown: { readonly count: number; readonly first: readonly string[] };
}

/** Which version answered a request, and what is known of it. */
export interface Answered {
  readonly rollout: string;
  readonly arm: Arm;
  readonly share: number;
  readonly key?: number;
  readonly atMs: number;
  labelled: boolean;
  /** Names of the outcomes that are known. */
  readonly outcomes: string[];
}

/** Takes what turned out. */
export interface FeedbackTaker {
  label(answered: Answered, correct: boolean): void;
  outcome(answered: Answered, name: string, value: number): void;
}

/** Remembers who answered, until it turns out how well. */
export class Feedback {
  readonly #records: Records;
  readonly #clock: Clock;
  readonly #answered = new Map<string, Answered>();
  /** Ids in the order in which they came, as a ring: the first key of a long map is found slowly. */
  readonly #ids: string[] = [];
  readonly #most: number;
  #next = 0;
  /** To be written down. */
  #changed = new Map<string, Answered>();
  #writing = false;
  #fault: string | null = null;

  constructor(records: Records, clock: Clock, most: number = REQUESTS_MAX) {
    this.#records = records;
    this.#clock = clock;
    this.#most = most;
  }

  /** Why requests could not be remembered beyond the end of the process; null where they could. */
  get fault(): string | null {
    return this.#fault;
  }

  /** A request was answered. @param stored whether that is to be known after a restart too. */
  note(rollout: string, arm: Arm, outcome: RequestOutcome, stored: boolean): void {
    const { requestId, role, share, key, atMs } = outcome;
    if (requestId === undefined || role !== arm || outcome.outcome !== "good") return;
    const known = key === undefined ? {} : { key };
    const answered = { rollout, arm, share, ...known, atMs, labelled: false, outcomes: [] };
    this.#keep(requestId, answered);
    if (stored) this.#changed.set(requestId, answered);
  }

  /** Takes what turned out; the same again is of no effect. */
  async take(
    items: readonly FeedbackItem[],
    takerOf: (rollout: string) => FeedbackTaker | undefined,
  ): Promise<FeedbackReport> {
    const counts = { taken: 0, duplicates: 0, late: 0 };
    const unknown: string[] = [];
    for (const [i, item] of items.entries()) {
      if (i % LOOKED_UP === 0) await this.#lookUp(items.slice(i, i + LOOKED_UP));
      const answered = this.#known(item.requestId);
      if (answered === undefined) {
        unknown.push(item.requestId);
        continue;
      }
      const taker = takerOf(answered.rollout);
      for (const fact of factsOf(item)) {
        if (!isNew(answered, fact)) counts.duplicates++;
        else if (taker === undefined) counts.late++;
        else {
          counts.taken++;
          tell(taker, answered, fact);
          this.#changed.set(item.requestId, answered);
        }
      }
    }
    const first = unknown.slice(0, NAMED);
    return { schema: "skipway.feedback/1", ...counts, unknown: { count: unknown.length, first } };
  }

  /** Writes down what is new. Called now and then. */
  async write(): Promise<void> {
    if (this.#writing || this.#changed.size === 0) return;
    this.#writing = true;
    const changed = this.#changed;
    this.#changed = new Map();
    const rows = [...changed].map(([request, answered]) => ({
      request,
      rollout: answered.rollout,
      atMs: answered.atMs,
      document: JSON.stringify(answered),
    }));
    try {
      await this.#records.remember(rows, this.#clock.nowMs() - STORED_MS);
      this.#fault = null;
    } catch (error) {
      // Memory still has the last ones.
      this.#fault = messageOf(error);
    } finally {
      this.#writing = false;
    }
  }

  #keep(requestId: string, answered: Answered): void {
    const oldest = this.#ids[this.#next];
    if (oldest !== undefined) this.#answered.delete(oldest);
    this.#ids[this.#next] = requestId;
    this.#next = (this.#next + 1) % this.#most;
    this.#answered.set(requestId, answered);
  }

  #known(request: string): Answered | undefined {
    return this.#answered.get(request) ?? this.#changed.get(request);
  }

  /** Fetches from the store what memory does not have. The store reads on the thread that serves. */
  async #lookUp(items: readonly FeedbackItem[]): Promise<void> {
    const ids = items.map(({ requestId }) => requestId);
    const missing = ids.filter((id) => this.#known(id) === undefined);
    if (missing.length === 0) return;
    const rows = await this.#records.requests(missing).catch(() => []);
    // Written by this class from this type.
    for (const row of rows) this.#keep(row.request, JSON.parse(row.document) as Answered);
    await nextTurn();
  }
}

type Fact = { readonly correct: boolean } | { readonly name: string; readonly value: number };

function factsOf({ correct, outcome = {} }: FeedbackItem): Fact[] {
  const facts: Fact[] = correct === undefined ? [] : [{ correct }];
  for (const [name, value] of Object.entries(outcome)) facts.push({ name, value });
  return facts;
}

function isNew(answered: Answered, fact: Fact): boolean {
  return "correct" in fact ? !answered.labelled : !answered.outcomes.includes(fact.name);
}

function tell(taker: FeedbackTaker, answered: Answered, fact: Fact): void {
  if ("correct" in fact) {
    answered.labelled = true;
    taker.label(answered, fact.correct);
  } else {
    answered.outcomes.push(fact.name);
    taker.outcome(answered, fact.name, fact.value);
  }
}
