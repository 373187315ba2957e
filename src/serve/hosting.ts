// What is served, how a version of it is kept, and what is told of it.

import { limits } from "../base/limits.ts";
import type { MemoryReading, Tensors } from "../runtime/runner.ts";
import type { FailureReason } from "./errors.ts";
import type { CauseKind, Phase } from "./life.ts";

/** What is to be served. */
export interface ServedModel {
  readonly name: string;
  readonly version: number;
  readonly path: string;
  readonly digest: string;
  /** A question with its known answer: asked after every load, and now and then. */
  readonly probe?: { readonly inputs: Tensors; readonly outputs: Tensors };
}

/** How a version is kept. Times in milliseconds. */
export interface HostSettings {
  /** Threads that compute inside one run. */
  readonly threads: number;
  /** Keep a second process loaded, which takes over at once. */
  readonly spare: boolean;
  /** How often the model is asked its known question. */
  readonly probeEveryMs: number;
  /** How long a run or a probe may take before its process is replaced; ten times what it is expected to take where that is longer. */
  readonly stuckAfterMs: number;
  /** How long a load may take. */
  readonly loadLimitMs: number;
  /** Rows of one batch; 1 keeps requests apart. */
  readonly maxBatchRows: number;
  /** How long the first request of a batch may wait for others while the process is idle. */
  readonly maxQueueDelayMs: number;
  /** What may wait. */
  readonly queue: { readonly requests: number; readonly rows: number; readonly bytes: number };
}

/** Settings where nothing else is said. A process that hangs is found within two periods of the probe. */
export const HOST_DEFAULTS: HostSettings = {
  threads: 1,
  spare: false,
  probeEveryMs: 5000,
  stuckAfterMs: 4500,
  loadLimitMs: 600_000,
  maxBatchRows: 32,
  maxQueueDelayMs: 0,
  queue: {
    requests: limits.queueRequestsMax,
    rows: limits.queueRowsMax,
    bytes: limits.queueBytesMax,
  },
};

/** What a model has done and does. */
export interface ModelStats {
  readonly model: string;
  readonly version: number;
  readonly state: Phase;
  /** Why it is not ready. */
  readonly reason: string | undefined;
  /** Requests answered by the model. */
  readonly requests: number;
  readonly failures: Readonly<Partial<Record<FailureReason, number>>>;
  readonly ratePerSecond: number;
  readonly latency: {
    readonly windowSeconds: number;
    readonly n: number;
    /** null: too few requests in the window to know. */
    readonly p50Ms: number | null;
    readonly p99Ms: number | null;
  };
  readonly queued: number;
  readonly inFlight: number;
  readonly restarts: number;
  readonly restartsByCause: Readonly<Partial<Record<CauseKind, number>>>;
  readonly pid: number | undefined;
  /** Of the spare, where one is kept. */
  readonly sparePid: number | undefined;
  readonly memory: MemoryReading | undefined;
}
