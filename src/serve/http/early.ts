// A server that says that it is live while the rest of it is still being loaded: most of the time of a start goes into
// compiling what answers everything else. Other requests wait for that, on the same connections.

import { randomUUID } from "node:crypto";
import type http from "node:http";
import { decide } from "../auth/decide.ts";
import { portError } from "../errors.ts";
import { SECURITY_HEADERS } from "./headers.ts";
import { HTTP_TIMES, type Listener, nodeServer } from "./node-server.ts";
import { httpFault } from "./strict.ts";

/** The address that is answered before everything else. */
const LIVE = "/v2/health/live";
const LIVE_BODY = JSON.stringify({ live: true });
/** Who sends one of these is answered by the application, which knows what they mean. */
const FOR_THE_APP = ["authorization", "cookie", "expect", "x-request-id", "content-length"];

/** Listens on a loopback address; later an application takes its place. */
export class EarlyServer implements AsyncDisposable {
  readonly #server: http.Server;
  readonly #waiting: Parameters<Listener>[] = [];
  #handle: Listener | undefined;

  private constructor() {
    this.#server = nodeServer((request, response) => this.#take(request, response), HTTP_TIMES);
  }

  /**
   * Starts to listen on a loopback address, where no token is asked for.
   *
   * @throws SkipwayError `environment` where that cannot be listened on.
   */
  static async listen({ host, port }: { host: string; port: number }): Promise<EarlyServer> {
    const early = new EarlyServer();
    await new Promise<void>((resolve, reject) => {
      early.#server.once("error", (cause) => reject(portError(host, port, cause)));
      early.#server.listen({ host, port }, resolve);
    });
    early.#server.removeAllListeners("error");
    return early;
  }

  get port(): number {
    const address = this.#server.address();
    return typeof address === "object" && address !== null ? address.port : 0;
  }

  /** The server for an application, which gets the requests as soon as it starts to listen. */
  attach(handle: Listener): http.Server {
    const server = this.#server;
    const listen = (): http.Server => {
      process.nextTick(() => {
        this.#handle = handle;
        for (const [request, response] of this.#waiting.splice(0)) {
          // Who has gone meanwhile waits for nothing.
          if (!response.destroyed && !request.destroyed) handle(request, response);
        }
        server.emit("listening");
      });
      return server;
    };
    // It listens already, and whoever takes it over shall learn of it as of any other server.
    return Object.assign(server, { listen });
  }

  /** Ends it, unless the application has done so. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#server.listening) return;
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeAllConnections();
    await closed;
  }

  #take(request: http.IncomingMessage, response: http.ServerResponse): void {
    if (this.#handle !== undefined) this.#handle(request, response);
    else if (asksWhetherLive(request)) answerLive(response);
    else this.#waiting.push([request, response]);
  }
}

/** Whether a request is so plain that the application would say only that it lives. */
function asksWhetherLive(request: http.IncomingMessage): boolean {
  const { method, url, headers, socket } = request;
  if (method !== "GET" || url !== LIVE || httpFault(request) !== undefined) return false;
  if (FOR_THE_APP.some((name) => name in headers) || "transfer-encoding" in headers) return false;
  const text = (name: string): string | undefined => headers[name]?.toString();
  const decision = decide("loopback", {
    role: "health",
    safe: true,
    secure: false,
    peer: socket.remoteAddress ?? "",
    credentials: undefined,
    site: {
      host: headers.host,
      origin: headers.origin,
      fetchSite: text("sec-fetch-site"),
      fetchMode: text("sec-fetch-mode"),
      fetchDest: text("sec-fetch-dest"),
    },
  });
  return "actor" in decision;
}

function answerLive(response: http.ServerResponse): void {
  response.writeHead(200, {
    ...SECURITY_HEADERS,
    "x-request-id": randomUUID(),
    "content-type": "application/json; charset=utf-8",
    "content-length": Buffer.byteLength(LIVE_BODY),
  });
  response.end(LIVE_BODY);
}
