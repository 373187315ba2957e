// What is known of a rollout, what may happen to it, and what it asks for: the words of its step function
// (machine.ts). All of it is JSON, so that a rollout can be stored at any time and goes on after a restart.

import type { TrafficSplit } from "../serve/router.ts";

/** Where a rollout is. The last four are its ends. */
export type RolloutPhase =
  | "loading"
  | "shadow"
  | "canary"
  | "promoting"
  | "promoted"
  | "rolled-back"
  | "aborted"
  | "failed";

/** One of the two versions that are compared. */
export type Side = "stable" | "candidate";

/** One step of a canary. */
export interface RampStep {
  /** Of the requests that name no version, above 0 and at most 1. */
  readonly share: number;
  /** Requests of the candidate after which the step is over, where the judge is not sure before. */
  readonly requests: number;
  /** The least that it lasts, in milliseconds with traffic. */
  readonly minMs: number;
}

/** How a rollout goes on: fixed when it starts. */
export interface Ramp {
  /** Copies alone, until so many were compared or so much time with traffic has passed. */
  readonly shadow?: { readonly pairs: number; readonly maxMs: number };
  /** Whether copies go on being compared during the canary. */
  readonly copies: boolean;
  readonly steps: readonly RampStep[];
  /** Without it the last step waits for a person. */
  readonly autoPromote: boolean;
  /** Time with traffic after which a candidate that could not be proven good is taken back. */
  readonly evidenceMsMax: number;
  /** The candidate's process may die so many times more often than stable's. At least 1. */
  readonly deathsMax: number;
}

/** What of the judge's verdict moves a rollout. */
export interface Reading {
  readonly verdict: "PASS" | "REGRESS" | "UNDERPOWERED";
  /** The gate that found the regression. */
  readonly cause?: string;
  /** The assignment of requests is not what it ought to be: the verdict means nothing. */
  readonly fault: boolean;
  readonly text: string;
  /** Counts since the rollout began. */
  readonly stableRequests: number;
  readonly candidateRequests: number;
  readonly pairs: number;
}

/** Where the registry's alias ought to point and does. */
export interface AliasState {
  readonly wanted: number;
  /** null: a move failed or was cut off, or others moved it, so that nobody knows. */
  readonly known: number | null;
  /** The third version that others have moved it to meanwhile; left out where they have not. */
  readonly elsewhere?: number | undefined;
  /** The move that is under way. */
  readonly moving: number | null;
  /** Moves that failed one after another. */
  readonly failures: number;
  /** Until the next try, in milliseconds. */
  readonly waitMs: number;
}

/** Why a rollout ended, or who stopped it for now. */
export interface Reason {
  readonly cause: string;
  readonly text: string;
  readonly actor: string;
}

/** What is known of a rollout. Never changed in place. */
export interface RolloutState {
  readonly from: number;
  readonly to: number;
  readonly phase: RolloutPhase;
  /** Of the ramp; -1 before the canary. */
  readonly step: number;
  /** The ramp waits; the judge goes on, and takes the candidate back if need be. */
  readonly held: boolean;
  /** Nothing goes forward, not by hand either. */
  readonly frozen: boolean;
  /** While frozen, the candidate is not taken back by itself either. */
  readonly rollbackOff: boolean;
  /** The proof is there, and a person has to promote. */
  readonly waiting: boolean;
  readonly ready: Readonly<Record<Side, boolean>>;
  /** How often the process of each died. */
  readonly deaths: Readonly<Record<Side, number>>;
  /** How the candidate's process died last. */
  readonly deathCause: string;
  readonly reading: Reading;
  /** In this step: candidate requests, and milliseconds with traffic. */
  readonly stepRequests: number;
  readonly stepMs: number;
  /** Milliseconds with traffic in which the ramp was allowed to go on. */
  readonly totalMs: number;
  /** Milliseconds since there was traffic. */
  readonly idleMs: number;
  readonly alias: AliasState;
  readonly lastMs: number;
  readonly reason: Reason | null;
}

/** What a person may do with a rollout. */
export type Act = "hold" | "resume" | "freeze" | "promote" | "abort";

