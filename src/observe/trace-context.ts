// W3C Trace Context (www.w3.org/TR/trace-context): where a request comes from and what this server calls
// itself in its trace. A header that is not as the standard says starts a new trace.

import { randomFillSync } from "node:crypto";

/** Where a request stands in its trace. */
export interface TraceContext {
  /** 32 hexadecimal digits. */
  readonly traceId: string;
  /** Of this server's own span: 16 hexadecimal digits. */
  readonly spanId: string;
  /** The caller's span. */
  readonly parentId: string | undefined;
  /** Whether the caller, or without one this server, records it. */
  readonly sampled: boolean;
  /** The `tracestate` header as it came. */
  readonly state: string | undefined;
}

/** Characters of a `tracestate` that are handed on: what the standard asks for (3.3.1.5). */
const STATE_CHARS_MAX = 512;
const STATE_MEMBERS_MAX = 32;
const MEMBER =
  /^[a-z0-9][a-z0-9_\-*/@]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]$/;
const PARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;

/**
 * The context of a request from its headers.
 *
 * @param ratio share of the traces without a caller that are recorded, 0 to 1.
 */
export function contextOf(
  headers: { readonly traceparent?: string | undefined; readonly tracestate?: string | undefined },
  ratio: number,
): TraceContext {
  const parent = parentOf(headers.traceparent);
  if (parent === undefined) {
    const traceId = randomHex(16);
    const sampled = chosen(traceId, ratio);
    return { traceId, spanId: randomHex(8), parentId: undefined, sampled, state: undefined };
  }
  return { ...parent, spanId: randomHex(8), state: stateOf(headers.tracestate) };
}

/** The `traceparent` header of a call that this span makes, or of its answer. */
export function traceparentOf(context: TraceContext, spanId: string = context.spanId): string {
  return `00-${context.traceId}-${spanId}-${context.sampled ? "01" : "00"}`;
}

function parentOf(header: string | undefined) {
  // Longer ones belong to versions to come, which may add fields at the end.
  if (header === undefined || header.length > 256) return undefined;
  const [, version, traceId = "", parentId = "", flags = "", more] = PARENT.exec(header) ?? [];
  if (version === undefined || version === "ff" || (version === "00" && more !== undefined)) {
    return undefined;
  }
  if (/^0+$/.test(traceId) || /^0+$/.test(parentId)) return undefined;
  return { traceId, parentId, sampled: (Number.parseInt(flags, 16) & 1) === 1 };
}

function stateOf(header: string | undefined): string | undefined {
  if (header === undefined || header === "" || header.length > STATE_CHARS_MAX) return undefined;
  const members = header
    .split(",")
    .map((one) => one.trim())
    .filter((one) => one !== "");
  const known = new Set(members.map((one) => one.slice(0, one.indexOf("="))));
  const valid =
    members.length <= STATE_MEMBERS_MAX &&
    known.size === members.length &&
    members.every((one) => MEMBER.test(one));
  return valid && members.length > 0 ? members.join(",") : undefined;
}

/** The last 56 bits of a trace id are random (Trace Context level 2, 3.2.2.3.1); all servers choose alike. */
function chosen(traceId: string, ratio: number): boolean {
  if (ratio >= 1) return true;
  return ratio > 0 && Number.parseInt(traceId.slice(19), 16) < ratio * 2 ** 52;
}

/** Random bytes are drawn by the page: a call for each id takes ten times as long. */
const pool = Buffer.alloc(4096);
let used = pool.length;

/** Random bytes as hexadecimal digits. */
export function randomHex(bytes: number): string {
  if (used + bytes > pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  used += bytes;
  return pool.toString("hex", used - bytes, used);
}
