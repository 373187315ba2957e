// What passes between the protocol (REST, gRPC) and what computes: one question with its answer, and the
// view of a served version. Neither side knows the other's.

import type { Tensors } from "../runtime/runner.ts";
import type { EndSignal } from "./end-signal.ts";
import type { FailureReason, RequestError } from "./errors.ts";
import type { DescribedModel, VersionCounts } from "./extensions.ts";
import type { Role } from "./router.ts";
import type { PhaseSink } from "./tracing.ts";

/** A question to a model. */
export interface InferenceCall {
  readonly inputs: Tensors;
  /** Names of the outputs to compute; all if left out. */
  readonly outputs?: readonly string[] | undefined;
  /** 1 is served first; 0 or left out is the default (schedule policy extension). */
  readonly priority?: number | undefined;
  /** What a client calls itself or its user: requests with one key go to one version of a split. */
  readonly key?: string | undefined;
  /** Behind all other requests: copies for a shadow. */
  readonly background?: boolean;
  /** Asked by the server itself, to see whether the model answers: no traffic. */
  readonly internal?: boolean;
  /** When the answer is of no use any more, in monotonic milliseconds of the server's clock. */
  readonly deadlineMs?: number | undefined;
  /** Aborted when the client goes away. */
  readonly signal?: EndSignal | undefined;
  /** Told what happens to the request, and when. */
  readonly observe?: PhaseSink | undefined;
  /** Asked once, when it fails: whether another version is asked in place of this one. */
  readonly again?: ((refusal: RequestError) => boolean) | undefined;
}

/** Where the time of one answer went, in milliseconds. */
export interface InferencePhases {
  /** Until its batch was begun. */
  readonly queueMs: number;
  /** Its batch on the way to the process and back, and there. */
  readonly computeMs: number;
}

/** The batch that a request was in. */
export interface BatchOf {
  /** Its number, unique among those of the version. */
  readonly batch: number;
  readonly batchRows: number;
  /** Requests of clients in it: neither the server's own, nor copies, nor those that have been ended. */
  readonly batchRequests: number;
}

/** An answer. */
export interface InferenceAnswer extends BatchOf {
  readonly outputs: Tensors;
  /** The version that computed it: a canary may have, where no version was named. */
  readonly version: number;
  /** What that version was to the request: the split sent it there, or it was named. */
  readonly role?: Role;
  readonly phases: InferencePhases;
}

/** A model version as the protocol sees it. */
export interface ServedVersion extends DescribedModel {
  readonly ready: boolean;
  /** What it has done since it was loaded; left out where it is not counted. */
  counts?(): VersionCounts;
  /**
   * Asks the model.
   *
   * @throws RequestError with the status that the client gets.
   */
  infer(call: InferenceCall): Promise<InferenceAnswer>;
  /** Counts a request that failed before it reached the model. */
  countFailure(reason: FailureReason): void;
}
