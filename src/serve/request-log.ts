// The log of requests: one line of JSON for each, with what finds it again (request and trace id) and
// where its time went. No bodies, and of the headers the id alone; tokens are blotted out, whatever they are given as.

import { timeText } from "../base/clock.ts";
import type { Phase } from "../observe/trace.ts";
import { redacted } from "../registry/secret.ts";

/** Which requests are logged: all, those that failed, none. */
export const LOG_MODES = ["requests", "errors", "off"] as const;

/** One of them. */
export type LogMode = (typeof LOG_MODES)[number];

/** What a line says. */
export interface LogEntry {
  readonly atMs: number;
  readonly requestId: string;
  readonly traceId: string;
  readonly protocol: string;
  readonly model: string;
  readonly version: string;
  readonly role: string | undefined;
  readonly status: number;
  /** Why the model did not answer. */
  readonly reason: string | undefined;
  readonly tookMs: number;
  readonly phasesMs: ReadonlyMap<Phase, number>;
  readonly rows: number | undefined;
  readonly batchRows: number | undefined;
}

/** Characters of a text that a client chose. */
const TEXT_MAX = 128;

/** Whether a request is logged. */
export function isLogged(mode: LogMode, entry: Pick<LogEntry, "reason">): boolean {
  return mode === "requests" || (mode === "errors" && entry.reason !== undefined);
}

/**
 * The line of an entry, with its end. JSON escapes line breaks and other control characters; beyond that
 * everything outside of ASCII is escaped, so that no terminal takes a name for a command.
 */
export function logLine(entry: LogEntry): string {
  const phases = [...entry.phasesMs].map(([phase, ms]) => [phase, rounded(ms)]);
  const json = JSON.stringify({
    time: timeText(entry.atMs),
    level: entry.reason === undefined ? "info" : entry.status >= 500 ? "error" : "warn",
    event: "request",
    requestId: shortened(entry.requestId),
    traceId: entry.traceId,
    protocol: entry.protocol,
    model: shortened(entry.model),
    version: shortened(entry.version),
    role: entry.role,
    status: entry.status,
    reason: entry.reason,
    tookMs: rounded(entry.tookMs),
    phasesMs: phases.length === 0 ? undefined : Object.fromEntries(phases),
    rows: entry.rows,
    batchRows: entry.batchRows,
  });
  return `${json.replaceAll(/[\u007f-\uffff]/g, escaped)}\n`;
}

function escaped(char: string): string {
  return `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

/** What a client named, as signals say it: short, and without tokens that were put where they do not belong. */
export function shortened(text: string): string {
  return redacted(text.length > TEXT_MAX ? text.slice(0, TEXT_MAX) : text);
}

/** Microseconds are as fine as it is measured. */
function rounded(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}
