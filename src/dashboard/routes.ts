// The web pages and their data: one stream of events, a few JSON documents, the built files.

import { existsSync } from "node:fs";
import fastifyStatic from "@fastify/static";
import type { FastifyInstance, FastifyReply } from "fastify";
import { type Clock, systemClock } from "../base/clock.ts";
import { RequestError } from "../serve/errors.ts";
import { endpoint } from "../serve/http/endpoint.ts";
import type { ModelStats } from "../serve/version-host.ts";
import type { ExampleDigits, Overview, StatsEvent } from "./api.ts";
import { webFile } from "./files.ts";

/** Where the pages get their data from. */
export interface DashboardSource {
  overview(): Promise<Overview>;
  /** SVG text of the picture of a version's skips. */
  picture(name: string, version: number): Promise<string | undefined>;
  /** JSON text of what that picture shows (`Picture`). */
  pictureData(name: string, version: number): Promise<string | undefined>;
  /** JSON text of a version's training record. */
  training(name: string, version: number): Promise<string | undefined>;
  examples(): Promise<ExampleDigits>;
  stats(): readonly ModelStats[];
  onState(listener: () => void): () => void;
}

const TICK_MS = 1000;
const STREAMS_MAX = 64;
/** Pages come from here alone, run no foreign code and stand in no foreign frame. */
const PAGE_POLICY =
  "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
/** A picture is drawn from names that nobody checked: opened alone it may do nothing at all. */
const PICTURE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox";

/** Adds the pages and their data to the server's app. */
export async function registerDashboard(
  app: FastifyInstance,
  source: DashboardSource,
  clock: Clock = systemClock,
): Promise<void> {
  endpoint(app, "GET", "/api/v1/overview", () => source.overview());
  endpoint(app, "GET", "/api/v1/examples", () => source.examples());
  const version = "/api/v1/models/:name/versions/:version";
  endpoint(app, "GET", `${version}/picture.svg`, async (request, reply) => {
    const svg = await source.picture(...versionOf(request.params));
    if (svg === undefined) throw nothingHere("picture");
    await reply.header("content-security-policy", PICTURE_POLICY).type("image/svg+xml").send(svg);
  });
  endpoint(app, "GET", `${version}/picture`, async (request, reply) => {
    const data = await source.pictureData(...versionOf(request.params));
    if (data === undefined) throw nothingHere("picture");
    await reply.type("application/json").send(data);
  });
  endpoint(app, "GET", `${version}/training`, async (request, reply) => {
    const record = await source.training(...versionOf(request.params));
    if (record === undefined) throw nothingHere("training record");
    await reply.type("application/json").send(record);
  });
  registerEvents(app, source, clock);
  await registerFiles(app);
}

function versionOf(params: unknown): [string, number] {
  // The route patterns above give these two names.
  const { name, version } = params as { name: string; version: string };
  return [name, Number(version)];
}

function nothingHere(what: string): RequestError {
  return new RequestError(404, "invalid", `there is no ${what} of this version`);
}

/** Server-sent events (WHATWG HTML, section 9.2): `stats` each second and on every change of state. */
function registerEvents(app: FastifyInstance, source: DashboardSource, clock: Clock): void {
  const open = new Set<FastifyReply>();
  const send = (replies: Iterable<FastifyReply>): void => {
    const event: StatsEvent = { atMs: clock.nowMs(), models: source.stats() };
    const text = `event: stats\ndata: ${JSON.stringify(event)}\n\n`;
    for (const reply of replies) reply.raw.write(text);
  };
  const unsubscribe = source.onState(() => send(open));
  const timer = setInterval(() => send(open), TICK_MS).unref();
  app.addHook("preClose", async () => {
    clearInterval(timer);
    unsubscribe();
    for (const reply of open) reply.raw.end();
  });
  endpoint(app, "GET", "/api/v1/events", async (request, reply) => {
    if (open.size >= STREAMS_MAX) {
      throw new RequestError(503, "not-ready", `${STREAMS_MAX} pages are open already`, {
        retryAfterSeconds: 5,
      });
    }
    reply.hijack();
    reply.raw.writeHead(200, {
      "content-type": "text/event-stream; charset=utf-8",
      "cache-control": "no-store",
      "x-content-type-options": "nosniff",
    });
    open.add(reply);
    request.raw.once("close", () => open.delete(reply));
    reply.raw.once("close", () => open.delete(reply));
    send([reply]);
  });
}

async function registerFiles(app: FastifyInstance): Promise<void> {
  const root = webFile("");
  if (!existsSync(root)) return;
  await app.register(fastifyStatic, {
    root,
    // Names of the built files carry their hash: they never change.
    setHeaders: (response, path) => {
      const page = path.endsWith(".html");
      response.setHeader(
        "cache-control",
        page ? "no-cache" : "public, max-age=31536000, immutable",
      );
      response.setHeader("content-security-policy", PAGE_POLICY);
      response.setHeader("referrer-policy", "no-referrer");
    },
  });
  app.get("/models/:name/:version", (_request, reply) => reply.sendFile("model.html"));
}
