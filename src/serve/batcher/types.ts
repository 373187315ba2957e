// The words of the batcher: what happens to it, what it is told, what it wants done. Times are
// milliseconds of one monotonic clock; the batcher itself reads no clock.

/** A request that waits for the model. */
export interface BatchRequest {
  /** Unique among the requests of one batcher that are not done. */
  readonly id: number;
  /** Rows along the batch axis; 1 for a model without one. */
  readonly rows: number;
  /** Bytes of its tensors. */
  readonly bytes: number;
  /** Requests of equal bucket may share a batch: same other dims, same inputs, same wanted outputs. */
  readonly bucket: string;
  /** Input elements of one row: how a bucket that never ran is compared with those that did. */
  readonly elementsPerRow: number;
  readonly arrivedMs: number;
  /** Infinity where there is none. */
  readonly deadlineMs: number;
  /** 1 is the highest. A request waits for all of higher priority, however many come. */
  readonly priority: number;
  /** False: it runs alone, because its model mixes rows or it was asked so. */
  readonly batchable: boolean;
}

/** What happened. */
export type BatcherEvent =
  | { readonly kind: "arrive"; readonly request: BatchRequest }
  /** The client went away. Answered by a refusal while the request waits, by nothing once it runs. */
  | { readonly kind: "cancel"; readonly id: number }
  /** A batch ended; `tookMs` is the time inside the model, without waiting for the batch before it. */
  | { readonly kind: "finished"; readonly batch: number; readonly tookMs: number }
  /** A batch ended without an answer. Nothing is learned from it, nothing runs twice. */
  | { readonly kind: "failed"; readonly batch: number }
  /** A run outside of the queue, such as the warm-up at load: it teaches how long runs take. */
  | {
      readonly kind: "measured";
      readonly bucket: string;
      readonly elementsPerRow: number;
      readonly rows: number;
      readonly tookMs: number;
    }
  /** The processes that can run batches now. Batches of a process that is gone are forgotten. */
  | { readonly kind: "slots"; readonly slots: readonly string[] }
  /** Time passed, or memory became free. */
  | { readonly kind: "tick" };

/** Whether so many rows may run: now, not now because of what others hold, or never. */
export type MemoryFit = "fits" | "later" | "never";

/** What a step is told beside the event. */
export interface Surroundings {
  readonly nowMs: number;
  /**
   * Memory admission. Must be monotone in rows: what does not fit does not fit with more rows.
   * Without a slot it is asked on arrival, and only "never" counts.
   */
  fits(bucket: string, rows: number, slot?: string): MemoryFit;
  /** Told of each batch as soon as it is decided: what fits beside it in the same step depends on it. */
  begins?(start: Start): void;
}

/** Why a request does not run. */
export type RefusalReason =
  /** 429: the queue is full. */
  | "queue-full"
  /** 504: the deadline has passed, or cannot be met. */
  | "deadline"
  /** 507: this many rows can never fit. */
  | "memory-never"
  /** 503: memory was held by others for too long. */
  | "memory-later"
  /** 499: the client went away. */
  | "canceled";

/** A request leaves the queue without having run. */
export interface Refusal {
  readonly kind: "refuse";
  readonly id: number;
  readonly reason: RefusalReason;
  /** What was wrong and what would have been accepted, as a sentence for the client. */
  readonly text: string;
  /** When a retry has a chance; undefined where it never has. */
  readonly retryAfterMs: number | undefined;
}

/** A batch goes to a process. */
export interface Start {
  readonly kind: "start";
  readonly batch: number;
  readonly slot: string;
  /** Its requests, in the order of their rows. */
  readonly ids: readonly number[];
  readonly bucket: string;
  readonly rows: number;
  /** How long the run is expected to take inside the model. */
  readonly expectedMs: number;
}

/** What is to be done, in this order. */
export type BatcherAction =
  | Start
  | Refusal
  /** The first request for which a process has no memory now: told at each step that looks at it and finds it so. */
  | { readonly kind: "blocked"; readonly id: number; readonly slot: string }
  /** A tick is wanted at this time. Replaces the one asked for before; without it none is needed. */
  | { readonly kind: "wake"; readonly atMs: number };

/** How a batcher works. */
export interface BatcherOptions {
  /** Rows of one batch; a single request of more rows runs alone. */
  readonly maxBatchRows: number;
  readonly queueRequestsMax: number;
  readonly queueRowsMax: number;
  readonly queueBytesMax: number;
  /** How long the oldest request may wait for others while a process is idle. Default 0. */
  readonly maxQueueDelayMs?: number;
  /**
   * How long before the running batch is expected to end the next one is handed to the process, so that
   * it never idles between two. Default 2; 0 hands over at the end.
   */
  readonly leadMs?: number;
  /** How long a request waits for memory that others hold. Default 10,000. */
  readonly memoryPatienceMs?: number;
  /** Share of runs that end before the time that deadlines are decided by. Default 0.998. */
  readonly deadlineQuantile?: number;
}

/** What waits and what runs. */
export interface BatcherLoad {
  readonly requests: number;
  readonly rows: number;
  readonly bytes: number;
  readonly running: number;
  /** How long everything that waits and runs is expected to take. */
  readonly backlogMs: number;
}
