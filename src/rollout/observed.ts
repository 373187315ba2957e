// What the server tells of two versions, in the words of the judge and of the rollout. Pure.

import type { LifeOutcome, Outcome, RequestOutcome } from "../serve/outcomes.ts";
import type { Arm, Observation, RequestObservation } from "./judge/types.ts";
import type { RolloutEvent } from "./state.ts";

/** The two versions that are compared. */
export interface Arms {
  readonly model: string;
  readonly from: number;
  readonly to: number;
}

/** Which of the two a version is. */
export function armOf({ from, to }: Arms, version: number): Arm | undefined {
  if (version === from) return "stable";
  return version === to ? "candidate" : undefined;
}

/** What the judge learns of it; undefined where it is none of his business. */
export function observationOf(arms: Arms, outcome: Outcome): Observation | undefined {
  const arm = outcome.model === arms.model ? armOf(arms, outcome.version) : undefined;
  if (arm === undefined) return undefined;
  const { atMs } = outcome;
  switch (outcome.kind) {
    case "request":
      return requestOf(arm, outcome);
    case "batch": {
      // Copies run when nothing else does: their batches are no like ones.
      if (outcome.role !== arm) return undefined;
      const { bucket, rows, executeMs } = outcome;
      return { kind: "batch", atMs, arm, bucket, rows, executeMs, outcome: outcome.outcome };
    }
    case "pair": {
      const { agrees, stableMs, candidateMs } = outcome;
      const ended = endOf(outcome);
      if (arm !== "candidate" || ended === "excluded") return undefined;
      const pair = { kind: "pair", atMs, agrees, stableMs, outcome: ended } as const;
      return { ...pair, ...(candidateMs !== undefined && { candidateMs }) };
    }
    case "golden":
      return { kind: "golden", atMs, arm, right: outcome.right };
    case "life":
      // Where a process was lost, another one answers from here on.
      return outcome.cause === undefined ? undefined : { kind: "process", atMs, arm };
  }
}

/** Requests that named a version, or came to stable because the candidate had failed them, are no sample. */
function requestOf(arm: Arm, outcome: RequestOutcome): RequestObservation | undefined {
  if (outcome.role !== arm) return undefined;
  const { atMs, endedMs, share, key, batch, latencyMs, shape, tenant } = outcome;
  const { batchRequests, batchRows } = outcome;
  return {
    kind: "request",
    atMs,
    routedMs: atMs - endedMs,
    arm,
    share,
    ...(key !== undefined && { key }),
    ...(batch !== undefined && { batch }),
    ...(batchRequests !== undefined && { batchSize: batchRequests }),
    ...(batchRows !== undefined && { batchRows }),
    ...(latencyMs !== undefined && { latencyMs }),
    outcome: endOf(outcome),
    form: shape,
    stratum: tenant === undefined ? shape : `${shape} ${tenant}`,
  };
}

/** Faults of the client, and requests that a rollback took back, say nothing of a version. */
function endOf({
  outcome,
  outOfMemory,
  finite,
}: Pick<RequestOutcome, "outcome" | "outOfMemory" | "finite">): RequestObservation["outcome"] {
  if (outOfMemory) return "out-of-memory";
  if (outcome === "good") return finite ? "good" : "not-finite";
  return ["invalid", "canceled", "withdrawn"].includes(outcome) ? "excluded" : "failed";
}

/** Processes that were given up for what they did; the others were exchanged on purpose, or never answered. */
const DEATHS: ReadonlySet<string> = new Set([
  "crash",
  "killed",
  "out-of-memory",
  "exit",
  "stuck",
  "wrong-answer",
]);

/** The death of a process, where that is what is told. */
export function deathOf(arms: Arms, outcome: LifeOutcome): RolloutEvent | undefined {
  const side = armOf(arms, outcome.version);
  const { cause } = outcome;
  if (outcome.model !== arms.model || side === undefined || cause === undefined) return undefined;
  return DEATHS.has(cause) ? { kind: "died", side, cause } : undefined;
}
