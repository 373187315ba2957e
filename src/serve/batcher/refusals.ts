// Refusals in words: what was wrong, what would have been accepted, when to come back.

import { formatBytes } from "../../base/format.ts";
import type { Promised } from "./promise.ts";
import type { BatcherOptions, BatchRequest, Refusal } from "./types.ts";

/** What waits already. */
interface Waiting {
  readonly size: number;
  readonly rows: number;
  readonly bytes: number;
}

/** A refusal if the queue has no room for a request. */
export function queueFull(
  request: BatchRequest,
  waiting: Waiting,
  options: BatcherOptions,
  backlogMs: () => number,
): Refusal | undefined {
  const { queueRequestsMax, queueRowsMax, queueBytesMax } = options;
  const { rows, bytes } = request;
  const room =
    waiting.size < queueRequestsMax &&
    waiting.rows + rows <= queueRowsMax &&
    waiting.bytes + bytes <= queueBytesMax;
  if (room) return undefined;
  const bound = `${queueRequestsMax} requests, ${queueRowsMax} rows and ${formatBytes(queueBytesMax)} may wait`;
  if (rows > queueRowsMax || bytes > queueBytesMax) {
    const text = `the request has ${rows} rows and ${formatBytes(bytes)}; at most ${bound}`;
    return refuse(request.id, "queue-full", text, undefined);
  }
  const held = `${waiting.size} requests, ${waiting.rows} rows and ${formatBytes(waiting.bytes)} wait already`;
  return refuse(request.id, "queue-full", `${held}; at most ${bound}`, backlogMs());
}

/** A deadline that cannot be met when the request comes. */
export function cannotBeMet(
  request: BatchRequest,
  promised: Promised,
  waiting: number,
  nowMs: number,
  backlogMs: number,
): Refusal {
  const has = `the deadline is in ${ms(request.deadlineMs - nowMs)} ms`;
  const needs = ms(promised.finishMs - nowMs);
  const text =
    promised.finishMs > request.deadlineMs
      ? `${has} and cannot be met: with ${waiting} requests waiting an answer is expected within ${needs} ms; a deadline of that length would be accepted`
      : `${has} and could only be met by making requests late that were accepted before; a longer deadline, behind theirs, would be accepted`;
  return refuse(request.id, "deadline", text, backlogMs);
}

/** A deadline that can no longer be met by a request that waits. */
export function tooLate(
  request: BatchRequest,
  finishMs: number,
  nowMs: number,
  backlogMs: number,
): Refusal {
  const waited = ms(nowMs - request.arrivedMs);
  const late = ms(finishMs - request.deadlineMs);
  const text = `after ${waited} ms in the queue the deadline cannot be met any more: an answer would come up to ${late} ms late`;
  return refuse(request.id, "deadline", text, backlogMs);
}

/** Given up so that others are in time. */
export function overloaded(request: BatchRequest, nowMs: number, backlogMs: number): Refusal {
  const left = ms(request.deadlineMs - nowMs);
  const text = `the model is overloaded: in the ${left} ms to the deadline it can answer only by making more requests late than this one`;
  return refuse(request.id, "deadline", text, backlogMs);
}

/** More rows than can ever fit into memory; `rowsMax` would have, 0 if none. */
export function memoryNever(request: BatchRequest, rowsMax: number): Refusal {
  const would =
    rowsMax > 0
      ? `at most ${rowsMax} rows of this shape would be accepted`
      : "no request of this shape fits; smaller inputs would be accepted";
  const text = `${request.rows} rows of this shape can never fit into the memory of the model; ${would}`;
  return refuse(request.id, "memory-never", text, undefined);
}

/** Memory was held by others for too long. */
export function memoryLater(request: BatchRequest, waitedMs: number, backlogMs: number): Refusal {
  const text = `the memory for ${request.rows} rows of this shape was held by other requests for ${ms(waitedMs)} ms; fewer rows have a better chance`;
  return refuse(request.id, "memory-later", text, backlogMs);
}

/** The client went away while its request waited. */
export function canceled(id: number): Refusal {
  return refuse(id, "canceled", "the client went away", undefined);
}

function refuse(
  id: number,
  reason: Refusal["reason"],
  text: string,
  retryAfterMs: number | undefined,
): Refusal {
  return { kind: "refuse", id, reason, text, retryAfterMs };
}

/** Whole milliseconds, rounded up: a deadline of the length that is told is long enough. */
function ms(value: number): number {
  return Math.ceil(Math.max(0, value));
}
