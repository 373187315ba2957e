// All rollouts of a server: starts them, at the most one of each model, tells them what happens, takes the orders
// of people, and goes on after a restart with what the one before left behind.

import { randomBytes } from "node:crypto";
import type { Objectives } from "../observe/slo.ts";
import type { RolloutRow } from "../registry/rollouts.ts";
import { RequestError } from "../serve/errors.ts";
import type { Outcome } from "../serve/outcomes.ts";
import type { VersionHost } from "../serve/version-host.ts";
import type { AdvisoryReading } from "./advisory.ts";
import type { Aliases } from "./alias.ts";
import { type DecidedEvidence, decidedBy } from "./certificate.ts";
import type { ComparisonReading } from "./comparison.ts";
import { documentOf, type RolloutDocument, type RolloutStatus, statusOf } from "./document.ts";
import { Feedback, type FeedbackItem, type FeedbackReport } from "./feedback.ts";
import type { JudgePolicy } from "./judge/types.ts";
import { startRefusal } from "./machine.ts";
import { planOf, type RolloutPlan, rampOf, type Traffic } from "./plan.ts";
import { type RolloutPolicy, readPolicy } from "./policy.ts";
import {
  type Certificate,
  evidenceOf,
  pathOf,
  type RolloutFacts,
  type RolloutNews,
  storedOf,
} from "./record.ts";
import { Running, type RunningParts } from "./running.ts";
import { type Act, isOver, type Ramp, type RolloutEffect } from "./state.ts";
import { type Threshold, thresholdOf } from "./threshold.ts";
import { sampledUnits } from "./traffic-sample.ts";

/** What is known of versions beside that they are served. */
export interface Releases extends Aliases {
  /** A version; undefined where it is not known here. */
  version(
    model: string,
    version: number,
  ): Promise<{ readonly digest: string; readonly checked: boolean } | undefined>;
}

/** What rollouts need. */
export interface RolloutsParts extends Omit<RunningParts, "onNews" | "aliases"> {
  readonly releases?: Releases | undefined;
  /** Version of skipway. */
  readonly build: string;
  /** What a model has promised, read when a rollout starts. */
  objectives(model: string): Promise<Objectives>;
}

/** Who starts which rollout, and how. */
export interface StartOrder {
  readonly to: number;
  /** JSON as it was given; undefined: the usual one. */
  readonly policy?: unknown;
  readonly actor: string;
  readonly reason?: string;
  /** Why a version is rolled out that has passed no release check. */
  readonly override?: string;
}

/** What a rollout would be. */
export interface Proposal {
  readonly schema: "skipway.rollout-plan/1";
  readonly model: string;
  readonly from: number;
  readonly to: number;
  readonly policy: RolloutPolicy;
  readonly threshold: Threshold;
  readonly ramp: Ramp;
  readonly plan: RolloutPlan;
}

/** What a person orders. */
export interface ActOrder {
  readonly actor: string;
  readonly reason: string;
  /** With `freeze`: whether a bad candidate is still taken back by itself. */
  readonly rollback?: boolean;
}

/** The two versions of a rollout, compared by what decides nothing. */
export interface VersionComparison extends AdvisoryReading {
  readonly rollout: string;
  /** Business outcomes by name. */
  readonly outcomes: Readonly<Record<string, ComparisonReading>>;
}

const ELSEWHERE =
  "another server over this data folder moves its rollouts: order it there, or stop that server";

const TICK_MS = 250;
const EVENTS_SHOWN = 200;

/** The rollouts of a server. */
export class Rollouts {
  readonly #parts: RolloutsParts;
  readonly #running = new Map<string, Running>();
  /** Models of which one is being started. */
  readonly #starting = new Set<string>();
  readonly #listeners = new Set<(news: RolloutNews) => void>();
  readonly #news = new Map<string, RolloutNews[]>();
  readonly #unsubscribe: () => void;
  readonly #timer: NodeJS.Timeout;
  readonly #feedback: Feedback;
  /** Whether what a server before this one left behind has been looked at, and whether this one moves it. */
  #taken: "not yet" | "elsewhere" | "here" = "not yet";

  constructor(parts: RolloutsParts) {
    this.#parts = parts;
    const { fleet, records, clock } = parts;
    this.#feedback = new Feedback(records, clock);
    const judged = (model: string): boolean => this.#running.get(model)?.over === false;
    this.#unsubscribe = fleet.outcomes.subscribe((outcome) => this.#take(outcome), judged);
    this.#timer = setInterval(() => this.#tick(), TICK_MS).unref();
  }

