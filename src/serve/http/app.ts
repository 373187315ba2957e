// The HTTP application: what holds for every request, whatever its route. Limits of time, ids, the text of
// errors, and who may talk to a server that has no tokens.

import { randomUUID } from "node:crypto";
import type { Readable } from "node:stream";
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from "fastify";
import { CLIENT_CLOSED, RequestError } from "../errors.ts";
import { BodyReader } from "./body.ts";
import { LOOPBACK } from "./listen.ts";

/** The largest body in a minute is a megabyte a second; a client that is slower holds memory for nothing. */
const REQUEST_TIMEOUT_MS = 60_000;

/** The application with its limits, its error answers and no routes yet. */
export function buildApp(): FastifyInstance {
  const app = fastify({
    requestTimeout: REQUEST_TIMEOUT_MS,
    requestIdHeader: "x-request-id",
    genReqId: () => randomUUID(),
    routerOptions: { maxParamLength: 256 },
    // Addresses that the router cannot read: answered like every other error.
    frameworkErrors: (error, request, reply) => void answerError(error, request, reply),
    // Connections that are idle must not hold up the end of the server.
    forceCloseConnections: "idle",
  });
  // Clients send JSON under many content types or none at all: the protocol's routes read text.
  app.removeAllContentTypeParsers();
  const bodies = new BodyReader();
  app.addContentTypeParser("*", (request: FastifyRequest, body: Readable) =>
    bodies.read(body, request.headers),
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
export function refuseForeignHosts(app: FastifyInstance): void {
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
