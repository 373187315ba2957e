// What the on-call page is told: looks at the server each second and whenever something changes, keeps the last
// events and the last half hour. Its memory is bounded, whatever happens and however long.

import type { RolloutStatus } from "../rollout/document.ts";
import type { WebhookReadings } from "../serve/metric-readings.ts";
import type { ServingEvent, ServingStatus, StatsEvent } from "./api.ts";
import { type Change, changesBetween, keyOf, refusal, refusedBetween } from "./on-call-changes.ts";
import { History, STEP_MS } from "./on-call-history.ts";

/** Events that are kept: what happened in a bad night, some 40 KB. */
const EVENTS_MAX = 200;
/** Of them, for refusals: an overload must not push out why it began. */
const REFUSALS_MAX = 100;
/** Refusals of one version and reason are one event in so long. */
const REFUSALS_EACH_MS = 60_000;
/** Reasons come from the runtime and from files: an event is a line, not a document. */
const TEXT_CHARS_MAX = 500;

interface Burst {
  readonly model: string;
  readonly version: number;
  readonly reason: string;
  sinceMs: number;
  count: number;
}

/** What one look saw. */
export interface Look {
  readonly stats: StatsEvent;
  /** What has happened since the last one, the newest last. */
  readonly events: readonly ServingEvent[];
}

/** What a look cannot see by itself: rollouts tell it. */
export interface Told {
  readonly rollouts: readonly RolloutStatus[];
  readonly events: readonly OutsideEvent[];
  readonly webhooks?: readonly WebhookReadings[];
}

/** An event that others have seen. */
export type OutsideEvent = Omit<ServingEvent, "id">;

/** Keeps what happened. */
export class OnCallRecord {
  readonly history: History = new History();
  readonly #events: ServingEvent[] = [];
  readonly #bursts = new Map<string, Burst>();
  #before: ServingStatus | undefined;
  #nextId = 1;
  #step = Number.NEGATIVE_INFINITY;

  /** The last events, the newest last. */
  get events(): readonly ServingEvent[] {
    return this.#events;
  }

  /** Takes what happened before the server started, the newest last: before the first look. */
  recall(events: readonly OutsideEvent[]): void {
    for (const event of events) this.#keep(event);
  }

  /** Takes the server's state at a time (milliseconds since the epoch), what it tells in comparison with the last, and what was told. */
  look(
    status: ServingStatus,
    atMs: number,
    { rollouts, events: told, webhooks = [] }: Told = { rollouts: [], events: [] },
  ): Look {
    const before = this.#before;
    this.#before = status;
    const changes = before === undefined ? [] : changesBetween(before, status);
    if (before !== undefined) this.#count(before, status, atMs);
    changes.push(...this.#due(atMs));
    const seen = changes.map((change): OutsideEvent => ({ atMs, ...change }));
    const events = [...seen, ...told].map((event) => this.#keep(event));
    const step = Math.floor(atMs / STEP_MS);
    const kept = step !== this.#step;
    if (kept) this.history.add(status, atMs);
    this.#step = step;
    const receivers = webhooks.length === 0 ? {} : { webhooks };
    return { stats: { ...status, atMs, rollouts, ...receivers, kept }, events };
  }

  #count(before: ServingStatus, after: ServingStatus, atMs: number): void {
    for (const { status, reason, count } of refusedBetween(before, after)) {
      const key = `${keyOf(status)} ${reason}`;
      const burst = this.#bursts.get(key);
      if (burst !== undefined) burst.count += count;
      else {
        const { model, version } = status;
        const sinceMs = atMs - REFUSALS_EACH_MS;
        this.#bursts.set(key, { model, version, reason, sinceMs, count });
      }
    }
  }

  /** The first refusals are told at once, those after them once a minute with their number. */
  #due(atMs: number): Change[] {
    const changes: Change[] = [];
    for (const [key, burst] of this.#bursts) {
      // The clock may have been set back.
      if (Math.abs(atMs - burst.sinceMs) < REFUSALS_EACH_MS) continue;
      if (burst.count === 0) this.#bursts.delete(key);
      else changes.push(refusal(burst, burst.reason, burst.count));
      burst.count = 0;
      burst.sinceMs = atMs;
    }
    return changes;
  }

  #keep(seen: OutsideEvent): ServingEvent {
    const text = seen.text.slice(0, TEXT_CHARS_MAX);
    const event = { id: this.#nextId++, ...seen, text };
    this.#events.push(event);
    const refusals = this.#events.filter(({ kind }) => kind === "refused");
    const [oldest] = refusals.length > REFUSALS_MAX ? refusals : this.#events;
    if (this.#events.length > EVENTS_MAX && oldest !== undefined) {
      this.#events.splice(this.#events.indexOf(oldest), 1);
    }
    return event;
  }
}