  /** Calls back with everything that happens; gives a function that ends it. */
  onNews(listener: (news: RolloutNews) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Goes on with what a server before this one left behind. Once the models have been loaded. */
  async resume(): Promise<void> {
    if (this.#taken === "here") return;
    this.#taken = this.#parts.records.claim() ? "here" : "elsewhere";
    if (this.#taken === "elsewhere") return;
    for (const row of await this.#parts.records.active()) {
      const stored = storedOf(row);
      const { facts } = stored;
      if (this.#running.has(facts.model)) continue;
      const events = await this.#eventsOf(facts.id);
      this.#news.set(facts.id, [...events]);
      const log = await this.#parts.records.log(facts.id);
      const saved = { stored, evidence: evidenceOf(row, log), rows: log.at(-1)?.end ?? 0 };
      const running = new Running(this.#runningParts(), facts, saved);
      this.#running.set(running.facts.model, running);
      const alias = await this.#parts.releases?.stable(facts.model);
      if (isOver(stored.state)) running.abandon("it was over");
      else if (alias === undefined || alias === facts.from || alias === facts.to) running.resume();
      else running.abandon(`stable is version ${alias} by now`);
    }
  }

  /** What a rollout would be, without starting it. @throws RequestError or SkipwayError where it cannot be. */
  async propose(model: string, order: StartOrder): Promise<Proposal> {
    const { fleet, releases } = this.#parts;
    const entry = fleet.entry(model);
    if (entry === undefined && fleet.awaits(model)) throw notYet(model);
    if (entry === undefined) throw new RequestError(404, "invalid", `there is no model "${model}"`);
    const { to } = order;
    const from = entry.split.stable;
    const policy = readPolicy(order.policy ?? {}, "policy");
    const untold = policy.webhooks?.find((one) => !this.#parts.webhooks.includes(one));
    if (untold !== undefined) throw new RequestError(400, "invalid", noWebhook(untold));
    // The server that had this folder may have ended since this one started.
    await this.resume();
    if (this.#taken === "elsewhere") throw conflict(model, ELSEWHERE);
    const refused =
      this.#refusalOf(model, from, to) ??
      (entry.owner === "hand" && entry.split.share > 0
        ? `its split was set by hand (version ${entry.split.candidate} gets requests): set its share to 0 first`
        : undefined);
    if (refused !== undefined) throw conflict(model, refused);
    if (releases !== undefined) {
      const alias = await releases.stable(model);
      if (alias !== undefined && alias !== from) throw conflict(model, elsewhere(alias, from));
      const found = await releases.version(model, to);
      if (found === undefined) throw missing(model, to);
      if (!found.checked && order.override === undefined)
        throw conflict(model, unchecked(model, to));
    } else if (!entry.hosts.has(to)) throw missing(model, to);
    const host = entry.hosts.get(from);
    if (host === undefined) throw conflict(model, `version ${from} is not served`);
    const objectives = await this.#parts.objectives(model);
    const recent = host.counters.recent.total();
    const threshold = thresholdOf(model, policy.thresholdMs, recent, objectives);
    const judge = judgePolicyOf(policy, threshold);
    const units = sampledUnits(host.counters.lastRequests, threshold.ms);
    const plan = await planOf(policy, judge, threshold, { ...trafficOf(host), units });
    const ramp = rampOf(policy, plan);
    return { schema: "skipway.rollout-plan/1", model, from, to, policy, threshold, ramp, plan };
  }

  /** Starts one. @throws RequestError or SkipwayError where it cannot be. */
  async start(model: string, order: StartOrder): Promise<RolloutDocument> {
    const { schema: _, ...proposed } = await this.propose(model, order);
    if (proposed.plan.refusal !== null) throw conflict(model, proposed.plan.refusal);
    // Once more: others may have come first while this one was planned.
    const refused = this.#refusalOf(model, proposed.from, proposed.to);
    if (refused !== undefined) throw conflict(model, refused);
    this.#starting.add(model);
    try {
      const { records, clock, build } = this.#parts;
      const facts: RolloutFacts = {
        ...proposed,
        id: randomBytes(8).toString("hex"),
        digests: {
          from: await this.#digestOf(model, proposed.from),
          to: await this.#digestOf(model, proposed.to),
        },
        startedMs: clock.nowMs(),
        actor: order.actor,
        reason: order.reason ?? "",
        override: order.override ?? null,
        build,
        judge: judgePolicyOf(proposed.policy, proposed.threshold),
      };
      const running = new Running(this.#runningParts(), facts);
      // The store first: it is what allows one of a model alone.
      await records.write({ rollout: running.row(0), events: [], certificates: [], webhooks: [] });
      this.#running.set(running.facts.model, running);
      running.begin();
      return this.#documentOfRunning(running);
    } finally {
      this.#starting.delete(model);
    }
  }

  /**
   * Does what a person orders.
   *
   * @throws RequestError 404 where none is under way, 409 where it cannot be done or another server moves the
   * rollouts of this folder, 503 before `resume`.
   */
  async act(model: string, act: Act, order: ActOrder): Promise<RolloutDocument> {
    const running = await this.#active(model);
    const refused = running.operate({ kind: "operator", act, ...order });
    if (refused !== undefined) throw conflict(model, refused);
    return this.#documentOfRunning(running);
  }

  /** What an order would do. @throws as `act`. */
  async foresee(model: string, act: Act, order: ActOrder): Promise<readonly RolloutEffect[]> {
    const running = await this.#active(model);
    const effects = running.foresee({ kind: "operator", act, ...order });
    const refused = effects.find((effect) => effect.kind === "refused");
    if (refused !== undefined) throw conflict(model, refused.text);
    return effects;
  }

  /** Those that are under way, and the last one of each model that ended since the server started. */
  now(): RolloutStatus[] {
    return [...this.#running.values()].map((running) => statusOf(this.#documentOfRunning(running)));
  }

  /** The rollout of a model that is under way. */
  running(model: string): Running | undefined {
    return this.#running.get(model);
  }

  /** The last rollout of a model; undefined where there was none. */
  async last(model: string): Promise<RolloutDocument | undefined> {
    const running = this.#running.get(model);
    if (running !== undefined) return this.#documentOfRunning(running);
    const [row] = await this.#parts.records.list(1, model);
    return row && this.#documentOfRow(row);
  }

  /** One rollout; undefined for an id that is none. */
  async rollout(id: string): Promise<RolloutDocument | undefined> {
    for (const running of this.#running.values()) {
      if (running.facts.id === id) return this.#documentOfRunning(running);
    }
    const row = await this.#parts.records.rollout(id);
    return row && this.#documentOfRow(row);
  }

  /** The newest first. */
  async list(count: number, model?: string): Promise<RolloutDocument[]> {
    const rows = await this.#parts.records.list(count, model);
    return Promise.all(
      rows.map((row) => {
        const running = this.#running.get(row.model);
        return running?.facts.id === row.id
          ? this.#documentOfRunning(running)
          : this.#documentOfRow(row);
      }),
    );
  }

  /** Why a rollout was moved, each time, the oldest first. */
  async certificates(id: string): Promise<Certificate[]> {
    const rows = await this.#parts.records.certificates(id);
    // Written by the recorder of a rollout from this type.
    return rows.map(({ document }) => JSON.parse(document) as Certificate);
  }

  /** The last that happened in any rollout, the newest last; none where the store cannot be read. */
  async past(count: number): Promise<RolloutNews[]> {
    const rows = await this.#parts.records.lastEvents(count).catch(() => []);
    // Written by the recorder of a rollout from this type.
    return rows.map(({ document }) => JSON.parse(document) as RolloutNews);
  }

  /** The evidence of the last decision of a rollout. */
  async decided(id: string): Promise<DecidedEvidence> {
    const [row] = await this.#parts.records.certificates(id, 1);
    // Written by the recorder of a rollout from this type.
    return decidedBy(id, row && (JSON.parse(row.document) as Certificate));
  }

  /** Takes what turned out about requests. */
  feedback(items: readonly FeedbackItem[]): Promise<FeedbackReport> {
    const all = [...this.#running.values()];
    return this.#feedback.take(items, (rollout) =>
      all.find(({ facts, over }) => facts.id === rollout && !over),
    );
  }

  /** Business outcomes, drift and cost of the rollout of a model that is under way, or was last. */
  comparisons(model: string): VersionComparison | undefined {
    const running = this.#running.get(model);
    return (
      running && {
        rollout: running.facts.id,
        outcomes: running.comparisons(),
        ...running.advisory,
      }
    );
  }

  /** Stops looking, and writes down how far everything is. The rollouts go on when a server starts again. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#unsubscribe();
    await Promise.all([...this.#running.values()].map((running) => running.end()));
    await this.#feedback.write();
  }

  /** As `start`, an order first sees whether the server that moved the rollouts of this folder has ended. */
  async #active(model: string): Promise<Running> {
    if (this.#taken === "elsewhere") await this.resume();
    const running = this.#running.get(model);
    if (running !== undefined && !running.over) return running;
    if (this.#taken === "elsewhere") throw conflict(model, ELSEWHERE);
    throw this.#taken === "not yet" ? notYet(model) : nothing(model);
  }

  async #digestOf(model: string, version: number): Promise<string> {
    const known = await this.#parts.releases?.version(model, version);
    return known?.digest ?? this.#parts.fleet.entry(model)?.hosts.get(version)?.digest ?? "";
  }

  #refusalOf(model: string, from: number, to: number): string | undefined {
    if (this.#starting.has(model)) return "another one is being started";
    return startRefusal(this.#running.get(model)?.state, from, to);
  }

  #take(outcome: Outcome): void {
    const running = this.#running.get(outcome.model);
    if (running === undefined || running.over) return;
    // First: a decision that follows from this request is made with what is known of it.
    if (outcome.kind === "request") {
      const { id: rollout, model, from, policy } = running.facts;
      const { remember, feedback: stored } = policy;
      const arm = outcome.version === from ? "stable" : "candidate";
      this.#feedback.note({ model, rollout, remember, stored }, arm, outcome);
    }
    running.take(outcome);
  }

  #tick(): void {
    for (const running of this.#running.values()) running.tick();
    void this.#feedback.write();
  }

  #runningParts(): RunningParts {
    const { releases, ...parts } = this.#parts;
    const onNews = (news: RolloutNews): void => {
      const kept = this.#news.get(news.rollout) ?? [];
      kept.push(news);
      if (kept.length > EVENTS_SHOWN) kept.shift();
      this.#news.set(news.rollout, kept);
      for (const listener of this.#listeners) listener(news);
    };
    return { ...parts, aliases: releases, onNews };
  }

  #documentOfRunning(running: Running): RolloutDocument {
    const { facts, state, verdict, advisory, updatedMs, over, path, fault } = running;
    const events = this.#news.get(facts.id) ?? [];
    const around = { updatedMs, over, path, events, fault, advisory };
    return documentOf({ facts, state, verdict }, around);
  }

  async #documentOfRow(row: RolloutRow): Promise<RolloutDocument> {
    const events = await this.#eventsOf(row.id);
    const path = pathOf(row);
    const around = { updatedMs: row.updatedMs, over: !row.active, path, events, fault: null };
    return documentOf(storedOf(row), around);
  }

  async #eventsOf(id: string): Promise<RolloutNews[]> {
    const rows = await this.#parts.records.events(id, EVENTS_SHOWN);
    // Written by the recorder of a rollout from this type.
    return rows.map(({ document }) => JSON.parse(document) as RolloutNews);
  }
}

/** The client's own, and what nobody's. */
const NOT_FAILED: ReadonlySet<string> = new Set(["invalid", "canceled", "withdrawn"]);

/** A rate is of at least so many seconds: the first requests often come in a burst. */
const WINDOW_MIN_S = 5;

function trafficOf(host: VersionHost): Traffic {
  const { counters } = host;
  const { requests } = host.stats();
  const { recent } = counters;
  const windowSeconds = Math.max(WINDOW_MIN_S, recent.coveredMs() / 1000);
  let failed = 0;
  for (const [reason, count] of counters.failures) if (!NOT_FAILED.has(reason)) failed += count;
  return {
    ratePerSecond: recent.total().count / windowSeconds,
    windowSeconds,
    failedRate: failed === 0 ? 0 : failed / (requests + failed),
    rowsPerBatch: Math.max(1, requests / Math.max(1, counters.executions)),
  };
}

/** What the judge goes by. */
function judgePolicyOf(policy: RolloutPolicy, threshold: Threshold): JudgePolicy {
  const { alpha, effect, gates, disagreement, warmup, labelsRequired = false } = policy;
  const { ms: thresholdMs } = threshold;
  const judge = { alpha, effect, thresholdMs, gates, disagreementAllowed: disagreement, warmup };
  return labelsRequired ? { ...judge, labelsRequired } : judge;
}

function conflict(model: string, text: string): RequestError {
  return new RequestError(409, "invalid", `rollout of ${model}: ${text}`);
}

/** A server that starts would serve another version than the one that is compared with. */
function elsewhere(alias: number, from: number): string {
  return `the alias stable points to version ${alias}, and version ${from} answers: set the split to the one, or point the alias to the other`;
}

function missing(model: string, version: number): RequestError {
  return new RequestError(404, "invalid", `there is no version ${version} of "${model}" here`);
}

function unchecked(model: string, version: number): string {
  return `version ${version} has not passed a release check (skipway check ${model}@${version}), so that the alias would not be moved to it; to roll it out all the same, say why in "override"`;
}

/** Whoever mistypes the name of the pager would be told of nothing. */
function noWebhook(name: string): string {
  return `policy: webhooks names "${name}", and webhooks.json of the server has none of that name`;
}

/** Of a server that has just started: that there is none would be wrong. */
function notYet(model: string): RequestError {
  const text = `the rollouts of ${model} are taken over once its versions are loaded; ask again in a moment`;
  return new RequestError(503, "not-ready", text, { retryAfterSeconds: 1 });
}

function nothing(model: string): RequestError {
  return new RequestError(404, "invalid", `no rollout of "${model}" is under way`);
}
