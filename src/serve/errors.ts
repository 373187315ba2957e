// How a refusal is answered: one place maps what went wrong to a status of HTTP.

import { type Diagnostic, diagnostic } from "../base/diagnostic.ts";
import { SkipwayError } from "../base/errors.ts";
import type { EndSignal } from "./end-signal.ts";
import type { BatchOf } from "./inference.ts";

/** Why a request got no answer of the model: the label of the failure counters. */
export type FailureReason =
  | "invalid"
  /** No token, a wrong one, or one without the role. */
  | "unauthorized"
  | "queue-full"
  | "process-died"
  | "not-ready"
  | "deadline"
  | "memory"
  | "canceled"
  | "runtime"
  /** Its version was taken back; stable answers in its place, unless the request's time is over. */
  | "withdrawn";

/** A request that is refused or failed. */
export class RequestError extends Error {
  readonly status: number;
  readonly reason: FailureReason;
  readonly retryAfterSeconds: number | undefined;
  /** Whether memory really ran out, beyond what was predicted. */
  readonly outOfMemory: boolean;
  /** The batch that it failed in, where it had begun. */
  batch: BatchOf | undefined;

  constructor(
    status: number,
    reason: FailureReason,
    message: string,
    options: { retryAfterSeconds?: number; outOfMemory?: boolean; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "RequestError";
    this.status = status;
    this.reason = reason;
    this.retryAfterSeconds = options.retryAfterSeconds;
    this.outOfMemory = options.outOfMemory ?? false;
  }
}

/** A client's status for "went away before the answer" (nginx); it only stands in counters and logs. */
export const CLIENT_CLOSED = 499;

/** Findings that an answer spells out; a request may have thousands. */
const FINDINGS_SHOWN = 20;

/** All findings in one paragraph, each with its fix once; of very many the first, and how many more. */
export function sentenceOf(diagnostics: readonly Diagnostic[]): string {
  const shown = diagnostics.slice(0, FINDINGS_SHOWN);
  const faults = shown.map((one) => `${one.where}: ${one.text}.`);
  const more = diagnostics.length - shown.length;
  if (more > 0) faults.push(`And ${more} more faults.`);
  const fixes = new Set(shown.map((one) => one.fix).filter((fix) => fix !== undefined));
  return [...faults, ...fixes].join(" ");
}

/** What a failure of the model's session means for the request. */
export function requestErrorOf(
  error: unknown,
  signal?: Pick<EndSignal, "aborted" | "reason">,
): RequestError {
  if (error instanceof RequestError) return error;
  if (signal?.aborted) {
    // Who gives up says why; a client that goes away says nothing.
    if (signal.reason instanceof RequestError) return signal.reason;
    return new RequestError(CLIENT_CLOSED, "canceled", "the client went away");
  }
  if (error instanceof SkipwayError) {
    const text = error.diagnostics.length > 0 ? sentenceOf(error.diagnostics) : error.message;
    // The index may be the request's or come from a model that is wrong: told as the client's, counted as the model's.
    if (idOf(error) === "runtime/bad-index")
      return new RequestError(400, "runtime", text, { cause: error });
    if (error.code === "input") return new RequestError(400, "invalid", text, { cause: error });
    if (isDeath(error)) {
      const outOfMemory = idOf(error) === KILLED_FOR_MEMORY;
      const options = { retryAfterSeconds: 1, outOfMemory, cause: error };
      return new RequestError(503, "process-died", text, options);
    }
    if (isOutOfMemory(error)) {
      return new RequestError(507, "memory", noMemory, { outOfMemory: true, cause: error });
    }
    return new RequestError(500, "runtime", text, { cause: error });
  }
  return new RequestError(500, "runtime", "the model failed", { cause: error });
}

const noMemory =
  "the runtime found no memory for this request; send fewer rows in one request, or smaller inputs";

const KILLED_FOR_MEMORY = "runtime/process-out-of-memory";

/** Whether a run failed because its process is gone. */
export function isDeath(error: unknown): boolean {
  const id = idOf(error) ?? "";
  return ["runtime/process-died", "runtime/closed", KILLED_FOR_MEMORY].includes(id);
}

/** Whether the runtime had no memory for a run. Its process lives on. */
export function isOutOfMemory(error: unknown): boolean {
  return idOf(error) === "runtime/out-of-memory";
}

/** The error of a port that cannot be listened on; `option` is what chooses it. */
export function portError(
  host: string,
  port: number,
  cause: unknown,
  option: "--port" | "--grpc-port" = "--port",
): SkipwayError {
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : "";
  const inUse = code === "EADDRINUSE";
  const found = diagnostic({
    id: inUse ? "serve/port-in-use" : "serve/port",
    severity: "error",
    where: `${host}:${port}`,
    text: inUse
      ? "another process listens on this port already, perhaps another skipway"
      : `the port cannot be listened on (${code || String(cause)})`,
    fix: inUse
      ? `Stop the other process, or choose another port with ${option} ${port < 65_535 ? port + 1 : port - 1}.`
      : `Choose another host or port with --host and ${option}.`,
  });
  return new SkipwayError("environment", `${found.where}: ${found.text}`, {
    cause,
    diagnostics: [found],
  });
}

/** The id of an error's first finding. */
export function idOf(error: unknown): string | undefined {
  return error instanceof SkipwayError ? error.diagnostics[0]?.id : undefined;
}
