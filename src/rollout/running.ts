// One rollout that is under way: what the server tells goes to the judge, what the judge says to the step
// function, and what that asks for is done in the same turn. Only the edge of it waits for anything.

import type { Clock } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import { hashName } from "../base/random.ts";
import type { RolloutLogChange, RolloutRow } from "../registry/rollouts.ts";
import type { Fleet } from "../serve/fleet.ts";
import type { Outcome } from "../serve/outcomes.ts";
import { Advisory, type AdvisoryReading } from "./advisory.ts";
import { type Aliases, RolloutAlias } from "./alias.ts";
import { certificateOf } from "./certificate.ts";
import { Comparison, type ComparisonReading, type SavedComparison } from "./comparison.ts";
import type { Answered } from "./feedback.ts";
import { Journal } from "./journal.ts";
import { Judge, type JudgeSnapshot } from "./judge/judge.ts";
import type { Observation, PathPoint, Verdict } from "./judge/types.ts";
import { stepRollout } from "./machine.ts";
import { armOf, deathOf, observationOf } from "./observed.ts";
import type { Records, RolloutFacts, RolloutNews, StoredRollout } from "./record.ts";
import {
  hasEnded,
  type Notice,
  newRollout,
  type Reading,
  type RolloutEffect,
  type RolloutEvent,
  type RolloutState,
  type Side,
  shareOf,
  splitOf,
} from "./state.ts";

/** What a rollout acts on. */
export interface RunningParts {
  readonly fleet: Fleet;
  readonly records: Records;
  readonly clock: Clock;
  /** Left out where no registry says what is served. */
  readonly aliases?: Aliases | undefined;
  readonly nodePool: string;
  /** Names of all webhooks. */
  readonly webhooks: readonly string[];
  /** Told at once of everything that happens. */
  onNews(news: RolloutNews): void;
  /** Told when what happened has been written down. */
  onWritten?(): void;
}

/** What of a rollout was stored, to go on with. */
export interface Saved {
  readonly stored: StoredRollout;
  readonly evidence: JudgeSnapshot;
  /** So many rows of the evidence, since the beginning. */
  readonly rows: number;
}

/** Between two verdicts without news: so many times what one takes, half a percent of the thread; at the most. */
const WEIGH_TIMES = 200;
const WEIGH_MS_MAX = 2000;
/** The same after news: a twentieth of the thread, where bad events come faster than verdicts can be given. */
const MOVED_TIMES = 20;
const MOVED_MS_MAX = 100;
/** Names of business outcomes of one rollout. */
const OUTCOMES_MAX = 16;

/** A rollout under way. */
export class Running {
  readonly facts: RolloutFacts;
  readonly #parts: RunningParts;
  readonly #judge: Judge;
  readonly #journal: Journal;
  readonly #alias: RolloutAlias;
  #state: RolloutState;
  #verdict: Verdict | null;
  #events: number;
  #pairs: number;
  readonly #outcomes = new Map<string, Comparison>();
  readonly #advisory: Advisory;
  #released = false;
  /** The candidate need not be loaded any more. */
  readonly #unwanted = new AbortController();
  #closed = false;
  #fault: string | null = null;
  /** Whether the evidence has moved since the last verdict, and when the next one may be asked for. */
  #moved = false;
  #movedMs = Number.NEGATIVE_INFINITY;
  /** The next look at evidence that nothing has moved. */
  #weighMs = Number.NEGATIVE_INFINITY;
  #updatedMs: number;

