// Other batchers for the same simulation: the rule of Triton, by which a request of another shape sends
// the pending batch away, and an ideal one that serves the earliest deadline first and loses no time.

import type { Policy } from "./simulation.test-helper.ts";
import type { BatcherAction, BatcherEvent, BatchRequest, Surroundings } from "./types.ts";

/** What both have: a queue, idle processes, batches in order of arrival or of deadline. */
abstract class Reference implements Policy {
  protected queue: BatchRequest[] = [];
  protected readonly maxBatchRows: number;
  #idle: string[] = [];
  readonly #running = new Map<number, string>();
  #batch = 0;

  constructor(maxBatchRows: number) {
    this.maxBatchRows = maxBatchRows;
  }

  step(event: BatcherEvent, { nowMs }: Surroundings): BatcherAction[] {
    const actions: BatcherAction[] = [];
    if (event.kind === "arrive") this.queue.push(event.request);
    else if (event.kind === "slots") this.#idle = [...event.slots];
    else if (event.kind === "cancel" && this.queue.some(({ id }) => id === event.id)) {
      this.queue = this.queue.filter(({ id }) => id !== event.id);
      actions.push({ kind: "refuse", id: event.id, reason: "canceled", text: "", retryAfterMs: 0 });
    } else if (event.kind === "finished") {
      const slot = this.#running.get(event.batch);
      if (slot !== undefined) this.#idle.push(slot);
    }
    // Nobody looks at deadlines but when a process is free, as in Triton while a batch runs.
    if (this.#idle.length > 0) this.#expire(nowMs, actions);
    while (this.queue.length > 0) {
      const slot = this.#idle.pop();
      if (slot === undefined) break;
      actions.push(this.#start(slot));
    }
    return actions;
  }

  #expire(nowMs: number, actions: BatcherAction[]): void {
    const late = this.queue.filter(({ deadlineMs }) => deadlineMs < nowMs);
    if (late.length === 0) return;
    this.queue = this.queue.filter(({ deadlineMs }) => deadlineMs >= nowMs);
    for (const { id } of late) {
      actions.push({ kind: "refuse", id, reason: "deadline", text: "", retryAfterMs: 0 });
    }
  }

  /** The next batch; the queue is not empty. */
  protected abstract take(): BatchRequest[];

  #start(slot: string): BatcherAction {
    const taken = this.take();
    const gone = new Set(taken);
    this.queue = this.queue.filter((request) => !gone.has(request));
    const rows = taken.reduce((sum, request) => sum + request.rows, 0);
    const batch = ++this.#batch;
    this.#running.set(batch, slot);
    const ids = taken.map(({ id }) => id);
    return { kind: "start", batch, slot, ids, bucket: taken[0]?.bucket ?? "", rows, expectedMs: 0 };
  }
}

/** In order of arrival, up to the first request of another bucket. */
export class FlushBatcher extends Reference {
  protected take(): BatchRequest[] {
    const [head] = this.queue;
    let rows = 0;
    const end = this.queue.findIndex((request) => {
      rows += request.rows;
      return request.bucket !== head?.bucket || rows > this.maxBatchRows;
    });
    return this.queue.slice(0, Math.max(1, end < 0 ? this.queue.length : end));
  }
}

/** Earliest deadline first, filled with requests of the same bucket. */
export class IdealBatcher extends Reference {
  protected take(): BatchRequest[] {
    const order = [...this.queue].sort((a, b) => a.deadlineMs - b.deadlineMs || a.id - b.id);
    const [head] = order;
    let rows = 0;
    const taken: BatchRequest[] = [];
    for (const request of order.filter(({ bucket }) => bucket === head?.bucket)) {
      if (taken.length > 0 && rows + request.rows > this.maxBatchRows) break;
      rows += request.rows;
      taken.push(request);
    }
    return taken;
  }
}