/** Something that happened. */
export type RolloutEvent =
  | { readonly kind: "tick" | "restarted" }
  | { readonly kind: "evidence"; readonly reading: Reading }
  | { readonly kind: "ready"; readonly side: Side; readonly ready: boolean }
  | { readonly kind: "died"; readonly side: Side; readonly cause: string }
  | { readonly kind: "load-failed"; readonly side: Side; readonly text: string }
  | {
      readonly kind: "operator";
      readonly act: Act;
      readonly actor: string;
      readonly reason: string;
      /** With `freeze`: whether a bad candidate is still taken back by itself. Default true. */
      readonly rollback?: boolean;
    }
  /** How a move of the alias ended. */
  | {
      readonly kind: "alias";
      readonly version: number;
      readonly moved: boolean;
      readonly text: string;
      /** Where it was found instead of at one of the two versions: then it was left there. */
      readonly elsewhere?: number;
    }
  /** Where somebody has looked and found the alias, while no move was under way. */
  | { readonly kind: "alias-seen"; readonly version: number };

/** What is told to people and other programs. */
export type NoticeKind =
  | "started"
  | "shadow"
  | "step"
  | "verdict"
  | "sample-ratio"
  | "held"
  | "resumed"
  | "frozen"
  | "waiting"
  | "restarted"
  | "candidate-down"
  | "candidate-up"
  | "stable-down"
  | "stable-up"
  | "registry-lost"
  | "registry-back"
  | "alias-moved"
  | "alias-back"
  | "promoting"
  | "promoted"
  | "rolled-back"
  | "aborted"
  | "failed";

/** One of them, without place and time. */
export interface Notice {
  readonly kind: NoticeKind;
  readonly cause: string | null;
  readonly text: string;
  readonly actor: string;
}

/** What is to be done, in this order. */
export type RolloutEffect =
  | { readonly kind: "split"; readonly split: TrafficSplit }
  | { readonly kind: "load" }
  | { readonly kind: "alias"; readonly version: number }
  | { readonly kind: "notice"; readonly notice: Notice }
  /** The evidence as it is now is the reason for this and is kept. */
  | { readonly kind: "certify"; readonly decision: "step" | "promote" | "rollback" }
  /** It is over, and the alias is where it ought to be: others may change the split again. */
  | { readonly kind: "release" }
  | { readonly kind: "refused"; readonly text: string };

/** Nothing known yet. */
export const NO_READING: Reading = {
  verdict: "UNDERPOWERED",
  fault: false,
  text: "no requests yet",
  stableRequests: 0,
  candidateRequests: 0,
  pairs: 0,
};

/** A rollout that begins. */
export function newRollout(from: number, to: number, nowMs: number): RolloutState {
  return {
    from,
    to,
    phase: "loading",
    step: -1,
    held: false,
    frozen: false,
    rollbackOff: false,
    waiting: false,
    ready: { stable: false, candidate: false },
    deaths: { stable: 0, candidate: 0 },
    deathCause: "",
    reading: NO_READING,
    stepRequests: 0,
    stepMs: 0,
    totalMs: 0,
    idleMs: 0,
    alias: { wanted: from, known: from, moving: null, failures: 0, waitMs: 0 },
    lastMs: nowMs,
    reason: null,
  };
}

const ENDS: ReadonlySet<RolloutPhase> = new Set(["promoted", "rolled-back", "aborted", "failed"]);

/** Whether it has ended; its alias may still be on the way. */
export function hasEnded({ phase }: Pick<RolloutState, "phase">): boolean {
  return ENDS.has(phase);
}

/** Whether nothing remains to be done: another rollout of the model may begin. */
export function isOver(state: Pick<RolloutState, "phase" | "alias">): boolean {
  const { known, wanted, moving, elsewhere } = state.alias;
  return hasEnded(state) && moving === null && (known === wanted || elsewhere !== undefined);
}

/** Who gets which requests: a function of the state alone, so that no path leads to another split. */
export function splitOf(state: RolloutState, { steps, copies }: Ramp): TrafficSplit {
  const { from, to, phase, step } = state;
  const back: TrafficSplit = { stable: from, share: 0 };
  if (phase === "promoted") return { stable: to, share: 0 };
  if (!state.ready.candidate) return back;
  if (phase === "shadow") return { ...back, shadow: to };
  if (phase === "promoting") return { stable: from, candidate: to, share: 1 };
  if (phase !== "canary") return back;
  const share = steps[step]?.share ?? 0;
  return { stable: from, candidate: to, share, ...(copies && { shadow: to }) };
}

/** What the version that is rolled out gets, 0 to 1: everything once it is stable. */
export function shareOf(state: RolloutState, ramp: Ramp): number {
  return state.phase === "promoted" ? 1 : splitOf(state, ramp).share;
}
