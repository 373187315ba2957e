// The server: one HTTP port for the protocol, the metrics and whatever else is registered on the same
// app; one process for each model behind it.

import { randomUUID } from "node:crypto";
import { createServer } from "node:net";
import type { Readable } from "node:stream";
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from "fastify";
import { diagnostic } from "../base/diagnostic.ts";
import { SkipwayError } from "../base/errors.ts";
import { CONTENT_TYPES, expose, formatFor } from "../observe/exposition.ts";
import { type ChildRunner, childProcessRunner } from "../runtime/child-process.ts";
import { BodyReader } from "./body.ts";
import { endpoint } from "./endpoint.ts";
import { CLIENT_CLOSED, portError, RequestError } from "./errors.ts";
import { serverMetrics } from "./metrics.ts";
import { ModelHost, type ModelStats, type ServedModel } from "./model-host.ts";
import { registerOip } from "./oip-routes.ts";

/** How a server is set up. */
export interface ServerOptions {
  /** Version of skipway, for the server's metadata. */
  readonly version: string;
  readonly runner?: ChildRunner;
  /** How long requests under way may take once the server stops. Default 8 seconds. */
  readonly drainMs?: number;
}

/** Where a server listens. */
export interface ListenOptions {
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** 0 chooses a free one. */
  readonly port: number;
  /** Take requests from other machines, although there are no tokens and no TLS. */
  readonly allowRemote?: boolean;
}

const DEFAULT_HOST = "127.0.0.1";
const IDLE_CHECK_MS = 50;
/** Docker kills ten seconds after it asks a container to stop (its manual, "docker stop"). */
const DRAIN_MS = 8000;
/** The largest body in a minute is a megabyte a second; a client that is slower holds memory for nothing. */
const REQUEST_TIMEOUT_MS = 60_000;
const LOOPBACK = new Set(["127.0.0.1", "localhost", "::1"]);

/** Serves models until it is stopped. */
export class ModelServer {
  /** The HTTP application; routes may be added before `listen`. */
  readonly app: FastifyInstance;
  readonly #hosts = new Map<string, ModelHost>();
  readonly #runner: ChildRunner;
  readonly #drainMs: number;
  readonly #listeners = new Set<() => void>();
  #draining = false;

