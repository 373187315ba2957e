// What is served, how a version of it is kept, and what is told of it.

import type { Clock } from "../base/clock.ts";
import { limits } from "../base/limits.ts";
import type { ChildRunner } from "../runtime/child-process.ts";
import type { MemoryReading, Tensors } from "../runtime/runner.ts";
import type { Counters } from "./counters.ts";
import type { Decider } from "./engine-parts.ts";
import type { FailureReason } from "./errors.ts";
import type { HeldBytes } from "./held-bytes.ts";
import type { Invariance } from "./invariance.ts";
import type { CauseKind, Phase } from "./life.ts";
import type { VersionMetrics } from "./metrics.ts";
import type { Recycler, VersionMemory } from "./version-memory.ts";

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

/** Settings where nothing else is said. A process that hangs on a request is found within a period of the probe. */
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

/** What a version needs of its surroundings. */
export interface HostParts {
  readonly runner: ChildRunner;
  readonly clock: Clock;
  readonly settings: HostSettings;
  readonly decider: (settings: HostSettings) => Decider;
  /** Opens the account of this version, where memory is admitted. */
  readonly memory?: ((model: ServedModel, host: Recycler) => VersionMemory) | undefined;
  /** Found out before, of the same file. */
  readonly invariance?: Invariance | undefined;
  /** Of the host that this one follows: a version goes on counting when it is loaded again. */
  readonly counters?: Counters | undefined;
  /** Counts what its processes do; asked anew each time. */
  readonly metrics?: (() => VersionMetrics) | undefined;
  /** Requests of all models that wait are counted here. */
  readonly held?: HeldBytes | undefined;
  /** Told what its runs, its probes and its processes come to. */
  readonly report?: HostReport | undefined;
  readonly onState?: () => void;
  /** Whether no client waits for its answers now. */
  readonly background?: () => boolean;
  /** Told what an operator ought to know, a line each. Stays on this machine: it may name files. */
  readonly notice?: ((line: string) => void) | undefined;
}

/** A batch that was run for requests. */
export interface BatchReport {
  /** Batches of one bucket are of equal shapes. */
  readonly bucket: string;
  readonly rows: number;
  readonly executeMs: number;
  /** What it was let in for, where memory is admitted. */
  readonly bytes?: number | undefined;
  readonly outcome: "good" | "failed" | "out-of-memory";
}

/** Whom a version tells how it does. */
export interface HostReport {
  batch(run: BatchReport): void;
  /** Whether the known question was answered as recorded. */
  golden(right: boolean): void;
  life(state: Phase, cause: CauseKind | undefined): void;
}

/** A process of a version. */
export interface HostProcess {
  readonly pid: number;
  readonly serves: boolean;
  /** The most that it may hold with what was admitted, where memory is. */
  readonly predictedBytes: number | undefined;
}
