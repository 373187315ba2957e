// The body of a request of the protocol: bytes, read as JSON where they are JSON. Clients send it under many
// content types or none at all, so the type is not asked.

import { isUtf8 } from "node:buffer";
import type { FastifyRequest } from "fastify";
import { parseJson } from "../../wire/json-outline.ts";
import { RequestError } from "../errors.ts";

/** The bytes of a body; none if there is no body. */
export function bytesOfBody(request: FastifyRequest): Buffer {
  return Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0);
}

/**
 * The JSON document of a small body, `{}` where there is none.
 *
 * @throws RequestError 400 for what is no JSON.
 */
export function documentOf(request: FastifyRequest): unknown {
  const bytes = bytesOfBody(request);
  if (bytes.byteLength === 0) return {};
  if (!isUtf8(bytes)) throw new RequestError(400, "invalid", "the body is no UTF-8 text");
  const json = parseJson(bytes);
  if ("fault" in json) {
    throw new RequestError(400, "invalid", `the body is no JSON: ${json.fault}`);
  }
  return json.value;
}
