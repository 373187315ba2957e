// The stream of events, and the document with which a page begins before it follows the stream.

import type { FastifyInstance, FastifyReply } from "fastify";
import type { Clock } from "../base/clock.ts";
import { limits } from "../base/limits.ts";
import type { RolloutNews } from "../rollout/record.ts";
import { RequestError } from "../serve/errors.ts";
import { endpoint } from "../serve/http/endpoint.ts";
import { SECURITY_HEADERS } from "../serve/http/headers.ts";
import type { ObjectivesStatus, OnCallDocument, ServingEvent, ServingStatus } from "./api.ts";
import { type Look, OnCallRecord } from "./on-call.ts";
import { POINTS_MAX, STEP_MS } from "./on-call-history.ts";

/** Where the numbers come from. */
export interface OnCallSource {
  /** Of skipway. */
  readonly version: string;
  status(): ServingStatus;
  objectives(): Promise<ObjectivesStatus>;
  /** Calls back whenever the state of a version changes; gives a function that ends it. */
  onState(listener: () => void): () => void;
  /** Calls back with what happens to rollouts, where there are any; gives a function that ends it. */
  onNews?(listener: (news: RolloutNews) => void): () => void;
}

const TICK_MS = 1000;
const STREAMS_MAX = 64;

/** Adds `/api/v1/events` and `/api/v1/on-call`. */
export function registerOnCall(app: FastifyInstance, source: OnCallSource, clock: Clock): void {
  const record = new OnCallRecord();
  const streams = new Streams();
  const look = (): Look => {
    const seen = record.look(source.status(), clock.nowMs());
    streams.send(textOf(seen));
    return seen;
  };
  look();
  const unsubscribe = source.onState(look);
  const silence = source.onNews?.((news) => {
    const { cause, model, version, kind, text, atMs } = news;
    const said = text === "" ? kind : `${kind}: ${text}`;
    const change = { kind: "rollout", cause: cause ?? kind, model, version, text: said } as const;
    streams.send(
      `${eventText(record.tell(change, atMs))}event: rollout\ndata: ${JSON.stringify(news)}\n\n`,
    );
  });
  const timer = setInterval(look, TICK_MS).unref();
  app.addHook("preClose", async () => {
    clearInterval(timer);
    unsubscribe();
    silence?.();
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

/** Server-sent events (WHATWG HTML, section 9.2). The numbers last: a page draws once for both. */
function textOf({ stats, events }: Look): string {
  return `${events.map(eventText).join("")}event: stats\ndata: ${JSON.stringify(stats)}\n\n`;
}

function eventText(one: ServingEvent): string {
  return `event: event\nid: ${one.id}\ndata: ${JSON.stringify(one)}\n\n`;
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
