// What turned out about requests, hours later and in any order: which version answered each is remembered for a time,
// so that whoever knows the truth needs no more than the request's id.

import { setImmediate as nextTurn } from "node:timers/promises";
import type { Clock } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { RequestOutcome } from "../serve/outcomes.ts";
import { classCount, winningClass } from "../serve/winner.ts";
import type { Arm } from "./judge/types.ts";
import type { Records } from "./record.ts";

/** Requests of a rollout that are remembered in memory where its policy is older than that it could say so. */
const REMEMBERED = 100_000;
/** How long the store remembers them. */
const STORED_MS = 86_400_000;
/** Requests that were looked up in the store, and are remembered in memory again. */
const FOUND_MAX = 10_000;
/** Ids that are looked up in the store at once; requests are served in between. */
const LOOKED_UP = 500;
/** Ids that an answer names of each kind. */
const NAMED = 20;

/** One thing that turned out. */
export interface FeedbackItem {
  readonly requestId: string;
  /** Whether the answer was right. */
  readonly correct?: boolean;
  /** The class that would have been right, where the answer names one. */
  readonly label?: number;
  /** Business outcomes, each a number of its own name. */
  readonly outcome?: Readonly<Record<string, number>>;
}

/** Requests that something could not be done for. */
export interface NamedRequests {
  readonly count: number;
  /** The first of their ids. */
  readonly first: readonly string[];
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
  /** The first requests of those. */
  readonly lateFirst: readonly string[];
  /** Requests that nobody remembers: no rollout was under way, it was too long ago, or there never was one. */
  readonly unknown: NamedRequests;
  /** Labels of answers that named no one class: outputs without classes, or several rows. `correct` is what they take. */
  readonly unclassified: NamedRequests;
  /** Labels that are none of the classes of which the answer has scores. */
  readonly outside: NamedRequests;
}

/** Which version answered a request, and what is known of it. */
export interface Answered {
  readonly rollout: string;
  readonly arm: Arm;
  readonly share: number;
  readonly key?: number | undefined;
  readonly atMs: number;
  /** The class that the answer named, where it named one. */
  readonly named?: number | undefined;
  /** How many classes it has scores of, where it has. Left out in those that were stored before it was. */
  readonly classes?: number | undefined;
  labelled: boolean;
  /** Names of the outcomes that are known. */
  readonly outcomes: string[];
}

/** How the requests of a rollout are remembered. */
export interface Remembering {
  readonly model: string;
  readonly rollout: string;
  /** In memory, at the most; left out: as many as usual. */
  readonly remember?: number | undefined;
  /** Whether the store has them too, so that they are known after a restart. */
  readonly stored: boolean;
}

/** Takes what turned out. */
export interface FeedbackTaker {
  label(answered: Answered, correct: boolean): void;
  outcome(answered: Answered, name: string, value: number): void;
}

/** The last requests, by id. */
class Ring {
  readonly #answered = new Map<string, Answered>();
  /** Ids in the order in which they came: the first key of a long map is found slowly. */
  readonly #ids: string[] = [];
  readonly #most: number;
  #next = 0;

  constructor(most: number) {
    this.#most = most;
  }

  get(request: string): Answered | undefined {
    return this.#answered.get(request);
  }

  set(request: string, answered: Answered): void {
    if (this.#most === 0) return;
    const oldest = this.#ids[this.#next];
    if (oldest !== undefined) this.#answered.delete(oldest);
    this.#ids[this.#next] = request;
    this.#next = (this.#next + 1) % this.#most;
    this.#answered.set(request, answered);
  }
}

/** Remembers who answered, until it turns out how well. */
export class Feedback {
  readonly #records: Records;
  readonly #clock: Clock;
  /** Of each model those of its last rollout: while that is over, feedback that comes is known to be late. */
  readonly #rings = new Map<string, { readonly rollout: string; readonly ring: Ring }>();
  readonly #found = new Ring(FOUND_MAX);
  /** To be written down. */
  #changed = new Map<string, Answered>();
  #writing = false;
  #fault: string | null = null;

  constructor(records: Records, clock: Clock) {
    this.#records = records;
    this.#clock = clock;
  }

  /** Why requests could not be remembered beyond the end of the process; null where they could. */
  get fault(): string | null {
    return this.#fault;
  }

