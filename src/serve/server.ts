// The server: one HTTP port for the protocol, the metrics and whatever else is registered on the same
// app; one process for each model behind it.

import type { FastifyInstance } from "fastify";
import { SkipwayError } from "../base/errors.ts";
import { CONTENT_TYPES, expose, formatFor } from "../observe/exposition.ts";
import { type ChildRunner, childProcessRunner } from "../runtime/child-process.ts";
import { Guard, type GuardStore } from "./auth/guard.ts";
import { registerLogin } from "./auth/login.ts";
import { portError } from "./errors.ts";
import { type GrpcServer, type GrpcSource, startGrpc } from "./grpc/server.ts";
import { buildApp } from "./http/app.ts";
import { endpoint } from "./http/endpoint.ts";
import { DEFAULT_HOST, type ListenOptions, reachOf } from "./http/listen.ts";
import type { HttpTimes } from "./http/node-server.ts";
import { registerOip } from "./http/oip-routes.ts";
import type { Certificates } from "./http/tls.ts";
import { serverMetrics } from "./metrics.ts";
import { ModelHost, type ModelStats, type ServedModel } from "./model-host.ts";

/** How a server is set up. */
export interface ServerOptions {
  /** Version of skipway, for the server's metadata. */
  readonly version: string;
  readonly runner?: ChildRunner;
  /** How long requests under way may take once the server stops. Default 8 seconds. */
  readonly drainMs?: number;
  /** Tokens and the audit log. Without them nobody can be let in from other machines. */
  readonly access?: GuardStore;
  readonly certificates?: Certificates;
  readonly times?: Partial<HttpTimes>;
}

const IDLE_CHECK_MS = 50;
/** Docker kills ten seconds after it asks a container to stop (its manual, "docker stop"). */
const DRAIN_MS = 8000;

/** Serves models until it is stopped. */
export class ModelServer {
  /** The HTTP application; routes may be added before `listen`. */
  readonly app: FastifyInstance;
  /** Who may come in; gRPC asks it too. */
  readonly guard: Guard;
  readonly #certificates: Certificates | undefined;
  readonly #hosts = new Map<string, ModelHost>();
  readonly #runner: ChildRunner;
  readonly #drainMs: number;
  readonly #source: GrpcSource;
  #grpc: GrpcServer | undefined;
  readonly #listeners = new Set<() => void>();
  #draining = false;

  constructor(options: ServerOptions) {
    this.#runner = options.runner ?? childProcessRunner();
    this.#drainMs = options.drainMs ?? DRAIN_MS;
    this.guard = new Guard(options.access);
    this.#certificates = options.certificates;
    this.app = buildApp({ ...options, guard: this.guard });
    registerLogin(this.app, this.guard);
    this.#source = {
      version: options.version,
      find: (name, version) => this.#find(name, version),
      versionsOf: (name) =>
        this.#named(name)
          .map((host) => host.version)
          .toSorted((a, b) => a - b),
      all: () => [...this.#hosts.values()],
      ready: () => this.ready(),
      onState: (listener) => this.onState(listener),
    };
    registerOip(this.app, this.#source);
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
   * Starts to listen; returns the address. With a `grpcPort` (0 chooses a free one) over gRPC too.
   *
   * @throws SkipwayError `environment` when the port is in use, `usage` for a host that other machines
   * reach.
   */
  async listen(options: ListenOptions & { readonly grpcPort?: number }): Promise<string> {
    const { host = DEFAULT_HOST, port, grpcPort } = options;
    const admin = await this.guard.hasAdmin();
    const tls = this.#certificates !== undefined;
    this.guard.open(reachOf(options, { tls, admin }));
    try {
      const address = await this.app.listen({ host, port });
      // Second: its library takes a while to load.
      if (grpcPort !== undefined) await this.#listenGrpc(host, grpcPort);
      return tls ? address.replace(/^http:/, "https:") : address;
    } catch (cause) {
      throw cause instanceof SkipwayError ? cause : portError(host, port, cause);
    }
  }

  /** Where gRPC listens. */
  get grpcPort(): number | undefined {
    return this.#grpc?.port;
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
    await Promise.all([this.app.close(), this.#grpc?.stop(this.#drainMs)]);
    clearInterval(timer);
    clearTimeout(deadline);
    await Promise.all([...this.#hosts.values()].map((host) => host.stop()));
  }

  async #listenGrpc(host: string, port: number): Promise<void> {
    this.#grpc = await startGrpc(this.#source, {
      host,
      port,
      tls: this.#certificates,
      authorize: (method, { header, peer, secure }) =>
        this.guard.admitCall(method, { authorization: header("authorization"), peer, secure }),
    });
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
