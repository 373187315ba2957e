// The server of Node below the application: limits of time and number, TLS, and answers to what never
// becomes a request.

import http from "node:http";
import https from "node:https";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { limits } from "../../base/limits.ts";
import { answerHalfClosed } from "./half-close.ts";
import { SECURITY_HEADERS } from "./headers.ts";
import type { Certificates } from "./tls.ts";

/** How long a client may take. Milliseconds. */
export interface HttpTimes {
  /** From the connection to the end of the headers. */
  readonly headersMs: number;
  /** From the connection to the end of the body. */
  readonly requestMs: number;
  /** How often the two are looked at. */
  readonly checkMs: number;
  /** A connection without a request. */
  readonly idleMs: number;
  /** An answer of which nothing is taken. */
  readonly stalledMs: number;
}

/** The largest body in a minute is a megabyte a second; a client that is slower holds memory for nothing. */
export const HTTP_TIMES: HttpTimes = {
  headersMs: 10_000,
  requestMs: 60_000,
  checkMs: 1000,
  // Longer than the minute that load balancers keep theirs: it is they who must end an idle connection.
  idleMs: 72_000,
  stalledMs: 60_000,
};

/** What is given each request. */
export type Listener = (request: http.IncomingMessage, response: http.ServerResponse) => void;

/** A server for an application's requests; over TLS where there are certificates. */
export function nodeServer(
  handle: Listener,
  times: HttpTimes,
  certificates?: Certificates,
): http.Server {
  const listener = limited(handle);
  const options: http.ServerOptions = {
    insecureHTTPParser: false,
    // Asked for where it can be answered in our words.
    requireHostHeader: false,
    maxHeaderSize: limits.headersBytesMax,
    headersTimeout: times.headersMs,
    requestTimeout: times.requestMs,
    keepAliveTimeout: times.idleMs,
    connectionsCheckingInterval: times.checkMs,
    noDelay: true,
  };
  const server =
    certificates === undefined
      ? http.createServer(options, listener)
      : https.createServer({ ...options, ...certificates.current() }, listener);
  if (certificates !== undefined && server instanceof https.Server) certificates.renew(server);
  // The parser drops what is above this number without a word; ours is checked where it can be answered.
  server.maxHeadersCount = 0;
  server.maxConnections = limits.httpConnectionsMax;
  server.on("checkContinue", listener);
  server.on("checkExpectation", (_request, response: http.ServerResponse) => {
    endWith(response, 417, "only the expectation 100-continue is known here");
  });
  server.on("connect", (_request, socket: Duplex) => {
    socket.on("error", () => socket.destroy());
    socket.end(bareAnswer(405, "this is no proxy"));
  });
  endStalled(server, times.stalledMs);
  if (certificates === undefined) answerHalfClosed(server);
  return server;
}

/** A connection may wait for so many answers at once. One that asks for more is ended after those. */
function limited(handle: Listener): Listener {
  const open = new WeakMap<Socket, number>();
  const ended = new WeakSet<Socket>();
  return (request, response) => {
    const { socket } = request;
    if (ended.has(socket)) return;
    const count = open.get(socket) ?? 0;
    if (count >= limits.pipelinedMax) {
      ended.add(socket);
      const text = `more than ${limits.pipelinedMax} requests of this connection wait for an answer`;
      endWith(response, 429, text);
      return;
    }
    open.set(socket, count + 1);
    response.once("close", () => open.set(socket, (open.get(socket) ?? 1) - 1));
    handle(request, response);
  };
}

/** A client that takes nothing of its answer holds it in memory; one that waits for an answer does not. */
function endStalled(server: http.Server, stalledMs: number): void {
  server.setTimeout(stalledMs, (socket: Socket) => {
    if (socket.writableLength > 0) socket.destroy();
  });
}

const CLIENT_ERRORS: ReadonlyMap<string, readonly [number, string]> = new Map([
  ["HPE_HEADER_OVERFLOW", [431, "the headers are too large"]],
  ["HPE_CHUNK_EXTENSIONS_OVERFLOW", [413, "the chunk extensions are too large"]],
  ["ERR_HTTP_REQUEST_TIMEOUT", [408, "the request took too long to arrive"]],
]);

const refused = new WeakSet<Socket>();

/** Answers what is no HTTP, after the requests of the connection that were right and wait for their answers. */
export function answerClientError(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === "ECONNRESET") socket.destroy();
  // What comes after it is no HTTP either.
  else if (!refused.has(socket)) {
    refused.add(socket);
    answerInTurn(error.code, socket);
  }
}

function answerInTurn(code: string | undefined, socket: Socket): void {
  const next = "_httpMessage" in socket ? socket._httpMessage : undefined;
  const response = next instanceof http.ServerResponse ? next : undefined;
  if (response?.req.complete === true && !response.closed) {
    // Asked for in a right way: closed, the next in line stands in its place.
    response.once("close", () => answerInTurn(code, socket));
    return;
  }
  // In the middle of an answer another would be taken for a part of it.
  if (response?.headersSent === true) socket.destroy();
  else if (socket.writable) {
    const [status, text] = CLIENT_ERRORS.get(code ?? "") ?? [400, "this is no valid HTTP"];
    socket.end(bareAnswer(status, text));
  }
  // What else it sends is not waited for.
  socket.destroySoon();
}

const JSON_HEADERS = { "content-type": "application/json; charset=utf-8", ...SECURITY_HEADERS };

function endWith(response: http.ServerResponse, status: number, text: string): void {
  const body = errorBody(text);
  const headers = { ...JSON_HEADERS, connection: "close", "content-length": body.length };
  response.writeHead(status, headers).end(body);
}

function bareAnswer(status: number, text: string): string {
  const body = errorBody(text);
  const headers = { ...JSON_HEADERS, connection: "close", "content-length": body.length };
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  return `HTTP/1.1 ${status} ${http.STATUS_CODES[status]}\r\n${lines.join("")}\r\n${body}`;
}

function errorBody(text: string): string {
  return JSON.stringify({ error: text });
}
