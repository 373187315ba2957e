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

/** When a delivery that failed is tried again; undefined: not any more. Times since the epoch. */
export function nextTry(
  { attempts, event }: Pick<RolloutDelivery, "attempts" | "event">,
  nowMs: number,
): number | undefined {
  if (nowMs - event.atMs > GIVE_UP_MS) return undefined;
  return nowMs + Math.min(RETRY_MS_MAX, RETRY_MS * 2 ** attempts);
}

/** Sends what is due. */
export class Outbox {
  readonly #records: Records;
  readonly #webhooks: ReadonlyMap<string, Webhook>;
  readonly #clock: Clock;
  readonly #send: typeof send;
  readonly #timer: NodeJS.Timeout;
  #working: Promise<void> | undefined;
  #again = false;
  #closed = false;
  #failures = 0;

  constructor(
    records: Records,
    webhooks: readonly Webhook[],
    clock: Clock,
    sender: typeof send = send,
  ) {
    this.#records = records;
    this.#webhooks = new Map(webhooks.map((one) => [one.name, one]));
    this.#clock = clock;
    this.#send = sender;
    this.#timer = setInterval(() => this.look(), LOOK_MS).unref();
  }

  /** Deliveries that failed since the server started. */
  get failures(): number {
    return this.#failures;
  }

  /** Looks now: something has happened. */
  look(): void {
    if (this.#webhooks.size === 0 || this.#closed) return;
    this.#again = true;
    this.#working ??= this.#work().finally(() => {
      this.#working = undefined;
    });
  }

  /** What is under way is finished. */
  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#timer);
    await this.#working;
  }

  async #work(): Promise<void> {
    while (this.#again && !this.#closed) {
      this.#again = false;
      // A store that cannot be read now may be read at the next look.
      const due = await this.#records.due(this.#clock.nowMs(), AT_ONCE).catch(() => []);
      const lanes = [...this.#webhooks.keys()].map((name) =>
        due.filter(({ webhook }) => webhook === name),
      );
      await Promise.all(lanes.map((lane) => this.#lane(lane)));
      // Of webhooks that are not configured any more.
      for (const one of due) if (!this.#webhooks.has(one.webhook)) await this.#drop(one);
      if (due.length === AT_ONCE) this.#again = true;
    }
  }

  /** One receiver, one event after the other; after a failure the others wait too, or the order would be lost. */
  async #lane(lane: readonly RolloutDelivery[]): Promise<void> {
    for (const [i, one] of lane.entries()) {
      const webhook = this.#webhooks.get(one.webhook);
      if (webhook === undefined || this.#closed) return;
      const { id, document } = one.event;
      try {
        await this.#send(webhook, id, document, this.#clock.nowMs());
        await this.#drop(one);
      } catch {
        this.#failures++;
        await this.#postpone(lane.slice(i), one.attempts);
        return;
      }
    }
  }

  async #postpone(lane: readonly RolloutDelivery[], attempts: number): Promise<void> {
    for (const one of lane) {
      const nextMs = nextTry({ attempts, event: one.event }, this.#clock.nowMs());
      if (nextMs === undefined) await this.#drop(one);
      else {
        const write = this.#records.postpone(one.event.id, one.webhook, attempts + 1, nextMs);
        await write.catch(() => undefined);
      }
    }
  }

  /** Told, or of no use any more. Where that cannot be written it is told once more. */
  async #drop({ event, webhook }: RolloutDelivery): Promise<void> {
    await this.#records.delivered(event.id, webhook).catch(() => undefined);
  }
}
