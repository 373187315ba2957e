// What model processes may hold together: the budget of the server, less what it needs for itself.

import { formatBytes } from "../../base/format.ts";
import { limits } from "../../base/limits.ts";
import { type InputShapes, rowsOf } from "./batch-axis.ts";
import type { Room } from "./ledger.ts";
import type { MemoryModel } from "./memory-model.ts";

/** How the memory of a server is divided. Bytes. */
export interface Budget {
  readonly budgetBytes: number;
  /** For the server itself, with the requests that it holds. */
  readonly reserveBytes: number;
  /** Of bodies that are on their way and requests that wait, so that the reserve holds. */
  readonly bodiesBytesMax: number;
}

/** Of a limit that the system enforces: its own buffers for sockets and files count against it, too. */
const ENFORCED_SHARE = 0.9;
/** Of a budget, for bodies on their way. */
const BODIES_SHARE = 1 / 16;
/** A body is in its pieces and whole for a moment. */
const BODY_COPIES = 2;
/** What a server holds under load, beside bodies, is this many times what it holds when it starts. */
const PARENT_GROWTH = 1.5;
/** Of bodies that are done with: not collected yet, or kept by the allocator (docs/design/admission.md, "In the server"). */
const LEFT_BYTES = 134_217_728;

/**
 * Divides the memory.
 *
 * @param limitBytes what the control group or the machine has (`memoryLimitBytes`).
 * @param options.givenBytes what the operator gives to the server (`--memory`); more than the limit is the limit.
 * @param options.parentBytes what the server holds now, before it serves.
 */
export function budgetOf(
  limitBytes: number,
  { givenBytes, parentBytes }: { readonly givenBytes?: number; readonly parentBytes: number },
): Budget {
  const enforced = Math.floor(ENFORCED_SHARE * limitBytes);
  const budgetBytes = Math.min(enforced, givenBytes ?? enforced);
  const bodiesBytesMax = Math.min(limits.bodiesBytesMax, Math.floor(BODIES_SHARE * budgetBytes));
  const grownBytes = Math.ceil(PARENT_GROWTH * parentBytes);
  const reserveBytes = grownBytes + BODY_COPIES * bodiesBytesMax + LEFT_BYTES;
  return { budgetBytes, reserveBytes, bodiesBytesMax };
}

/** Why a request does not fit, and what would: for the client, in one sentence. */
export function whatWouldFit(model: MemoryModel, shapes: InputShapes, room: Room): string {
  const rows = rowsOf(shapes);
  const needs = formatBytes(model.estimate(shapes).firmBytes);
  const has = formatBytes(room.everBytes);
  const most = model.rowsWithin(shapes, room.everBytes);
  const fits =
    most >= 1 && most < rows
      ? `at most ${most} row${most === 1 ? "" : "s"} of this shape fit`
      : "no row of this shape fits; send smaller inputs, or give the server more memory";
  return `the model's process would take ${needs} for ${rows} row${rows === 1 ? "" : "s"} of this shape and may take ${has}: ${fits}`;
}
