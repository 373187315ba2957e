// What becomes of requests, batches, shadow copies and probes, told as it happens to whoever judges a version.
// Costs one question where nobody listens to the model.

import type { Clock } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { Tensors } from "../runtime/runner.ts";
import type { FailureReason } from "./errors.ts";
import type { HostReport } from "./hosting.ts";
import type { CauseKind, Phase } from "./life.ts";
import type { Role } from "./router.ts";

/** Whose it is. */
interface Told {
  /** Its name. */
  readonly model: string;
  readonly version: number;
  /** Milliseconds since the Unix epoch. */
  readonly atMs: number;
}

/** A request that a version was asked, when it is over. Told once for each version that was asked. */
export interface RequestOutcome extends Told {
  readonly kind: "request";
  /**
   * `pinned` is no sample of the split: the request named its version, or came to stable because the candidate had
   * failed it.
   */
  readonly role: Role;
  readonly requestId?: string | undefined;
  /** When it ended, on the server's monotonic clock. */
  readonly monotonicMs: number;
  /** Chance of going to the candidate when it was routed; 0 where none was ready. */
  readonly share: number;
  /** 32-bit hash of its sticky key; left out where chance decided. */
  readonly key?: number | undefined;
  /** Number of the batch that answered or failed it, unique among those of the version. */
  readonly batch?: number | undefined;
  readonly batchRows?: number | undefined;
  /** Requests of clients that it answered or failed: each of them is told. */
  readonly batchRequests?: number | undefined;
  readonly rows: number;
  /** From the choice of the version to its answer; left out where there was none. */
  readonly latencyMs?: number | undefined;
  /** Of the batch alone, with its way to the process and back. */
  readonly computeMs?: number | undefined;
  /** From the choice of the version to the end, whatever that was. */
  readonly endedMs: number;
  /** `withdrawn`: its version was taken back meanwhile, which is no fault of that version. */
  readonly outcome: "good" | FailureReason;
  /** Whether memory really ran out; a refusal for memory beforehand is none. */
  readonly outOfMemory: boolean;
  /** Whether all floats of the answer that were looked at are finite; true where there is no answer. */
  readonly finite: boolean;
  /** The answer, where there was one. Who keeps it keeps its memory. */
  readonly outputs?: Tensors | undefined;
  /** Shapes of its inputs without the first axis. */
  readonly shape: string;
  /** Under which name it was let in: that of its token. */
  readonly tenant?: string | undefined;
}

/** A batch that ran. */
export interface BatchOutcome extends Told {
  readonly kind: "batch";
  readonly role: Role;
  /** Shapes and, in powers of two, rows: batches of one bucket do like work. */
  readonly bucket: string;
  readonly rows: number;
  /** Inside the model where its process tells, else with the way there and back. */
  readonly executeMs: number;
  /** What it was let in for, where memory is admitted. */
  readonly bytes?: number | undefined;
  readonly outcome: "good" | "failed" | "out-of-memory";
}

/** A copy for the shadow, beside the answer that counted. */
export interface PairOutcome extends Told {
  readonly kind: "pair";
  readonly requestId?: string | undefined;
  readonly agrees: boolean;
  /** Time of the batch of the answer that counted. */
  readonly stableMs: number;
  /** Time of the batch of the copy; left out where it got no answer. */
  readonly candidateMs?: number | undefined;
  readonly outcome: "good" | FailureReason;
  readonly outOfMemory: boolean;
  readonly finite: boolean;
  /** The answer that counted, and that of the copy; left out where it got none. */
  readonly answers?: { readonly stable: Tensors; readonly candidate: Tensors } | undefined;
}

/** A question whose answer is known, asked by the server itself. */
export interface GoldenOutcome extends Told {
  readonly kind: "golden";
  readonly role: Role;
  readonly right: boolean;
}

/** A version is in another state, or lost a process while another took over. */
export interface LifeOutcome extends Told {
  readonly kind: "life";
  readonly state: Phase;
  readonly cause?: CauseKind | undefined;
}

export type Outcome = RequestOutcome | BatchOutcome | PairOutcome | GoldenOutcome | LifeOutcome;

/** Who is told, and of which models. */
interface Listener {
  take(outcome: Outcome): void;
  hears(model: string): boolean;
}

const OF_ALL = (): boolean => true;

/** Where outcomes are told. */
export class Outcomes {
  #listeners: readonly Listener[] = [];
  #faults = 0;
  #lastFault: string | undefined;

  /** Whether anybody listens to a model: asked before an outcome of it is put together. */
  heard(model: string): boolean {
    for (const listener of this.#listeners) if (listener.hears(model)) return true;
    return false;
  }

  /**
   * Calls back at once, in the turn in which something happens; gives a function that ends it.
   *
   * @param hears whether it is told of a model now; of all of them if left out.
   */
  subscribe(
    take: (outcome: Outcome) => void,
    hears: (model: string) => boolean = OF_ALL,
  ): () => void {
    const listener = { take, hears };
    this.#listeners = [...this.#listeners, listener];
    return () => {
      this.#listeners = this.#listeners.filter((one) => one !== listener);
    };
  }

  /** A listener that fails is no matter of the request that it is told of. */
  tell(outcome: Outcome): void {
    for (const listener of this.#listeners) {
      if (!listener.hears(outcome.model)) continue;
      try {
        listener.take(outcome);
      } catch (error) {
        this.#faults++;
        this.#lastFault = messageOf(error);
      }
    }
  }

  /** How often a listener failed, and how the last time. */
  faults(): { readonly count: number; readonly last: string | undefined } {
    return { count: this.#faults, last: this.#lastFault };
  }
}

/** What a version tells of itself, with its name and what it is to the traffic. */
export function hostReport(
  outcomes: Outcomes,
  { name: model, version }: { readonly name: string; readonly version: number },
  around: { readonly clock: Clock; role(): Role },
): HostReport {
  const told = () => ({ model, version, atMs: around.clock.nowMs() });
  return {
    batch({ bucket, rows, ...run }) {
      if (!outcomes.heard(model)) return;
      const sized = `${bucket}#${2 ** Math.ceil(Math.log2(Math.max(1, rows)))}`;
      outcomes.tell({
        kind: "batch",
        ...told(),
        role: around.role(),
        bucket: sized,
        rows,
        ...run,
      });
    },
    golden(right) {
      if (outcomes.heard(model))
        outcomes.tell({ kind: "golden", ...told(), role: around.role(), right });
    },
    life(state, cause) {
      if (outcomes.heard(model)) outcomes.tell({ kind: "life", ...told(), state, cause });
    },
  };
}
