// The gRPC server: receives calls with @grpc/grpc-js, bounds what a client may send, and hands bytes to the methods.
// The library is loaded when a server starts, so that others do not pay for it.

import { createServer, type Server as NetServer, type Socket } from "node:net";
import { createServer as createTlsServer, type TlsOptions } from "node:tls";
import type {
  Server,
  ServerDuplexStream,
  ServerUnaryCall,
  ServerWritableStream,
  sendUnaryData,
} from "@grpc/grpc-js";
import { type Clock, systemClock } from "../../base/clock.ts";
import { limits } from "../../base/limits.ts";
import { readNamed } from "../../wire/grpc-messages.ts";
import { portError, RequestError } from "../errors.ts";
import { HeldBytes } from "../held-bytes.ts";
import { BodyReader } from "../http/body.ts";
import { DEFAULT_HOST } from "../http/listen.ts";
import type { OipSource } from "../http/oip-source.ts";
import type { RequestWatch } from "../tracing.ts";
import { CallContext, type ReceivedCall, type UnaryMethod } from "./call.ts";
import { type Authorize, failure, type Grpc, guard } from "./guard.ts";
import { HEALTH_SERVICE, Health } from "./health.ts";
import { Inbound } from "./inbound.ts";
import { STREAM_PATH, unaryMethods } from "./methods.ts";
import { observedCall } from "./observed.ts";
import { statusOf } from "./status.ts";
import { InferStream } from "./stream.ts";

/** What gRPC needs of the server. */
export interface GrpcSource extends OipSource {
  /** Calls back whenever the state of a model changes; gives a function that ends it. */
  onState(listener: () => void): () => void;
}

/** How a gRPC server is set up. */
export interface GrpcServerOptions {
  /** Default 127.0.0.1. Whether other machines may be let in is decided by who starts the server. */
  readonly host?: string;
  /** 0 chooses a free one. */
  readonly port: number;
  /** Without them connections are plain. */
  readonly tls?: GrpcCertificates | undefined;
  /**
   * Asked before the message of a call is read; throws RequestError 401 or 403 for a call that may not be
   * made.
   */
  readonly authorize?: Authorize;
  /**
   * Messages that are being unfolded are counted here. As much may all connections hold together of messages that
   * are not answered yet.
   */
  readonly held?: HeldBytes;
  readonly clock?: Clock;
}

/** Certificates that may be renewed while the server runs. */
export interface GrpcCertificates {
  current(): TlsOptions;
  onRenewed(listener: (context: TlsOptions) => void): void;
}

/** A server that listens. */
export interface GrpcServer {
  readonly port: number;
  /**
   * Stops: not serving at once, no new calls, what is under way finishes, and after `graceMs` the rest
   * is cut off.
   */
  stop(graceMs: number): Promise<void>;
}

/**
 * Starts to listen.
 *
 * @throws SkipwayError `environment` when the port is in use.
 */
export async function startGrpc(
  source: GrpcSource,
  options: GrpcServerOptions,
): Promise<GrpcServer> {
  const grpc = await import("@grpc/grpc-js");
  const running = new RunningServer(grpc, source, options);
  await running.listen();
  return running;
}

/** How often it is looked at what connections hold: a fast one sends 100 MB meanwhile. */
const RELIEF_MS = 100;

class RunningServer implements GrpcServer {
  readonly #grpc: Grpc;
  readonly #source: GrpcSource;
  readonly #clock: Clock;
  readonly #options: GrpcServerOptions;
  readonly #server: Server;
  readonly #health: Health;
  readonly #streams = new Set<InferStream>();
  readonly #sockets = new Set<Socket>();
  readonly #inbound: Inbound;
  readonly #relief: NodeJS.Timeout;
  readonly #listener: NetServer;
  readonly #unsubscribe: () => void;

