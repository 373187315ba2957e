// Checks of the protocol over REST: plain HTTP without a client library between, so that headers, methods and
// bodies are what the check says.

import { request as httpRequest, type IncomingHttpHeaders } from "node:http";
import type { Check } from "./harness.ts";

/** What is sent. A body that is no text and no bytes is sent as JSON; a list of bytes as chunks. */
export interface RestRequest {
  /** GET without a body, POST with one. */
  readonly method?: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
}

/** What comes back. */
export interface RestAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly bytes: Buffer;
  /** The body as JSON; undefined where it is none. */
  readonly json: unknown;
}

/** What must come back. Errors must have a body of `{"error": string}` and nothing else, whatever is said here. */
export interface RestExpectation {
  readonly status: number;
  /** A part of the document. */
  readonly json?: unknown;
  readonly error?: RegExp;
  readonly headers?: Readonly<Record<string, string | RegExp>>;
  readonly also?: (answer: RestAnswer) => void;
}

/** A check over REST. */
export type RestCheck = Check<RestRequest, RestExpectation>;

/** Sends a request as it is. */
export function send(at: string, request: RestRequest): Promise<RestAnswer> {
  const { method = request.body === undefined ? "GET" : "POST", path, headers = {} } = request;
  const chunks = chunksOf(request.body);
  return new Promise((resolve, reject) => {
    const { hostname, port } = new URL(at);
    // The path is not put through URL: it would normalise what is to be sent as it is.
    const sent = httpRequest(
      { hostname, port, method, path, headers, agent: false },
      (response) => {
        const parts: Buffer[] = [];
        response.on("data", (part: Buffer) => parts.push(part));
        response.on("error", reject);
        response.on("end", () => {
          const bytes = Buffer.concat(parts);
          const { statusCode: status = 0, headers: found } = response;
          resolve({ status, headers: found, bytes, json: jsonOf(bytes) });
        });
      },
    );
    sent.on("error", reject);
    const [only] = chunks;
    if (chunks.length === 1 && only !== undefined)
      sent.setHeader("content-length", only.byteLength);
    for (const chunk of chunks) sent.write(chunk);
    sent.end();
  });
}

function chunksOf(body: unknown): readonly Uint8Array[] {
  if (body === undefined) return [];
  if (typeof body === "string") return [Buffer.from(body)];
  if (body instanceof Uint8Array) return [body];
  if (Array.isArray(body) && body.every((one) => one instanceof Uint8Array)) return body;
  return [Buffer.from(JSON.stringify(body))];
}

function jsonOf(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString("utf8"));
  } catch {
    return undefined;
  }
}
