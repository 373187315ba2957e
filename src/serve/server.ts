// The server: one HTTP port for the protocol, the metrics, the control and whatever else is registered on the
// same app; behind it the fleet, one process for each version.

import { randomInt } from "node:crypto";
import type { FastifyInstance } from "fastify";
import { type Clock, systemClock } from "../base/clock.ts";
import { SkipwayError } from "../base/errors.ts";
import { OtlpExporter } from "../observe/otlp-exporter.ts";
import type { TraceSettings } from "../observe/otlp-options.ts";
import { ProcessWatch } from "../observe/process-metrics.ts";
import type { Sampling } from "../observe/trace.ts";
import { type ChildRunner, childProcessRunner } from "../runtime/child-process.ts";
import type { Budget } from "./admission/budget.ts";
import { Guard, type GuardStore } from "./auth/guard.ts";
import { registerLogin } from "./auth/login.ts";
import { Batcher } from "./batcher/batcher.ts";
import { portError, RequestError, requestErrorOf } from "./errors.ts";
import type { Repository } from "./extensions.ts";
import { Fleet } from "./fleet.ts";
import type { FleetParts } from "./fleet-parts.ts";
import { withoutFolders } from "./folders.ts";
import { type GrpcServer, type GrpcSource, startGrpc } from "./grpc/server.ts";
import { HeldBytes } from "./held-bytes.ts";
import { HOST_DEFAULTS, type HostSettings, type ModelStats, type ServedModel } from "./hosting.ts";
import { buildApp } from "./http/app.ts";
import { arrived, closeApp } from "./http/closing.ts";
import { registerControl } from "./http/control-routes.ts";
import type { EarlyServer } from "./http/early.ts";
import { DEFAULT_HOST, type ListenOptions, reachOf } from "./http/listen.ts";
import { registerMetrics } from "./http/metrics-route.ts";
import type { HttpTimes } from "./http/node-server.ts";
import { registerOip } from "./http/oip-routes.ts";
import type { Certificates } from "./http/tls.ts";
import { MemoryKeeper } from "./memory-keeper.ts";
import type { BudgetReadings, WebhookReadings } from "./metric-readings.ts";
import { ServerMetrics } from "./metrics.ts";
import type { Outcomes } from "./outcomes.ts";
import type { LogMode } from "./request-log.ts";
import { GivenModels, type ModelSource } from "./sources.ts";
import { RequestObserver } from "./tracing.ts";
import { VersionHost } from "./version-host.ts";
import { proportionalBytes, readingsOf } from "./version-readings.ts";

/** How a server is set up. */
export interface ServerOptions {
  /** Version of skipway, for the server's metadata. */
  readonly version: string;
  /** Where models come from; without one, those that `serve` is given. */
  readonly source?: ModelSource;
  readonly runner?: ChildRunner;
  readonly clock?: Clock;
  readonly settings?: Partial<HostSettings>;
  /** What the server and all its processes may hold together. Without it memory is not admitted. */
  readonly memory?: Budget;
  /** How long requests under way may take once the server, or their version, stops. Default 8 seconds. */
  readonly drainMs?: number;
  /** Tokens and the audit log. Without them nobody can be let in from other machines. */
  readonly access?: GuardStore;
  readonly certificates?: Certificates;
  /** Listens already: `listen` only takes it over. Whoever made it ends it, should `listen` not be reached. */
  readonly early?: EarlyServer;
  readonly times?: Partial<HttpTimes>;
  /** Where traces go and which are kept. Default: nowhere. */
  readonly traces?: TraceSettings;
  /** Which requests are logged, and where to. Default: none. */
  readonly log?: { readonly mode: LogMode; readonly write: (line: string) => void };
  /** Told what an operator ought to know, a line each: a process that was replaced, a version that does not load. */
  readonly notice?: (line: string) => void;
}

const DRAIN_MS = 8000;
/** How long the last traces may take to a collector. */
const TRACES_MS = 1000;
/** Without a collector, ids are made all the same: for the log and for whoever asks us on. */
const UNTRACED: Sampling = { ratio: 0, slowMs: Number.POSITIVE_INFINITY, tailPerSecond: 0 };