  constructor(grpc: Grpc, source: GrpcSource, options: GrpcServerOptions) {
    this.#grpc = grpc;
    this.#source = source;
    this.#clock = options.clock ?? systemClock;
    this.#options = options;
    const held = options.held ?? new HeldBytes();
    this.#inbound = new Inbound(held.maxBytes);
    this.#health = new Health(() => source.ready());
    this.#unsubscribe = source.onState(() => this.#health.refresh());
    this.#server = new grpc.Server({
      ...SERVER_OPTIONS,
      "grpc.max_receive_message_length": held.bodyMax,
      interceptors: [
        guard(grpc, {
          authorize: options.authorize,
          secure: options.tls !== undefined,
          inbound: this.#inbound,
          bodies: new BodyReader(held),
          observer: source.observer,
          clock: this.#clock,
        }),
      ],
    });
    this.#addMethods();
    const plain = grpc.ServerCredentials.createInsecure();
    const injector = this.#server.createConnectionInjector(plain);
    this.#listener = listenerFor(options.tls, (socket) => injector.injectConnection(socket));
    this.#listener.maxConnections = limits.grpcConnectionsMax;
    this.#listener.on("connection", (socket: Socket) => {
      const peer = `${socket.remoteAddress}:${socket.remotePort}`;
      this.#sockets.add(socket);
      this.#inbound.add(peer, socket);
      socket.once("close", () => {
        this.#sockets.delete(socket);
        this.#inbound.remove(peer);
      });
      // What goes wrong with a connection ends it, and nothing else.
      socket.on("error", () => socket.destroy());
    });
    this.#relief = setInterval(() => this.#inbound.relieve(), RELIEF_MS).unref();
  }

  get port(): number {
    const address = this.#listener.address();
    return typeof address === "object" && address !== null ? address.port : 0;
  }

  async listen(): Promise<void> {
    const { host = DEFAULT_HOST, port } = this.#options;
    await new Promise<void>((resolve, reject) => {
      this.#listener.once("error", (cause) => reject(portError(host, port, cause, "--grpc-port")));
      this.#listener.listen({ host, port }, resolve);
    });
  }

  async stop(graceMs: number): Promise<void> {
    this.#unsubscribe();
    clearInterval(this.#relief);
    this.#health.stop();
    const text = "the server is shutting down";
    const stopping = new RequestError(503, "not-ready", text, { retryAfterSeconds: 1 });
    for (const stream of this.#streams) stream.end(failure(this.#grpc, statusOf(stopping)));
    const closed = new Promise<void>((resolve) => this.#listener.close(() => resolve()));
    const timer = setTimeout(() => {
      this.#server.forceShutdown();
      for (const socket of this.#sockets) socket.destroy();
    }, graceMs);
    await new Promise<void>((resolve) => this.#server.tryShutdown(() => resolve()));
    // Connections that never said anything are no sessions yet.
    for (const socket of this.#sockets) socket.destroySoon();
    await closed;
    clearTimeout(timer);
  }

  #addMethods(): void {
    for (const [path, method] of unaryMethods(this.#source)) this.#addUnary(path, method);
    this.#addUnary(`/${HEALTH_SERVICE}/Check`, ({ message }) =>
      this.#health.check(readNamed(message).name),
    );
    this.#server.register(
      `/${HEALTH_SERVICE}/Watch`,
      (call: ServerWritableStream<Buffer, Buffer>) => this.#watch(call),
      asIs,
      asIs,
      "serverStream",
    );
    this.#server.register(
      STREAM_PATH,
      (call: ServerDuplexStream<Buffer, Buffer>) => {
        const stream = new InferStream(this.#source, call, this.#contextOf(call));
        this.#streams.add(stream);
        call.once("close", () => this.#streams.delete(stream));
      },
      asIs,
      asIs,
      "bidi",
    );
  }

  #addUnary(path: string, method: UnaryMethod): void {
    const handle = async (
      call: ServerUnaryCall<Buffer, Buffer>,
      answer: sendUnaryData<Buffer>,
    ): Promise<void> => {
      const observed = observedCall(call.metadata);
      const context = this.#contextOf(call, observed?.watch);
      try {
        answer(null, await method(Object.assign(context, { message: call.request })));
      } catch (error) {
        observed?.failed(error, context.signal);
        answer(failure(this.#grpc, statusOf(error)));
      }
    };
    this.#server.register(path, handle, asIs, asIs, "unary");
  }

  #watch(call: ServerWritableStream<Buffer, Buffer>): void {
    const watcher = {
      write: (message: Buffer): void => void call.write(message),
      end: (): void => void call.end(),
    };
    try {
      this.#health.watch(readNamed(call.request).name, watcher);
    } catch (error) {
      call.emit("error", failure(this.#grpc, statusOf(error)));
    }
    call.once("close", () => this.#health.unwatch(watcher));
    call.once("cancelled", () => this.#health.unwatch(watcher));
  }

  #contextOf(call: ReceivedCall, watch?: RequestWatch): CallContext {
    return new CallContext(call, this.#clock, watch);
  }
}

/**
 * What a client may do to a connection. A message has the bound of a body over HTTP. Pings find clients that are gone
 * without a word; flood of pings, settings and resets end the connection (nghttp2's own bounds).
 */
const SERVER_OPTIONS = {
  "grpc.max_send_message_length": -1,
  "grpc.max_concurrent_streams": limits.grpcStreamsMax,
  "grpc.keepalive_time_ms": 60_000,
  "grpc.keepalive_timeout_ms": 20_000,
  "grpc.enable_channelz": 0,
};

/**
 * The server below: TLS ends here, so that certificates are renewed as those of HTTP are.
 */
function listenerFor(tls: GrpcCertificates | undefined, take: (socket: Socket) => void): NetServer {
  if (tls === undefined) return createServer({ noDelay: true }, take);
  const options = { noDelay: true, ALPNProtocols: ["h2"], minVersion: "TLSv1.2" } as const;
  const server = createTlsServer({ ...options, ...tls.current() }, take);
  tls.onRenewed((context) => server.setSecureContext(context));
  return server;
}

/** Messages pass as bytes: the methods read and write them. */
function asIs(message: Buffer): Buffer {
  return message;
}
