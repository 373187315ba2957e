// Tells webhooks what happened: at least once, in the order in which it happened, and across restarts, because what
// is still to be told lies in the store. A receiver that does not answer is asked again later and holds up no other.

import type { Clock } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { RolloutDelivery, Undelivered } from "../registry/rollouts.ts";
import type { WebhookReadings } from "../serve/metric-readings.ts";
import type { Records } from "./record.ts";
import { send, type Webhook } from "./webhooks.ts";

/** Between two looks at what is due. */
const LOOK_MS = 1000;
const AT_ONCE = 100;
/** After the first failure, doubled with each further one up to the last. */
const RETRY_MS = 1000;
const RETRY_MS_MAX = 300_000;
/** A receiver that has been away for so long has other means to find out. */
const GIVE_UP_MS = 3 * 86_400_000;

/** How long a receiver is left alone after a delivery that failed; undefined: it is not tried any more. */
export function pauseAfter(
  { attempts, event }: Pick<RolloutDelivery, "attempts" | "event">,
  nowMs: number,
): number | undefined {
  if (nowMs - event.atMs > GIVE_UP_MS) return undefined;
  return Math.min(RETRY_MS_MAX, RETRY_MS * 2 ** attempts);
}

/** One receiver, which gets one event after the other. */
interface Lane {
  readonly webhook: Webhook;
  working: boolean;
  /** Whether something happened while it was working. */
  again: boolean;
  /** On the monotonic clock. */
  pausedUntilMs: number;
  /** Deliveries since the server started. */
  readonly count: { delivered: number; failed: number; givenUp: number };
  /** As it was counted last. */
  undelivered: Undelivered;
  counting: boolean;
  /** Since when none was taken, and why; undefined while it takes them. */
  failure: { readonly sinceMs: number; why: string } | undefined;
}

const NOTHING: Undelivered = { count: 0, oldestMs: null };

/** What an outbox is made with. */
export interface OutboxParts {
  readonly clock: Clock;
  readonly send?: typeof send;
  /** Told when a receiver begins to fail, and when it takes events again: a line each. */
  readonly notice?: ((line: string) => void) | undefined;
}

/** Sends what is due. */
export class Outbox {
  readonly #records: Records;
  readonly #lanes: readonly Lane[];
  readonly #clock: Clock;
  readonly #send: typeof send;
  readonly #timer: NodeJS.Timeout;
  readonly #work = new Set<Promise<void>>();
  readonly #notice: (line: string) => void;
  #closed = false;

  constructor(records: Records, webhooks: readonly Webhook[], parts: OutboxParts) {
    this.#records = records;
    this.#lanes = webhooks.map((webhook) => ({
      webhook,
      working: false,
      again: false,
      pausedUntilMs: Number.NEGATIVE_INFINITY,
      count: { delivered: 0, failed: 0, givenUp: 0 },
      undelivered: NOTHING,
      counting: false,
      failure: undefined,
    }));
    this.#clock = parts.clock;
    this.#send = parts.send ?? send;
    this.#notice = parts.notice ?? (() => undefined);
    this.#timer = setInterval(() => this.look(), LOOK_MS).unref();
    // What nobody is configured for would lie there for ever.
    void records.keepWebhooks(webhooks.map(({ name }) => name)).catch(() => undefined);
  }

  /** How each receiver does. */
  readings(): readonly WebhookReadings[] {
    return this.#lanes.map(({ webhook, count, undelivered, failure }) => ({
      webhook: webhook.name,
      ...count,
      undelivered: undelivered.count,
      oldestMs: undelivered.oldestMs,
      failure: failure === undefined ? null : { ...failure },
    }));
  }

  /** Looks now: something has happened. */
  look(): void {
    for (const lane of this.#lanes) {
      lane.again = true;
      if (this.#closed) continue;
      // One that is slow works for long: what waits meanwhile is counted all the same.
      if (!isQuiet(lane)) this.#begin(this.#count(lane));
      if (lane.working) continue;
      lane.working = true;
      this.#begin(
        this.#serve(lane).finally(() => {
          lane.working = false;
        }),
      );
    }
  }

  #begin(begun: Promise<void>): void {
    const work = begun.finally(() => this.#work.delete(work));
    this.#work.add(work);
  }

  /** What is under way is finished. */
  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#timer);
    await Promise.all(this.#work);
  }

  async #serve(lane: Lane): Promise<void> {
    while (lane.again && !this.#closed && this.#clock.monotonicMs() >= lane.pausedUntilMs) {
      lane.again = false;
      // A store that cannot be read now may be read at the next look.
      const due = await this.#records.due(lane.webhook.name, AT_ONCE).catch(() => []);
      for (const one of due) {
        if (this.#closed || !(await this.#deliver(lane, one))) break;
      }
      if (due.length === AT_ONCE) lane.again = true;
    }
    if (!isQuiet(lane)) await this.#count(lane);
  }

  async #count(lane: Lane): Promise<void> {
    if (lane.counting) return;
    lane.counting = true;
    const { name } = lane.webhook;
    // Where it cannot be counted now, the last count stands.
    const found = await this.#records.undelivered(name).catch(() => lane.undelivered);
    lane.undelivered = found;
    lane.counting = false;
  }

  /** Whether the next one may follow: after a failure it would come before this one. */
  async #deliver(lane: Lane, { event, attempts }: RolloutDelivery): Promise<boolean> {
    const { webhook } = lane;
    try {
      await this.#send(webhook, event.id, event.document, this.#clock.nowMs());
      this.#took(lane);
    } catch (error) {
      this.#failed(lane, error);
      const pauseMs = pauseAfter({ attempts, event }, this.#clock.nowMs());
      if (pauseMs !== undefined) {
        lane.pausedUntilMs = this.#clock.monotonicMs() + pauseMs;
        await this.#records.failed(event.id, webhook.name, attempts + 1).catch(() => undefined);
        return false;
      }
      lane.count.givenUp++;
    }
    // Where that cannot be written it is told once more.
    await this.#records.delivered(event.id, webhook.name).catch(() => undefined);
    return true;
  }
  #took(lane: Lane): void {
    lane.count.delivered++;
    if (lane.failure === undefined) return;
    lane.failure = undefined;
    this.#notice(`webhook ${lane.webhook.name} takes events again`);
  }

  /** Told once: it is tried again and again. */
  #failed(lane: Lane, error: unknown): void {
    lane.count.failed++;
    const why = messageOf(error);
    if (lane.failure !== undefined) {
      lane.failure.why = why;
      return;
    }
    lane.failure = { sinceMs: this.#clock.nowMs(), why };
    this.#notice(
      `webhook ${lane.webhook.name} does not take events: ${why}; they are kept, and sent again for three days`,
    );
  }
}

/** Whether nothing waits for it, as far as is known. */
function isQuiet({ working, failure, undelivered }: Lane): boolean {
  return !working && failure === undefined && undelivered.count === 0;
}