  constructor(parts: RunningParts, facts: RolloutFacts, saved?: Saved) {
    this.facts = facts;
    this.#parts = parts;
    this.#judge = new Judge(facts.judge, saved?.evidence);
    this.#alias = new RolloutAlias(parts.aliases, facts, (event) => void this.#step(event));
    this.#state = saved?.stored.state ?? newRollout(facts.from, facts.to, this.#nowMs);
    this.#verdict = saved?.stored.verdict ?? null;
    this.#events = saved?.stored.events ?? 0;
    this.#pairs = this.#state.reading.pairs;
    for (const [name, one] of Object.entries(saved?.stored.outcomes ?? {})) {
      this.#outcomes.set(name, new Comparison(one));
    }
    this.#advisory = new Advisory(saved?.stored.advisory);
    this.#updatedMs = parts.clock.nowMs();
    const { webhooks } = facts.policy;
    this.#journal = new Journal(parts.records, parts.clock, {
      row: (written) => this.row(written),
      rows: saved?.rows ?? 0,
      webhooks: parts.webhooks.filter((name) => webhooks?.includes(name) ?? true),
      onWritten: () => parts.onWritten?.(),
    });
  }

  get state(): RolloutState {
    return this.#state;
  }

  get verdict(): Verdict | null {
    return this.#verdict;
  }

  /** What is known beside, and decides nothing. */
  get advisory(): AdvisoryReading {
    return this.#advisory.reading();
  }

  /** Evidence over time, for drawing. */
  get path(): readonly PathPoint[] {
    return this.#judge.path();
  }

  /** What of it could not be done or written; null where all could. */
  get fault(): string | null {
    return this.#fault ?? this.#journal.fault;
  }

  get updatedMs(): number {
    return this.#updatedMs;
  }

  /** Whether nothing remains to be done. */
  get over(): boolean {
    return this.#released;
  }

  /** As the store has it, with the rows of the evidence that it has not: all from the number of `written` on. */
  row(written: number): RolloutRow & { readonly log: RolloutLogChange } {
    const stored: StoredRollout = {
      facts: this.facts,
      state: this.#state,
      events: this.#events,
      verdict: this.#verdict,
      outcomes: Object.fromEntries(
        [...this.#outcomes].map(([name, one]): [string, SavedComparison] => [name, one.saved()]),
      ),
      advisory: this.#advisory.saved(),
    };
    const { id, model, startedMs } = this.facts;
    const { head, from, rows } = this.#judge.since(written);
    const { first = 0 } = head;
    return {
      id,
      model,
      active: !this.#released,
      startedMs,
      updatedMs: this.#updatedMs,
      document: JSON.stringify(stored),
      evidence: JSON.stringify(head),
      log: { first, from, end: from + rows.length, rows: JSON.stringify(rows) },
    };
  }

  /** Begins a new one. */
  begin(): void {
    const { from, to, reason, actor } = this.facts;
    const text = reason === "" ? `version ${to} beside version ${from}` : reason;
    this.#tell({ kind: "started", cause: null, text, actor });
    this.#setSplit();
    this.#load();
    this.#journal.write();
  }

  /** Goes on with one that a server before this one left behind. */
  resume(): void {
    this.#step({ kind: "restarted" });
  }

  /** Ends one that has nothing to act on any more: others moved what it stood on while no server ran. */
  abandon(text: string): void {
    const { from } = this.facts;
    const alias = { wanted: from, known: from, moving: null, failures: 0, waitMs: 0 };
    if (!hasEnded(this.#state)) {
      const reason = { cause: "superseded", text, actor: "rollout" };
      this.#state = { ...this.#state, phase: "aborted", reason };
      this.#tell({ kind: "aborted", ...reason });
    }
    this.#state = { ...this.#state, alias };
    this.#released = true;
    this.#journal.touch();
    this.#journal.write();
  }

  /** Takes what the server tells, and acts on it before this returns. */
  take(outcome: Outcome): void {
    if (!this.#released) this.#safely(() => this.#take(outcome));
  }

  #take(outcome: Outcome): void {
    if (outcome.kind === "life") {
      const death = deathOf(this.facts, outcome);
      if (death !== undefined) this.#step(death);
      this.#look();
    }
    const observation = observationOf(this.facts, outcome);
    if (observation !== undefined) this.observe(observation);
    // After what may take the candidate back.
    const arm = hasEnded(this.#state) ? undefined : armOf(this.facts, outcome.version);
    if (arm !== undefined) this.#advisory.take(arm, outcome, this.#state.phase === "shadow");
  }

  /** Takes an observation. */
  observe(observation: Observation): void {
    if (hasEnded(this.#state)) return;
    if (observation.kind === "pair") this.#pairs++;
    this.#journal.touch();
    if (this.#judge.observe(observation)) this.#moved = true;
    if (this.#moved && this.#nowMs >= this.#movedMs) this.#weigh();
  }

  /** Whether an answer was right, told later. */
  label({ arm, share, key }: Answered, correct: boolean): void {
    const atMs = this.#parts.clock.nowMs();
    const known = key === undefined ? {} : { key };
    this.observe({ kind: "label", atMs, arm, share, ...known, correct });
  }

  /** A business outcome of a request; of so many names at the most. */
  outcome({ arm, share, key }: Answered, name: string, value: number): void {
    let comparison = this.#outcomes.get(name);
    if (comparison === undefined) {
      if (this.#outcomes.size >= OUTCOMES_MAX) return;
      comparison = new Comparison();
      this.#outcomes.set(name, comparison);
    }
    comparison.take({ arm, share, key, value });
    this.#journal.touch();
  }

  /** The business outcomes, each compared. */
  comparisons(): Readonly<Record<string, ComparisonReading>> {
    const read = [...this.#outcomes].map(([name, one]): [string, ComparisonReading] => [
      name,
      one.reading(),
    ]);
    return Object.fromEntries(read);
  }

  /** Time has passed. */
  tick(): void {
    this.#safely(() => this.#pass());
  }

  #pass(): void {
    if (this.#released) {
      this.#journal.write();
      return;
    }
    if (this.#parts.fleet.entry(this.facts.model) === undefined) {
      const reason = "the model was unloaded";
      this.#step({ kind: "operator", act: "abort", actor: "rollout", reason });
    }
    this.#look();
    // What moves the evidence is weighed when it comes; that good requests prove a version may wait a little.
    const due = this.#moved || this.#nowMs >= this.#weighMs;
    if (due && !hasEnded(this.#state)) this.#weigh();
    this.#alias.look(this.#nowMs);
    this.#tick();
  }

  /** What a person orders. @returns why it cannot be done, where it cannot. */
  operate(event: Extract<RolloutEvent, { kind: "operator" }>): string | undefined {
    const refused = this.#step(event).find((effect) => effect.kind === "refused");
    return refused?.text;
  }

  /** What an order would do, without doing it. */
  foresee(event: Extract<RolloutEvent, { kind: "operator" }>): readonly RolloutEffect[] {
    return stepRollout(this.#state, event, this.#nowMs, this.facts.ramp).effects;
  }

  /** Writes everything down and does nothing any more: what ends now ends because the server does. */
  end(): Promise<void> {
    this.#closed = true;
    return this.#journal.end();
  }

  /** A defect of ours is no reason to leave a candidate that nobody judges in the traffic. */
  #safely(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#fault = `a defect of skipway: ${messageOf(error)}`;
      if (hasEnded(this.#state)) return;
      const order = { act: "abort", actor: "rollout", reason: this.#fault } as const;
      this.#step({ kind: "operator", ...order });
    }
  }

  get #nowMs(): number {
    return this.#parts.clock.monotonicMs();
  }

  #tick(): void {
    this.#step({ kind: "tick" });
    this.#journal.write();
  }

  #weigh(): void {
    const shadow = this.#state.phase === "shadow";
    const from = this.#nowMs;
    const verdict = this.#judge.verdict(this.#parts.clock.nowMs(), shadow);
    this.#verdict = verdict;
    const now = this.#nowMs;
    this.#moved = false;
    this.#movedMs = now + Math.min(MOVED_MS_MAX, MOVED_TIMES * (now - from));
    this.#weighMs = now + Math.min(WEIGH_MS_MAX, WEIGH_TIMES * (now - from));
    this.#step({ kind: "evidence", reading: readingOf(verdict, this.#pairs) });
  }

  /** Whether the two versions answer, as the fleet has it now. */
  #look(): void {
    const { model, from, to } = this.facts;
    const hosts = this.#parts.fleet.entry(model)?.hosts;
    for (const [side, version] of [
      ["stable", from],
      ["candidate", to],
    ] as const) {
      const ready = hosts?.get(version)?.ready === true;
      if (this.#state.ready[side] !== ready) this.#step({ kind: "ready", side, ready });
    }
  }

  #step(event: RolloutEvent): readonly RolloutEffect[] {
    if (this.#closed) return [];
    const { state, effects } = stepRollout(this.#state, event, this.#nowMs, this.facts.ramp);
    this.#state = state;
    for (const effect of effects) this.#carryOut(effect);
    if (effects.length > 0) {
      this.#updatedMs = this.#parts.clock.nowMs();
      this.#journal.write();
    }
    return effects;
  }

  #carryOut(effect: RolloutEffect): void {
    switch (effect.kind) {
      case "split":
        this.#setSplit();
        return;
      case "load":
        this.#load();
        return;
      case "alias":
        void this.#alias.move(effect.version, this.#state.reason);
        return;
      case "notice":
        this.#tell(effect.notice);
        return;
      case "certify":
        this.#certify(effect.decision);
        return;
      case "release":
        this.#release();
        return;
      case "refused":
        return;
    }
  }

  #setSplit(): void {
    const { id, model, ramp, policy } = this.facts;
    const { tolerance } = policy;
    const split = splitOf(this.#state, ramp);
    try {
      const within = split.shadow === undefined || tolerance === null ? {} : { tolerance };
      // Not the same clients first each time, and the same ones all through a rollout, also after a restart.
      const drawn = split.candidate === undefined ? {} : { salt: hashName(id) };
      this.#parts.fleet.setSplit(model, { ...split, ...within, ...drawn }, { by: "rollout" });
      this.#fault = null;
    } catch (error) {
      // A version that is not there any more gets nothing either; the next look at the fleet tells.
      this.#fault = `the split cannot be set: ${messageOf(error)}`;
    }
  }

  /** Of one that has ended, stable alone: the registry may still say that the other one answers. */
  #load(): void {
    const { from, to } = this.facts;
    void this.#bring("stable", from);
    if (!hasEnded(this.#state)) void this.#bring("candidate", to);
  }

  async #bring(side: Side, version: number): Promise<void> {
    try {
      const signal = side === "candidate" ? this.#unwanted.signal : undefined;
      await this.#parts.fleet.bring(this.facts.model, version, signal);
      if (this.#released) return;
      // Whatever the source says: from here on the split is this rollout's.
      if (side === "stable") this.#setSplit();
      this.#look();
    } catch (error) {
      this.#step({ kind: "load-failed", side, text: messageOf(error) });
    }
  }

  #tell({ kind, cause, text, actor }: Notice): void {
    const { model, to, from, id, ramp } = this.facts;
    this.#events++;
    const news: RolloutNews = {
      id: `${id}.${this.#events}`,
      atMs: this.#parts.clock.nowMs(),
      kind,
      cause,
      text,
      actor,
      model,
      version: to,
      stable: from,
      rollout: id,
      share: shareOf(this.#state, ramp),
      automaticRollback: !this.#state.rollbackOff,
      nodePool: this.#parts.nodePool,
    };
    this.#journal.tell(news);
    this.#parts.onNews(news);
  }

  #certify(decision: "step" | "promote" | "rollback"): void {
    const atMs = this.#parts.clock.nowMs();
    const verdict = this.#judge.verdict(atMs);
    const log = this.#judge.log(atMs);
    const made = { decision, atMs, verdict, advisory: this.advisory, path: this.path, log };
    this.#journal.certify(certificateOf(this.facts, this.#state, made));
  }

  #release(): void {
    const { fleet } = this.#parts;
    const { to, ramp } = this.facts;
    const { stable } = splitOf(this.#state, ramp);
    this.#released = true;
    if (stable !== to) this.#unwanted.abort();
    void this.#alias.leave(fleet, stable).then((fault) => {
      this.#fault ??= fault;
    });
  }
}

function readingOf(verdict: Verdict, pairs: number): Reading {
  const { cause, sampleRatio, text, stableRequests, candidateRequests } = verdict;
  return {
    verdict: verdict.verdict,
    ...(cause !== undefined && { cause }),
    fault: sampleRatio.fault,
    text,
    stableRequests,
    candidateRequests,
    pairs,
  };
}
