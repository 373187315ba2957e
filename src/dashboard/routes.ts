// The web pages and their data: one stream of events, a few JSON documents, the built files.

import { existsSync } from "node:fs";
import fastifyStatic from "@fastify/static";
import type { FastifyInstance, FastifyPluginAsync } from "fastify";
import { type Clock, systemClock } from "../base/clock.ts";
import { RequestError } from "../serve/errors.ts";
import { endpoint } from "../serve/http/endpoint.ts";
import type { ExampleDigits, Overview } from "./api.ts";
import { webFile } from "./files.ts";
import { type OnCallSource, registerOnCall } from "./on-call-routes.ts";

/** Where the pages get their data from. */
export interface DashboardSource extends OnCallSource {
  overview(): Promise<Overview>;
  /** SVG text of the picture of a version's skips. */
  picture(name: string, version: number): Promise<string | undefined>;
  /** JSON text of what that picture shows (`Picture`). */
  pictureData(name: string, version: number): Promise<string | undefined>;
  /** JSON text of a version's training record. */
  training(name: string, version: number): Promise<string | undefined>;
  examples(): Promise<ExampleDigits>;
}

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
  await registerOnCall(app, source, clock);
  if (existsSync(webFile(""))) await app.register(pages);
}

function versionOf(params: unknown): [string, number] {
  // The route patterns above give these two names.
  const { name, version } = params as { name: string; version: string };
  return [name, Number(version)];
}

function nothingHere(what: string): RequestError {
  return new RequestError(404, "invalid", `there is no ${what} of this version`);
}

const pages: FastifyPluginAsync = async (app) => {
  // In place of the headers that stand on every answer; those that the plugin sets would be overwritten by them.
  app.addHook("onSend", async (_request, reply, payload) => {
    if (reply.statusCode < 400) reply.headers(fileHeaders(reply.getHeader("content-type")));
    return payload;
  });
  await app.register(fastifyStatic, { root: webFile(""), cacheControl: false });
  app.get("/models/:name/:version", (_request, reply) => reply.sendFile("model.html"));
  app.get("/on-call", (_request, reply) => reply.sendFile("on-call.html"));
};

/** Names of the built files carry their hash, so that they never change; those of the pages do not. */
function fileHeaders(type: unknown): Record<string, string> {
  const page = String(type).startsWith("text/html");
  return {
    "cache-control": page ? "no-cache" : "public, max-age=31536000, immutable",
    "content-security-policy": PAGE_POLICY,
  };
}
