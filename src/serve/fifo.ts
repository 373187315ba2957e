// The plainest decider: first come, first served, one batch at a time for each process.

import { limits } from "../base/limits.ts";
import type {
  BatcherAction,
  BatcherEvent,
  BatcherLoad,
  BatchRequest,
  Surroundings,
} from "./batcher/types.ts";
import type { Decider } from "./engine.ts";

/** A decider without deadlines and without learning. */
export function fifo(maxBatchRows: number): Decider {
  const waiting: BatchRequest[] = [];
  const busy = new Map<number, string>();
  let slots: readonly string[] = [];
  let next = 1;
  const bytes = (): number => waiting.reduce((sum, one) => sum + one.bytes, 0);
  const arrive = (request: BatchRequest): BatcherAction[] => {
    if (
      waiting.length < limits.queueRequestsMax &&
      bytes() + request.bytes <= limits.queueBytesMax
    ) {
      waiting.push(request);
      return [];
    }
    const text = `${waiting.length} requests of ${bytes()} bytes wait already; at most ${limits.queueRequestsMax} requests and ${limits.queueBytesMax} bytes may`;
    return [{ kind: "refuse", id: request.id, reason: "queue-full", text, retryAfterMs: 1000 }];
  };
  const begin = (slot: string): BatcherAction[] => {
    const [first] = waiting;
    if (first === undefined) return [];
    const taken: BatchRequest[] = [];
    let rows = 0;
    for (const one of waiting) {
      const joins =
        one === first || (first.batchable && one.batchable && one.bucket === first.bucket);
      if (!joins || (taken.length > 0 && rows + one.rows > maxBatchRows)) continue;
      taken.push(one);
      rows += one.rows;
    }
    for (const one of taken) waiting.splice(waiting.indexOf(one), 1);
    const batch = next++;
    busy.set(batch, slot);
    const ids = taken.map((one) => one.id);
    return [{ kind: "start", batch, slot, ids, bucket: first.bucket, rows, expectedMs: 0 }];
  };
  const cancel = (id: number): BatcherAction[] => {
    const at = waiting.findIndex((one) => one.id === id);
    if (at < 0) return [];
    waiting.splice(at, 1);
    return [
      {
        kind: "refuse",
        id,
        reason: "canceled",
        text: "the client went away",
        retryAfterMs: undefined,
      },
    ];
  };
  return {
    step: (event: BatcherEvent, _around: Surroundings): readonly BatcherAction[] => {
      const actions: BatcherAction[] = [];
      if (event.kind === "arrive") actions.push(...arrive(event.request));
      else if (event.kind === "cancel") actions.push(...cancel(event.id));
      else if (event.kind === "finished" || event.kind === "failed") busy.delete(event.batch);
      else if (event.kind === "slots") {
        slots = event.slots;
        for (const [batch, slot] of busy) if (!slots.includes(slot)) busy.delete(batch);
      }
      for (const slot of slots) {
        if (![...busy.values()].includes(slot)) actions.push(...begin(slot));
      }
      return actions;
    },
    load: (): BatcherLoad => ({
      requests: waiting.length,
      rows: waiting.reduce((sum, one) => sum + one.rows, 0),
      bytes: bytes(),
      running: busy.size,
      backlogMs: 0,
    }),
  };
}
