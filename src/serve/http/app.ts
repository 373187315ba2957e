// The HTTP application: what holds for every request, whatever its route. Who may come in, limits, ids, and
// the text of errors.

import { randomUUID } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { Readable } from "node:stream";
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from "fastify";
import { SkipwayError } from "../../base/errors.ts";
import { limits } from "../../base/limits.ts";
import { redacted } from "../../registry/secret.ts";
import type { Guard } from "../auth/guard.ts";
import { cookieOf, sendLogin, wantsPage } from "../auth/login.ts";
import { changesState } from "../auth/roles.ts";
import { CLIENT_CLOSED, RequestError } from "../errors.ts";
import type { HeldBytes } from "../held-bytes.ts";
import type { RequestObserver } from "../tracing.ts";
import { BodyReader } from "./body.ts";
import type { EarlyServer } from "./early.ts";
import { roleOf, roleOfRoute } from "./endpoint.ts";
import { SECURITY_HEADERS } from "./headers.ts";
import { answerClientError, HTTP_TIMES, type HttpTimes, nodeServer } from "./node-server.ts";
import { countReceived, noteFailure, observeRequests, watchOf } from "./observed.ts";
import { httpFault, originTarget } from "./strict.ts";
import type { Certificates } from "./tls.ts";

/** What an application stands on. */
export interface AppOptions {
  readonly guard: Guard;
  /** With them it speaks TLS alone. */
  readonly certificates?: Certificates;
  readonly times?: Partial<HttpTimes>;
  /** Counts, traces and logs the inference requests. */
  readonly observer: RequestObserver;
  /** Bodies that are on their way are counted here. */
  readonly held?: HeldBytes;
  /** Listens already; without certificates. */
  readonly early?: EarlyServer;
}

/** The application with its limits, its guard, its error answers and no routes yet. */
export function buildApp({
  guard,
  certificates,
  times,
  observer,
  held,
  early,
}: AppOptions): FastifyInstance {
  const app = fastify({
    serverFactory: (listener) =>
      early?.attach(listener) ?? nodeServer(listener, { ...HTTP_TIMES, ...times }, certificates),
    clientErrorHandler: answerClientError,
    requestIdHeader: false,
    genReqId: requestId,
    routerOptions: { maxParamLength: 256 },
    rewriteUrl: originTarget,
    // Addresses that the router cannot read: answered like every other error.
    frameworkErrors: (error, request, reply) => {
      reply.headers(SECURITY_HEADERS);
      void answerError(error, request, reply);
    },
    // Connections that are idle must not hold up the end of the server.
    forceCloseConnections: "idle",
    // What reaches it until nothing can any more is answered.
    return503OnClosing: false,
    // What the usual ones bring is half of all files that a start would read.
    schemaController: {
      compilersFactory: { buildValidator: noSchemas, buildSerializer: noSchemas },
    },
  });
  listRoutes(app);
  // Clients send JSON under many content types or none at all: the protocol's routes read bytes.
  app.removeAllContentTypeParsers();
  const bodies = new BodyReader(held);
  app.addContentTypeParser("*", (request: FastifyRequest, body: Readable, done) => {
    const received = (bytes: number): void => countReceived(request, bytes);
    bodies.take(body, request.headers, { received, done });
  });
  // First: what the guard refuses is counted too.
  observeRequests(app, observer);
  // No promises in hooks where nothing is waited for: each is a turn of the queue for every request.
  app.addHook("onRequest", (request, reply, done) => {
    reply.headers(SECURITY_HEADERS).header("x-request-id", request.id);
    // Fastify refuses those that are no types; here the routes know what they read.
    request.raw.headers["content-type"] = undefined;
    refuseStrange(request.raw);
    letIn(guard, request, done);
  });
  app.addHook("preParsing", (request, reply, _payload, done) => {
    // Only now is the body wanted: a request that is refused need not send it.
    const expected = request.headers.expect !== undefined;
    if (expected && declaredBytes(request) <= (held?.bodyMax ?? limits.requestBytesMax))
      reply.raw.writeContinue();
    done();
  });
  writeDown(app, guard);
  app.setNotFoundHandler(async (request, reply) => {
    const error = redacted(`there is nothing at ${request.url.slice(0, 256)}`);
    await reply.code(404).send({ error });
  });
  app.setErrorHandler(answerError);
  return app;
}

/** No route has a schema: each checks what it reads itself. */
function noSchemas(): never {
  throw new SkipwayError("internal", "skipway defect: a route has a JSON schema");
}

/** A route of an application. */
export interface RouteEntry {
  readonly method: string;
  readonly url: string;
}

const routes = new WeakMap<FastifyInstance, RouteEntry[]>();

/** Every route that does something, in the order in which they were added. */
export function routesOf(app: FastifyInstance): readonly RouteEntry[] {
  return routes.get(app) ?? [];
}