  constructor(options: ServerOptions) {
    this.#runner = options.runner ?? childProcessRunner();
    this.#drainMs = options.drainMs ?? DRAIN_MS;
    this.app = buildApp();
    registerOip(this.app, {
      version: options.version,
      find: (name, version) => this.#find(name, version),
      versionsOf: (name) => this.#named(name).map((host) => host.model.version),
      ready: () => this.ready(),
    });
    endpoint(this.app, "GET", "/metrics", async (request, reply) => {
      const format = formatFor(request.headers.accept);
      const families = serverMetrics([...this.#hosts.values()]);
      await reply.header("content-type", CONTENT_TYPES[format]).send(expose(families, format));
    });
  }

  /**
   * Loads a model and serves it.
   *
   * @throws SkipwayError when it does not load, or does not answer as recorded.
   */
  async serve(model: ServedModel): Promise<ModelHost> {
    const host = new ModelHost(model, {
      runner: this.#runner,
      onState: () => this.#notify(),
    });
    await host.start();
    this.#hosts.set(`${model.name}/${model.version}`, host);
    this.#notify();
    return host;
  }

  /** Calls back whenever the state of a model changes; gives a function that ends it. */
  onState(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** What each model has done and does. */
  stats(): readonly ModelStats[] {
    return [...this.#hosts.values()].map((host) => host.stats());
  }

  /** Whether every model answers. */
  ready(): boolean {
    const hosts = [...this.#hosts.values()];
    return !this.#draining && hosts.length > 0 && hosts.every((host) => host.state === "ready");
  }

  /**
   * Starts to listen; returns the address.
   *
   * @throws SkipwayError `environment` when the port is in use, `usage` for a host that other machines
   * reach.
   */
  async listen(options: ListenOptions): Promise<string> {
    const { host = DEFAULT_HOST, port, allowRemote = false } = options;
    refuseRemote(options);
    if (!allowRemote) refuseForeignHosts(this.app);
    try {
      return await this.app.listen({ host, port });
    } catch (cause) {
      throw portError(host, port, cause);
    }
  }

  /**
   * Stops: not ready at once, what is under way finishes, then the processes end. Requests that take
   * too long, or never arrive whole, are cut off.
   */
  async stop(): Promise<void> {
    this.#draining = true;
    this.#notify();
    // A connection that becomes idle after the end has begun would be kept open for a minute.
    const timer = setInterval(() => this.app.server.closeIdleConnections(), IDLE_CHECK_MS);
    const deadline = setTimeout(() => this.app.server.closeAllConnections(), this.#drainMs);
    await this.app.close();
    clearInterval(timer);
    clearTimeout(deadline);
    await Promise.all([...this.#hosts.values()].map((host) => host.stop()));
  }

  #named(name: string): ModelHost[] {
    return [...this.#hosts.values()].filter((host) => host.model.name === name);
  }

  #find(name: string, version: string | undefined): ModelHost | undefined {
    if (version !== undefined) return this.#hosts.get(`${name}/${version}`);
    return this.#named(name).toSorted((a, b) => b.model.version - a.model.version)[0];
  }

  #notify(): void {
    for (const listener of this.#listeners) listener();
  }
}

function buildApp(): FastifyInstance {
  const app = fastify({
    requestTimeout: REQUEST_TIMEOUT_MS,
    requestIdHeader: "x-request-id",
    genReqId: () => randomUUID(),
    routerOptions: { maxParamLength: 256 },
    // Connections that are idle must not hold up the end of the server.
    forceCloseConnections: "idle",
  });
  // Clients send JSON under many content types or none at all: the protocol's routes read text.
  app.removeAllContentTypeParsers();
  const bodies = new BodyReader();
  app.addContentTypeParser("*", (request: FastifyRequest, body: Readable) =>
    bodies.read(body, Number(request.headers["content-length"] ?? 0)),
  );
  app.addHook("onRequest", async (request, reply) => {
    reply.header("x-request-id", request.id.slice(0, 128));
    reply.header("x-content-type-options", "nosniff");
  });
  app.setNotFoundHandler(async (request, reply) => {
    await reply.code(404).send({ error: `there is nothing at ${request.url.slice(0, 256)}` });
  });
  app.setErrorHandler(answerError);
  return app;
}

async function answerError(
  error: unknown,
  _request: FastifyRequest,
  reply: FastifyReply,
): Promise<void> {
  if (error instanceof RequestError) {
    if (error.status === CLIENT_CLOSED) {
      reply.hijack();
      return;
    }
    // The rest of the body is not waited for.
    if (error.status === 413) reply.header("connection", "close");
    if (error.retryAfterSeconds !== undefined) reply.header("retry-after", error.retryAfterSeconds);
    await reply.code(error.status).send({ error: error.message });
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

/** A page of another site can make a browser talk to this port, but not under our own name. */
function refuseForeignHosts(app: FastifyInstance): void {
  app.addHook("onRequest", async (request) => {
    if (LOOPBACK.has(nameOf(request.headers.host)) && ownOrigin(request.headers)) return;
    const text = "requests from other sites are refused: use http://127.0.0.1 or http://localhost";
    throw new RequestError(403, "invalid", text);
  });
}

/** A request that changes or computes something for a page must come from our own page. */
function ownOrigin(headers: FastifyRequest["headers"]): boolean {
  const { origin, host } = headers;
  return origin === undefined || origin === `http://${host ?? ""}`;
}

function nameOf(host: string | undefined): string {
  return (host ?? "")
    .replace(/:\d+$/, "")
    .replace(/^\[(.*)\]$/, "$1")
    .toLowerCase();
}

/**
 * Whether a server could listen there now: asked before work that would be in vain.
 *
 * @throws SkipwayError as `listen` would.
 */
export async function checkAddress(options: ListenOptions): Promise<void> {
  refuseRemote(options);
  const { host = DEFAULT_HOST, port } = options;
  await new Promise<void>((resolve, reject) => {
    const probe = createServer();
    probe.once("error", (cause) => reject(portError(host, port, cause)));
    probe.listen({ host, port }, () => probe.close(() => resolve()));
  });
}

function refuseRemote({ host = DEFAULT_HOST, allowRemote = false }: ListenOptions): void {
  if (LOOPBACK.has(host) || allowRemote) return;
  throw SkipwayError.fromDiagnostics("usage", [
    diagnostic({
      id: "serve/remote-host",
      severity: "error",
      where: `--host ${host}`,
      text: "other machines could reach this address, and there are no tokens and no TLS yet",
      fix: "Leave --host out, or add --allow-remote if a proxy in front takes care of both.",
    }),
  ]);
}