/** Serves models until it is stopped. */
export class ModelServer {
  /** The HTTP application; routes may be added before `listen`. */
  readonly app: FastifyInstance;
  /** Who may come in; gRPC asks it too. */
  readonly guard: Guard;
  readonly #certificates: Certificates | undefined;
  readonly fleet: Fleet;
  readonly #process: ProcessWatch;
  readonly #metrics: ServerMetrics;
  readonly #keeper: MemoryKeeper | undefined;
  readonly #held: HeldBytes;
  readonly #exporter: OtlpExporter | undefined;
  readonly #given: GivenModels = new GivenModels();
  readonly #drainMs: number;
  readonly #source: GrpcSource;
  #grpc: GrpcServer | undefined;
  readonly #listeners = new Set<() => void>();
  #poll: NodeJS.Timeout | undefined;
  #draining = false;

  constructor(options: ServerOptions) {
    this.#drainMs = options.drainMs ?? DRAIN_MS;
    const { clock = systemClock, source = this.#given, traces } = options;
    this.#process = new ProcessWatch(clock);
    this.#metrics = new ServerMetrics(clock, this.#process);
    const keeper = options.memory && new MemoryKeeper(clock, options.memory);
    this.#keeper = keeper;
    this.#held = new HeldBytes(options.memory?.bodiesBytesMax);
    if (keeper !== undefined) this.#metrics.watchBudget(() => keeper.readings());
    this.fleet = fleetOf(options, {
      source,
      metrics: this.#metrics,
      drainMs: this.#drainMs,
      keeper,
      held: this.#held,
    });
    let proportional: ReadonlyMap<number, number> = new Map();
    this.#metrics.watch(
      () =>
        this.fleet.hosts().map((host) => ({
          key: this.fleet.keyOf(host),
          readings: readingsOf(host, proportional),
        })),
      async () => {
        proportional = await proportionalBytes(this.fleet.hosts());
      },
    );
    this.#exporter = traces?.otlp && new OtlpExporter(traces.otlp);
    const observer = this.#observer(options);
    this.fleet.onState(() => this.#notify());
    this.guard = new Guard(options.access);
    this.#certificates = options.certificates;
    this.app = buildApp({
      ...options,
      held: this.#held,
      guard: this.guard,
      observer,
    });
    // So that clients move on before the connections are closed under them (RFC 9112, 9.6).
    this.app.addHook("onRequest", (_request, reply, done) => {
      if (this.#draining) reply.header("connection", "close");
      done();
    });
    registerLogin(this.app, this.guard);
    this.#source = {
      version: options.version,
      find: (name, version) => this.fleet.find(name, version),
      awaits: (name) => this.fleet.awaits(name),
      versionsOf: (name) => this.fleet.versionsOf(name),
      all: () => this.fleet.hosts(),
      ready: () => this.ready(),
      repository: repositoryOf(this.fleet),
      onState: (listener) => this.onState(listener),
      observer,
    };
    registerOip(this.app, this.#source);
    registerControl(this.app, this.fleet);
    registerMetrics(this.app, this.#metrics);
  }

  /**
   * Loads a version and serves it.
   *
   * @throws SkipwayError when it does not load, or does not answer as recorded.
   */
  async serve(model: ServedModel): Promise<VersionHost> {
    this.#given.add(model);
    return this.fleet.add(model);
  }

  /** Loads what the source has, and looks again and again for what changed. Milliseconds; 0 looks once. */
  async follow(everyMs: number): Promise<void> {
    await this.fleet.sync();
    if (everyMs === 0 || this.#draining) return;
    const again = (): void => {
      this.#poll = setTimeout(() => {
        // A store that cannot be read now may be read later; what is served goes on.
        this.fleet
          .sync()
          .catch(() => undefined)
          .finally(() => {
            if (!this.#draining) again();
          });
      }, everyMs).unref();
    };
    again();
  }

  /** Calls back whenever the state of a model changes; gives a function that ends it. */
  onState(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** What becomes of requests, batches, copies and probes, as it happens. */
  get outcomes(): Outcomes {
    return this.fleet.outcomes;
  }

  /** What each model has done and does. */
  stats(): readonly ModelStats[] {
    return this.fleet.stats();
  }

  /** Share of the last seconds in which a version computed, 0 to 1. */
  saturationOf(host: VersionHost): number {
    return this.#metrics.version(this.fleet.keyOf(host)).saturation;
  }

  /** What all processes together may hold and hold; undefined where no budget is kept. */
  budget(): BudgetReadings | undefined {
    return this.#metrics.budget();
  }

  /** Has `/metrics` tell how the receivers of events do. Once. */
  watchWebhooks(readings: () => readonly WebhookReadings[]): void {
    this.#metrics.watchWebhooks(readings);
  }

  /** Whether it is about to end. */
  get draining(): boolean {
    return this.#draining;
  }

  /** Whether every model answers. */
  ready(): boolean {
    return !this.#draining && this.fleet.ready();
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
   * Stops: not ready at once; for the grace, whoever has not seen that yet is still answered; then what is
   * under way finishes, and the processes end. Requests that take too long, or never arrive whole, are cut off.
   *
   * @param graceMs how long requests are still taken.
   */
  async stop(graceMs = 0): Promise<void> {
    this.#draining = true;
    clearTimeout(this.#poll);
    this.#notify();
    if (graceMs > 0) await new Promise((resolve) => setTimeout(resolve, graceMs));
    await arrived(this.app.server);
    await Promise.all([closeApp(this.app, this.#drainMs), this.#grpc?.stop(this.#drainMs)]);
    await this.fleet.stop();
    this.#keeper?.close();
    await this.#exporter?.close(TRACES_MS);
    this.#process.close();
  }

  /** Behind the same guard, with the same certificates. */
  async #listenGrpc(host: string, port: number): Promise<void> {
    this.#grpc = await startGrpc(this.#source, {
      host,
      port,
      tls: this.#certificates,
      held: this.#held,
      authorize: (method, { header, ...call }) =>
        this.guard.admitCall(method, { authorization: header("authorization"), ...call }),
    });
  }

  /** Each request to a model is observed, whatever becomes of it. */
  #observer({ traces, log, clock = systemClock }: ServerOptions): RequestObserver {
    this.#metrics.watchTraces(this.#exporter);
    return new RequestObserver({
      metrics: this.#metrics,
      resolve: (name, version) => {
        const found = this.fleet.find(name, version);
        return found && this.fleet.keyOf(found);
      },
      sampling: traces?.sampling ?? UNTRACED,
      exporter: this.#exporter,
      log,
      clock,
    });
  }

  #notify(): void {
    for (const listener of this.#listeners) listener();
  }
}

function fleetOf(
  options: ServerOptions,
  parts: Pick<FleetParts, "source" | "metrics" | "drainMs"> & {
    readonly keeper: MemoryKeeper | undefined;
    readonly held: HeldBytes;
  },
): Fleet {
  const { clock = systemClock, runner = childProcessRunner() } = options;
  const settings: HostSettings = { ...HOST_DEFAULTS, ...options.settings };
  const { keeper, held } = parts;
  return new Fleet({
    ...parts,
    clock,
    notice: options.notice,
    // Who can tell what comes next could choose the version that answers.
    uniform: () => randomInt(2 ** 47) / 2 ** 47,
    host: (model, around) =>
      new VersionHost(model, {
        ...around,
        runner,
        clock,
        settings,
        decider: batcherFor,
        held,
        ...(keeper && { memory: (served, host) => keeper.account(served, host) }),
      }),
  });
}

function batcherFor({ maxBatchRows, maxQueueDelayMs, queue }: HostSettings): Batcher {
  return new Batcher({
    maxBatchRows,
    maxQueueDelayMs,
    queueRequestsMax: queue.requests,
    queueRowsMax: queue.rows,
    queueBytesMax: queue.bytes,
  });
}

/** The repository extension over a fleet: what does not load is the request's answer. */
function repositoryOf(fleet: Fleet): Repository {
  return {
    index: () => fleet.index(),
    load: async (name) => {
      try {
        await fleet.load(name);
      } catch (error) {
        const { status, reason, message } = requestErrorOf(error);
        const told = withoutFolders(message);
        if (status < 500) throw new RequestError(status, reason, told, { cause: error });
        const text = `model "${name.slice(0, 128)}" does not load: ${told}`;
        throw new RequestError(400, "invalid", text, { cause: error });
      }
    },
    unload: (name) => fleet.unload(name),
  };
}
