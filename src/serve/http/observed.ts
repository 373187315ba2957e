// Observation of the inference requests of REST: each is begun with its head and ended with its answer, or
// with its connection, whatever happens between; so the counts are those of the clients.

import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { CLIENT_CLOSED, RequestError } from "../errors.ts";
import type { RequestObserver, RequestWatch } from "../tracing.ts";

/** A request under way: why it failed, if it did, and how much of its body has come. */
interface Observed {
  readonly watch: RequestWatch;
  reason: string | undefined;
  bytesIn: number;
}

const observed = new WeakMap<FastifyRequest, Observed>();

/** The observation of a request; undefined for what is no inference. */
export function watchOf(request: FastifyRequest): RequestWatch | undefined {
  return observed.get(request)?.watch;
}

/** Observes the app's inference requests. Before other hooks, so that what they refuse is counted. */
export function observeRequests(app: FastifyInstance, observer: RequestObserver): void {
  app.addHook("onRequest", (request, reply, done) => {
    if (request.method !== "POST" || request.routeOptions.url?.endsWith("/infer") !== true) {
      done();
      return;
    }
    const watch = begin(observer, request);
    const state: Observed = { watch, reason: undefined, bytesIn: 0 };
    observed.set(request, state);
    reply.header("traceparent", watch.traceparent);
    if (watch.context.state !== undefined) reply.header("tracestate", watch.context.state);
    // The one event that comes after an answer as well as after a broken connection.
    reply.raw.once("close", () => end(observer, reply, state));
    done();
  });
}

/** Says why a request failed: for its count, its trace and the log. */
export function noteFailure(request: FastifyRequest, error: unknown): void {
  const state = observed.get(request);
  if (state !== undefined && error instanceof RequestError) state.reason = error.reason;
}

/** Bytes of its body have come, as they were sent. */
export function countReceived(request: FastifyRequest, bytes: number): void {
  const state = observed.get(request);
  if (state !== undefined) state.bytesIn += bytes;
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
  reply: FastifyReply,
  { watch, reason, bytesIn }: Observed,
): void {
  const whole = reply.raw.writableFinished;
  const status = whole ? reply.raw.statusCode : CLIENT_CLOSED;
  const answered = whole && status < 400;
  const sendFrom = watch.endOf("split") ?? watch.endOf("infer");
  if (answered && sendFrom !== undefined) {
    watch.phase("send", sendFrom, observer.clock.monotonicMs());
  }
  watch.end({
    status,
    reason: answered ? undefined : whole ? reasonOf(status, reason) : "canceled",
    bytesIn,
    // Of the reply: what goes out with the head at once is not among the headers of Node's response.
    bytesOut: Number(reply.getHeader("content-length") ?? 0) || 0,
  });
}

function reasonOf(status: number, told: string | undefined): string {
  if (status === 404) return "not-found";
  return told ?? (status >= 500 ? "runtime" : "invalid");
}
