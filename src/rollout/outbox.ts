// Tells webhooks what happened: at least once, in the order in which it happened, and across restarts, because what
// is still to be told lies in the store. A receiver that does not answer is asked again later and holds up no other.

import type { Clock } from "../base/clock.ts";
import type { RolloutDelivery } from "../registry/rollouts.ts";
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
}

/** Sends what is due. */
export class Outbox {
  readonly #records: Records;
  readonly #lanes: readonly Lane[];
  readonly #clock: Clock;
  readonly #send: typeof send;
  readonly #timer: NodeJS.Timeout;
  readonly #work = new Set<Promise<void>>();
  #closed = false;
  #failures = 0;

  constructor(
    records: Records,
    webhooks: readonly Webhook[],
    clock: Clock,
    sender: typeof send = send,
  ) {
    this.#records = records;
    this.#lanes = webhooks.map((webhook) => ({
      webhook,
      working: false,
      again: false,
      pausedUntilMs: Number.NEGATIVE_INFINITY,
    }));
    this.#clock = clock;
    this.#send = sender;
    this.#timer = setInterval(() => this.look(), LOOK_MS).unref();
    // What nobody is configured for would lie there for ever.
    void records.keepWebhooks(webhooks.map(({ name }) => name)).catch(() => undefined);
  }

  /** Deliveries that failed since the server started. */
  get failures(): number {
    return this.#failures;
  }

  /** Looks now: something has happened. */
  look(): void {
    for (const lane of this.#lanes) {
      lane.again = true;
      if (lane.working || this.#closed) continue;
      lane.working = true;
      const work = this.#serve(lane).finally(() => {
        lane.working = false;
        this.#work.delete(work);
      });
      this.#work.add(work);
    }
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
  }

  /** Whether the next one may follow: after a failure it would come before this one. */
  async #deliver(lane: Lane, { event, attempts }: RolloutDelivery): Promise<boolean> {
    const { webhook } = lane;
    try {
      await this.#send(webhook, event.id, event.document, this.#clock.nowMs());
    } catch {
      this.#failures++;
      const pauseMs = pauseAfter({ attempts, event }, this.#clock.nowMs());
      if (pauseMs !== undefined) {
        lane.pausedUntilMs = this.#clock.monotonicMs() + pauseMs;
        await this.#records.failed(event.id, webhook.name, attempts + 1).catch(() => undefined);
        return false;
      }
    }
    // Where that cannot be written it is told once more.
    await this.#records.delivered(event.id, webhook.name).catch(() => undefined);
    return true;
  }
}
