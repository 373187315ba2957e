// Observation of the inference requests of REST: each is begun with its head and ended with its answer, or
// with its connection, whatever happens between; so the counts are those of the clients.

import type { FastifyInstance, FastifyRequest } from "fastify";
import { CLIENT_CLOSED, RequestError } from "../errors.ts";
import type { RequestObserver, RequestWatch } from "../tracing.ts";

/** Requests under way. */
const watches = new WeakMap<FastifyRequest, RequestWatch>();
/** Why those that failed did. */
const reasons = new WeakMap<FastifyRequest, string>();

/** The observation of a request; undefined for what is no inference. */
export function watchOf(request: FastifyRequest): RequestWatch | undefined {
  return watches.get(request);
}

/** Observes the app's inference requests. Before other hooks, so that what they refuse is counted. */
export function observeRequests(app: FastifyInstance, observer: RequestObserver): void {
  app.addHook("onRequest", async (request, reply) => {
    if (request.method !== "POST" || request.routeOptions.url?.endsWith("/infer") !== true) return;
    const watch = begin(observer, request);
    watches.set(request, watch);
    reply.header("traceparent", watch.traceparent);
    if (watch.context.state !== undefined) reply.header("tracestate", watch.context.state);
    // The one event that comes after an answer as well as after a broken connection.
    reply.raw.once("close", () => end(observer, request, reply.raw, watch));
  });
}

/** Says why a request failed: for its count, its trace and the log. */
export function noteFailure(request: FastifyRequest, error: unknown): void {
  if (watches.has(request) && error instanceof RequestError) reasons.set(request, error.reason);
}

function begin(observer: RequestObserver, request: FastifyRequest): RequestWatch {
  // The inference routes have these two.
  const { name = "", version } = request.params as { name?: string; version?: string };
  const header = (key: string): string | undefined => {
    const value = request.headers[key];
    return Array.isArray(value) ? value.join(",") : value;
  };
  return observer.begin({
    protocol: "rest",
    requestId: request.id,
    traceparent: header("traceparent"),
    tracestate: header("tracestate"),
    model: name,
    version,
    startMs: observer.clock.monotonicMs(),
  });
}

function end(
  observer: RequestObserver,
  request: FastifyRequest,
  response: { readonly writableFinished: boolean; readonly statusCode: number } & Sizes,
  watch: RequestWatch,
): void {
  const whole = response.writableFinished;
  const status = whole ? response.statusCode : CLIENT_CLOSED;
  const answered = whole && status < 400;
  const sendFrom = watch.endOf("split") ?? watch.endOf("infer");
  if (answered && sendFrom !== undefined) {
    watch.phase("send", sendFrom, observer.clock.monotonicMs());
  }
  watch.end({
    status,
    reason: answered ? undefined : whole ? reasonOf(request, status) : "canceled",
    bytesIn: Number(request.headers["content-length"] ?? 0) || 0,
    bytesOut: Number(response.getHeader("content-length") ?? 0) || 0,
  });
}

interface Sizes {
  getHeader(name: string): number | string | string[] | undefined;
}

function reasonOf(request: FastifyRequest, status: number): string {
  if (status === 404) return "not-found";
  return reasons.get(request) ?? (status >= 500 ? "runtime" : "invalid");
}
