// How a refusal is answered over gRPC: one place maps what went wrong to a status code, and says whether and when a
// client should try again.

import { MalformedMessage } from "../../wire/grpc-reader.ts";
import { RequestError } from "../errors.ts";

/** The codes that we answer with ("Status codes and their use in gRPC", gRPC documentation). */
export const CODE = {
  CANCELLED: 1,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  UNAUTHENTICATED: 16,
} as const;

/** A status of gRPC. */
export interface GrpcStatus {
  readonly code: number;
  readonly details: string;
  /** Milliseconds after which the client may try again; -1 where that is in vain, undefined where nothing is known. */
  readonly pushbackMs: number | undefined;
}

const CODES: Readonly<Record<number, number>> = {
  401: CODE.UNAUTHENTICATED,
  403: CODE.PERMISSION_DENIED,
  404: CODE.NOT_FOUND,
  408: CODE.DEADLINE_EXCEEDED,
  409: CODE.FAILED_PRECONDITION,
  413: CODE.RESOURCE_EXHAUSTED,
  415: CODE.UNIMPLEMENTED,
  429: CODE.RESOURCE_EXHAUSTED,
  499: CODE.CANCELLED,
  501: CODE.UNIMPLEMENTED,
  503: CODE.UNAVAILABLE,
  504: CODE.DEADLINE_EXCEEDED,
  507: CODE.RESOURCE_EXHAUSTED,
};

/**
 * Bytes of a message in the trailers: clients take 8 KiB of metadata (gRPC, GRPC_ARG_MAX_METADATA_SIZE), and each
 * byte that is no ASCII takes three.
 */
const DETAILS_BYTES_MAX = 2048;

/** The status of anything that was thrown. Only our own refusals are told in their words. */
export function statusOf(error: unknown): GrpcStatus {
  if (error instanceof MalformedMessage) {
    const details = `the request ${error.message}`;
    return { code: CODE.INVALID_ARGUMENT, details, pushbackMs: undefined };
  }
  if (!(error instanceof RequestError)) {
    return { code: CODE.INTERNAL, details: "internal error", pushbackMs: undefined };
  }
  const { status, retryAfterSeconds } = error;
  const code = CODES[status] ?? (status < 500 ? CODE.INVALID_ARGUMENT : CODE.INTERNAL);
  // Codes that clients are set up to retry: here they learn that what is too large now is so later.
  const final = code === CODE.RESOURCE_EXHAUSTED ? -1 : undefined;
  return {
    code,
    details: shortened(error.message),
    pushbackMs: retryAfterSeconds === undefined ? final : retryAfterSeconds * 1000,
  };
}

/** Text that fits into trailers. A lone surrogate, which percent-encoding does not take, is replaced. */
function shortened(text: string): string {
  const bytes = Buffer.from(text, "utf8");
  if (bytes.byteLength <= DETAILS_BYTES_MAX) return bytes.toString("utf8");
  // A character that is cut becomes U+FFFD.
  return `${bytes
    .subarray(0, DETAILS_BYTES_MAX)
    .toString("utf8")
    .replace(/\uFFFD$/, "")}…`;
}