  /** A request was answered. */
  note(how: Remembering, arm: Arm, outcome: RequestOutcome): void {
    const { requestId, role, share, key, atMs, outputs } = outcome;
    if (requestId === undefined || role !== arm || outcome.outcome !== "good") return;
    const named = outputs === undefined ? undefined : winningClass(outputs);
    const { rollout } = how;
    // All with the same fields: there are a hundred thousand of them.
    const classes = outputs === undefined ? undefined : classCount(outputs);
    const known = { rollout, arm, share, key, atMs, named, classes };
    const answered = { ...known, labelled: false, outcomes: [] };
    let held = this.#rings.get(how.model);
    if (held?.rollout !== how.rollout) {
      held = { rollout: how.rollout, ring: new Ring(how.remember ?? REMEMBERED) };
      this.#rings.set(how.model, held);
    }
    held.ring.set(requestId, answered);
    if (how.stored) this.#changed.set(requestId, answered);
  }

  /** Takes what turned out; the same again is of no effect. */
  async take(
    items: readonly FeedbackItem[],
    takerOf: (rollout: string) => FeedbackTaker | undefined,
  ): Promise<FeedbackReport> {
    const counts = { taken: 0, duplicates: 0, late: 0 };
    const [unknown, late] = [new Named(), new Named()];
    const [unclassified, outside] = [new Named(), new Named()];
    for (const [i, item] of items.entries()) {
      if (i % LOOKED_UP === 0) await this.#lookUp(items.slice(i, i + LOOKED_UP));
      const { requestId } = item;
      const answered = this.#known(requestId);
      if (answered === undefined) {
        unknown.add(requestId);
        continue;
      }
      if (item.label !== undefined && answered.named === undefined) unclassified.add(requestId);
      else if (isOutside(item, answered)) outside.add(requestId);
      const taker = takerOf(answered.rollout);
      for (const fact of factsOf(item, answered)) {
        if (!isNew(answered, fact)) counts.duplicates++;
        else if (taker === undefined) {
          counts.late++;
          late.add(requestId);
        } else {
          counts.taken++;
          tell(taker, answered, fact);
          this.#changed.set(requestId, answered);
        }
      }
    }
    return {
      schema: "skipway.feedback/1",
      ...counts,
      lateFirst: late.named().first,
      unknown: unknown.named(),
      unclassified: unclassified.named(),
      outside: outside.named(),
    };
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

  #known(request: string): Answered | undefined {
    for (const { ring } of this.#rings.values()) {
      const found = ring.get(request);
      if (found !== undefined) return found;
    }
    return this.#found.get(request) ?? this.#changed.get(request);
  }

  /** Fetches from the store what memory does not have. The store reads on the thread that serves. */
  async #lookUp(items: readonly FeedbackItem[]): Promise<void> {
    const ids = items.map(({ requestId }) => requestId);
    const missing = ids.filter((id) => this.#known(id) === undefined);
    if (missing.length === 0) return;
    const rows = await this.#records.requests(missing).catch(() => []);
    // Written by this class from this type.
    for (const row of rows) this.#found.set(row.request, JSON.parse(row.document) as Answered);
    await nextTurn();
  }
}

type Fact = { readonly correct: boolean } | { readonly name: string; readonly value: number };

/** Whether a label is none of the classes that the answer could have named: a mistake of who labels, not of a version. */
function isOutside({ label }: FeedbackItem, { classes }: Answered): boolean {
  return label !== undefined && classes !== undefined && (label < 0 || label >= classes);
}

function factsOf(item: FeedbackItem, answered: Answered): Fact[] {
  const { correct, label, outcome = {} } = item;
  const { named } = answered;
  const looked = named === undefined || isOutside(item, answered) ? undefined : named === label;
  const right = label === undefined ? correct : looked;
  const facts: Fact[] = right === undefined ? [] : [{ correct: right }];
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

/** Counts requests, and names the first ones. One that comes again at once is the same. */
class Named {
  readonly #first: string[] = [];
  #count = 0;
  #last: string | undefined;

  add(request: string): void {
    if (request === this.#last) return;
    this.#last = request;
    this.#count++;
    if (this.#first.length < NAMED) this.#first.push(request);
  }

  named(): NamedRequests {
    return { count: this.#count, first: this.#first };
  }
}