function listRoutes(app: FastifyInstance): void {
  const entries: RouteEntry[] = [];
  routes.set(app, entries);
  app.addHook("onRoute", ({ method, url, config }) => {
    if (config?.refusesMethod === true) return;
    for (const one of [method].flat()) entries.push({ method: one, url });
  });
}

/** The client's id if it is one that may stand in a log, or a new one. */
function requestId({ headers }: IncomingMessage): string {
  const given = headers["x-request-id"];
  const usable = typeof given === "string" && /^[\w.:/+=@-]{1,128}$/.test(given);
  return usable && redacted(given) === given ? given : randomUUID();
}

function declaredBytes({ headers }: FastifyRequest): number {
  return Number(headers["content-length"] ?? 0);
}

function refuseStrange(request: IncomingMessage): void {
  const fault = httpFault(request);
  if (fault !== undefined) throw new RequestError(fault.status, "invalid", fault.text);
}

const actors = new WeakMap<FastifyRequest, string>();

/** Under which name a request was let in. */
export function actorOf(request: FastifyRequest): string {
  return actors.get(request) ?? "unknown";
}

/** Requests to routes that change state which have changed none, since they only asked what would happen. */
const dryRuns = new WeakSet<FastifyRequest>();

/** Says that a request changes nothing: its answer goes out also where it cannot be written down. */
export function noteDryRun(request: FastifyRequest): void {
  dryRuns.add(request);
}

function letIn(guard: Guard, request: FastifyRequest, done: (error?: Error) => void): void {
  const { headers, method } = request;
  const role = roleOf(request);
  const header = (name: string): string | undefined => {
    const value = headers[name];
    return typeof value === "string" ? value : undefined;
  };
  const admitted = guard.admit({
    role,
    safe: method === "GET" || method === "HEAD",
    secure: isSecure(request),
    peer: request.socket.remoteAddress ?? "",
    authorization: headers.authorization,
    cookie: cookieOf(headers.cookie),
    site: {
      host: headers.host,
      origin: headers.origin,
      fetchSite: header("sec-fetch-site"),
      fetchMode: header("sec-fetch-mode"),
      fetchDest: header("sec-fetch-dest"),
    },
  });
  const enter = (actor: string): void => {
    // Only what is written down is asked who did it.
    if (changesState(role)) actors.set(request, actor);
    const watch = watchOf(request);
    if (watch !== undefined) watch.tenant = actor;
    done();
  };
  if (typeof admitted === "string") enter(admitted);
  else admitted.then(enter, done);
}

function isSecure(request: FastifyRequest): boolean {
  return "encrypted" in request.socket && request.socket.encrypted === true;
}

/**
 * What changes state is written down before its answer goes out: who sees the answer finds the entry. The hook is on
 * those routes alone, so that the answers of models wait for nothing.
 */
function writeDown(app: FastifyInstance, guard: Guard): void {
  const write = async (
    request: FastifyRequest,
    reply: FastifyReply,
    payload: unknown,
  ): Promise<unknown> => {
    const role = roleOf(request);
    const [path = ""] = request.url.split("?", 1);
    const { statusCode } = reply;
    const record = {
      actor: actorOf(request),
      action: `${request.method} ${path}`,
      result: String(statusCode),
      details: { peer: request.socket.remoteAddress ?? "", request: request.id },
    };
    try {
      await guard.record(role, record);
      return payload;
    } catch (error) {
      // A refusal that leaves no entry has changed nothing, and nor has a question.
      if (statusCode >= 400 || dryRuns.has(request)) return payload;
      noteFailure(request, error);
      reply.code(500).removeHeader("content-length").type("application/json; charset=utf-8");
      return JSON.stringify({
        error: "this was done, and could not be written to the audit log: is the disk full?",
      });
    }
  };
  app.addHook("onRoute", (route) => {
    if (![route.method].flat().some((method) => changesState(roleOfRoute(method, route)))) return;
    route.onSend = (request, reply, payload, done): void => {
      write(request, reply, payload).then((sent) => done(null, sent), done);
    };
  });
}

async function answerError(
  error: unknown,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<void> {
  noteFailure(request, error);
  if (error instanceof RequestError) {
    if (error.status === CLIENT_CLOSED) {
      reply.hijack();
      return;
    }
    // The rest of the body is not waited for.
    if (error.status === 413) reply.header("connection", "close");
    if (error.retryAfterSeconds !== undefined) reply.header("retry-after", error.retryAfterSeconds);
    if (error.status === 401) {
      reply.header("www-authenticate", 'Bearer realm="skipway"');
      if (wantsPage(request)) return sendLogin(reply.code(401));
    }
    await reply.code(error.status).send({ error: redacted(error.message) });
    return;
  }
  const status = error instanceof Error && "statusCode" in error ? Number(error.statusCode) : 500;
  await reply.code(status).send({ error: textFor(status) });
}

/** Errors of the HTTP layer, in our own words: inner messages stay inside. */
function textFor(status: number): string {
  if (status === 408) return "the request took too long to arrive";
  return status < 500 ? "the request is not valid HTTP for this server" : "internal error";
}
