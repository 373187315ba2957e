// The stream of events, and the document with which a page begins before it follows the stream.

import type { FastifyInstance, FastifyReply } from "fastify";
import type { Clock } from "../base/clock.ts";
import { limits } from "../base/limits.ts";
import type { RolloutStatus } from "../rollout/document.ts";
import type { RolloutNews } from "../rollout/record.ts";
import { RequestError } from "../serve/errors.ts";
import { endpoint } from "../serve/http/endpoint.ts";
import { SECURITY_HEADERS } from "../serve/http/headers.ts";
import type { WebhookReadings } from "../serve/metric-readings.ts";
import type { ObjectivesStatus, OnCallDocument, ServingStatus } from "./api.ts";
import { type Look, OnCallRecord, type OutsideEvent } from "./on-call.ts";
import { POINTS_MAX, STEP_MS } from "./on-call-history.ts";

/** Rollouts, as far as pages are told of them. */
export interface RolloutsSource {
  /** Those that are under way, and the last one of each model. */
  now(): readonly RolloutStatus[];
  /** Calls back with whatever happens to one, at once; gives a function that ends it. */
  onNews(listener: (news: RolloutNews) => void): () => void;
  /** The last that happened in any rollout, of servers before this one too; the newest last. */
  past(count: number): Promise<readonly RolloutNews[]>;
}

/** Where the numbers come from. */
export interface OnCallSource {
  /** Of skipway. */
  readonly version: string;
  status(): ServingStatus;
  objectives(): Promise<ObjectivesStatus>;
  /** Calls back whenever the state of a version changes; gives a function that ends it. */
  onState(listener: () => void): () => void;
  /** undefined: there are none. */
  readonly rollouts?: RolloutsSource;
  /** Who is told of what happens to rollouts, and whether they take it. */
  webhooks?(): readonly WebhookReadings[];
}

const TICK_MS = 1000;
const STREAMS_MAX = 64;
/** Events of rollouts that are read back when a server starts: half of the list. */
const PAST_MAX = 100;

/** Adds `/api/v1/events` and `/api/v1/on-call`. */
export async function registerOnCall(
  app: FastifyInstance,
  source: OnCallSource,
  clock: Clock,
): Promise<void> {
  const record = new OnCallRecord();
  const streams = new Streams();
  const { rollouts } = source;
  const past = (await rollouts?.past(PAST_MAX)) ?? [];
  record.recall(past.map(eventOf));
  let told: RolloutNews[] = [];
  let soon: NodeJS.Immediate | undefined;
  const look = (): Look => {
    const news = told;
    told = [];
    const seen = record.look(source.status(), clock.nowMs(), {
      rollouts: rollouts?.now() ?? [],
      events: news.map(eventOf),
      webhooks: source.webhooks?.() ?? [],
    });
    streams.send(textOf(seen, news));
    return seen;
  };
  look();
  const unsubscribe = source.onState(look);
  const unsubscribeNews = rollouts?.onNews((news) => {
    told.push(news);
    // After what is being decided: who decides does not wait for pages, and events of one moment are one message.
    soon ??= setImmediate(() => {
      soon = undefined;
      look();
    });
  });
  const timer = setInterval(look, TICK_MS).unref();
  app.addHook("preClose", async () => {
    clearInterval(timer);
    clearImmediate(soon);
    unsubscribe();
    unsubscribeNews?.();
    streams.end();
  });
  endpoint(app, "GET", "/api/v1/on-call", async (): Promise<OnCallDocument> => {
    const objectives = await source.objectives();
    const { stats } = look();
    return {
      schema: "skipway.on-call/1",
      version: source.version,
      status: stats,
      objectives,
      events: record.events,
      history: { stepMs: STEP_MS, pointsMax: POINTS_MAX, series: record.history.series() },
    };
  });
  endpoint(app, "GET", "/api/v1/events", async (_request, reply) => {
    streams.open(reply);
    look();
  });
}

/** What a rollout tells, as an event among the others. */
function eventOf(news: RolloutNews): OutsideEvent {
  const { id: eventId, atMs, kind, cause, model, version, text, rollout, nodePool } = news;
  return { atMs, kind, cause, model, version, text, rollout, eventId, nodePool };
}

/**
 * Server-sent events (WHATWG HTML, section 9.2): what happened, the same of rollouts once more and whole, as webhooks
 * have it, and the numbers. They are the last: a page draws once for all.
 */
function textOf({ stats, events }: Look, news: readonly RolloutNews[]): string {
  const parts = [
    ...events.map((one) => `event: event\nid: ${one.id}\ndata: ${JSON.stringify(one)}\n\n`),
    ...news.map((one) => `event: rollout\ndata: ${JSON.stringify(one)}\n\n`),
  ];
  return `${parts.join("")}event: stats\ndata: ${JSON.stringify(stats)}\n\n`;
}

/** The streams that are open. */
class Streams {
  readonly #open = new Set<FastifyReply>();

  /** @throws RequestError 503 where too many are. */
  open(reply: FastifyReply): void {
    if (this.#open.size >= STREAMS_MAX) {
      throw new RequestError(503, "not-ready", `${STREAMS_MAX} pages are open already`, {
        retryAfterSeconds: 5,
      });
    }
    reply.hijack();
    reply.raw.writeHead(200, {
      ...SECURITY_HEADERS,
      "content-type": "text/event-stream; charset=utf-8",
    });
    this.#open.add(reply);
    reply.request.raw.once("close", () => this.#open.delete(reply));
    reply.raw.once("close", () => this.#open.delete(reply));
  }

  send(text: string): void {
    for (const { raw } of this.#open) {
      // Whoever does not take what was sent before gets no more: it would pile up here.
      if (raw.writableLength > limits.unreadBytesMax) raw.destroy();
      else raw.write(text);
    }
  }

  end(): void {
    for (const { raw } of this.#open) raw.end();
  }
}
