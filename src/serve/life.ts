// The life of one version of a model, as a pure step function: which processes there are, which of them
// answers, and what becomes of the version when one fails. Clocks and processes are at the edge
// (version-host.ts), which tells events and carries out actions.

import { afterDeath, NO_FAILURES, type RestartState, restMs } from "./restart.ts";

/** Why a process was given up. Labels of the restart counter. */
export type CauseKind =
  /** The file was refused, or the process did not get as far as that. */
  | "load-failed"
  /** It did not give the answer that is known. */
  | "wrong-answer"
  /** There is no room for its first runs: it was not asked. */
  | "no-memory"
  /** A run or a probe took longer than it may. */
  | "stuck"
  /** It ended by itself. */
  | "crash"
  | "exit"
  | "killed"
  | "out-of-memory"
  /** It was exchanged on purpose: for its memory, or for a file that changed. */
  | "recycled";

/** Why a process was given up, and a sentence for people. */
export interface Cause {
  readonly kind: CauseKind;
  readonly text: string;
}

/** How far a process is. `ending` was told to end, and has not ended yet. */
export type Stage = "loading" | "warming" | "probing" | "ready" | "ending";

/** A process of the version. */
export interface Process {
  readonly id: number;
  readonly stage: Stage;
  /** When it was started, in monotonic milliseconds. */
  readonly startedMs: number;
  /** When it became ready. */
  readonly readyMs: number;
}

/** What is known of a version. Never changed in place. */
export interface LifeState {
  readonly wanted: "nothing" | "serve" | "drain" | "stop";
  readonly processes: readonly Process[];
  /** The process that gets the requests. */
  readonly serving: number | undefined;
  /** Whether it has ever been ready: what never was is not tried again by itself. */
  readonly wasReady: boolean;
  readonly gaveUp: boolean;
  readonly restart: RestartState;
  /** No process is started before, in monotonic milliseconds. */
  readonly notBeforeMs: number;
  /** The same while no client waits for the version. */
  readonly restUntilMs: number;
  /** The last failure, until the version is ready again. */
  readonly cause: Cause | undefined;
  readonly nextId: number;
}

/** What happened. Those of a process that is gone are of no effect. */
export type LifeEvent =
  | { readonly kind: "serve" | "drain" | "stop" | "tick" }
  | { readonly kind: "loaded" | "warmed" | "answered"; readonly process: number }
  | { readonly kind: "failed" | "exited"; readonly process: number; readonly cause: Cause }
  /** Nothing is under way any more: the end of a drain. */
  | { readonly kind: "drained" }
  /** A process is to be exchanged: the one that serves unless another is named, which then has to be ready. */
  | { readonly kind: "recycle"; readonly cause: Cause; readonly process?: number };

/** What is to be done, in this order. */
export type LifeAction =
  | { readonly kind: "start" | "warm" | "probe"; readonly process: number }
  /** Requests go to it from now on; or do not any more. */
  | { readonly kind: "route" | "unroute"; readonly process: number }
  /** It was given up: to be counted, and told to who asks why. */
  | { readonly kind: "lost"; readonly process: number; readonly cause: Cause }
  /** End it: at once, or once what it computes is done. */
  | { readonly kind: "kill" | "close"; readonly process: number }
  | { readonly kind: "wake"; readonly atMs: number };

/** How a version is kept. */
export interface LifeSettings {
  /** Keep a second process loaded, which takes over at once. */
  readonly spare: boolean;
  /** No client waits for its answers: it is the shadow of another version. */
  readonly background?: boolean;
}

/** What people and the protocol are told. */
export type Phase =
  | "absent"
  | "loading"
  | "warming"
  | "probing"
  | "ready"
  | "restarting"
  | "unavailable"
  | "draining"
  | "stopped";

/** Besides the one that serves: a spare, a replacement, or one that has not ended yet. */
export const PROCESSES_MAX = 2;

/** A version that nobody asked for yet. */
export const ABSENT: LifeState = {
  wanted: "nothing",
  processes: [],
  serving: undefined,
  wasReady: false,
  gaveUp: false,
  restart: NO_FAILURES,
  notBeforeMs: Number.NEGATIVE_INFINITY,
  restUntilMs: Number.NEGATIVE_INFINITY,
  cause: undefined,
  nextId: 1,
};

/** The state after an event, and what is to be done. */
export function stepLife(
  state: LifeState,
  event: LifeEvent,
  nowMs: number,
  settings: LifeSettings,
): { state: LifeState; actions: readonly LifeAction[] } {
  const draft = { ...state };
  const actions: LifeAction[] = [];
  apply(draft, event, nowMs, actions);
  if (draft.wanted === "serve") settle(draft, nowMs, settings, actions);
  return { state: draft, actions };
}

/** Where a version stands. */
export function phaseOf(state: LifeState): Phase {
  if (state.wanted === "nothing") return "absent";
  if (state.wanted !== "serve") return state.processes.length > 0 ? "draining" : "stopped";
  if (state.serving !== undefined) return "ready";
  if (state.gaveUp) return "unavailable";
  if (state.wasReady) return "restarting";
  const first = state.processes.find(({ stage }) => stage !== "ending");
  return first === undefined || first.stage === "ready" || first.stage === "ending"
    ? "loading"
    : first.stage;
}

/** Whether it answers, or will in a moment because its process is exchanged on purpose. */
export function isReady(state: LifeState): boolean {
  return phaseOf(state) === "ready" || exchanging(state);
}

function exchanging(state: LifeState): boolean {
  return phaseOf(state) === "restarting" && state.cause?.kind === "recycled";
}

type Draft = { -readonly [K in keyof LifeState]: LifeState[K] };

function apply(draft: Draft, event: LifeEvent, nowMs: number, actions: LifeAction[]): void {
  switch (event.kind) {
    case "serve":
      if (draft.wanted === "nothing") draft.wanted = "serve";
      break;
    case "tick":
      break;
    case "loaded":
      advance(draft, event.process, "loading", "warming", nowMs, actions);
      break;
    case "warmed":
      advance(draft, event.process, "warming", "probing", nowMs, actions);
      break;
    case "answered":
      advance(draft, event.process, "probing", "ready", nowMs, actions);
      break;
    case "failed":
      failed(draft, event.process, event.cause, nowMs, actions);
      break;
    case "exited":
      exited(draft, event.process, event.cause, nowMs, actions);
      break;
    case "recycle":
      recycle(draft, event.process ?? draft.serving, event.cause, actions);
      break;
    case "drain":
      drain(draft, actions);
      break;
    case "drained":
      if (draft.wanted === "drain") endAll(draft, "close", actions);
      break;
    case "stop":
      draft.wanted = "stop";
      endAll(draft, "kill", actions);
      break;
  }
}

function stageOf(draft: Draft, id: number): Stage | undefined {
  return draft.processes.find((one) => one.id === id)?.stage;
}

function setStage(draft: Draft, id: number, stage: Stage, nowMs?: number): void {
  draft.processes = draft.processes.map((one) =>
    one.id === id ? { ...one, stage, readyMs: nowMs ?? one.readyMs } : one,
  );
}

const WORK = { warming: "warm", probing: "probe" } as const;

function advance(
  draft: Draft,
  id: number,
  from: Stage,
  to: "warming" | "probing" | "ready",
  nowMs: number,
  actions: LifeAction[],
): void {
  if (stageOf(draft, id) !== from || draft.wanted !== "serve") return;
  setStage(draft, id, to, nowMs);
  if (to !== "ready") actions.push({ kind: WORK[to], process: id });
}

/** A process that is alive and of no use. */
function failed(
  draft: Draft,
  id: number,
  cause: Cause,
  nowMs: number,
  actions: LifeAction[],
): void {
  const stage = stageOf(draft, id);
  if (stage === undefined) return;
  if (stage !== "ending") lost(draft, id, cause, nowMs, actions);
  setStage(draft, id, "ending");
  // Also one that was to end in peace: it hangs.
  actions.push({ kind: "kill", process: id });
}

function exited(
  draft: Draft,
  id: number,
  cause: Cause,
  nowMs: number,
  actions: LifeAction[],
): void {
  const stage = stageOf(draft, id);
  if (stage === undefined) return;
  if (stage !== "ending") lost(draft, id, cause, nowMs, actions);
  draft.processes = draft.processes.filter((one) => one.id !== id);
}

/** Counts a failure, and decides when or whether another process is started. */
function lost(draft: Draft, id: number, cause: Cause, nowMs: number, actions: LifeAction[]): void {
  const process = draft.processes.find((one) => one.id === id);
  if (draft.serving === id) {
    draft.serving = undefined;
    actions.push({ kind: "unroute", process: id });
  }
  draft.cause = cause;
  actions.push({ kind: "lost", process: id, cause });
  if (draft.wanted !== "serve") return;
  if (!draft.wasReady) {
    // The same file would fail again: whoever asked for it is told, and may ask again.
    draft.gaveUp = true;
    return;
  }
  const lived = process?.stage === "ready" ? nowMs - process.readyMs : 0;
  const { state, delayMs } = afterDeath(draft.restart, lived);
  draft.restart = state;
  draft.notBeforeMs = nowMs + delayMs;
  const startMs = process === undefined ? 0 : nowMs - lived - process.startedMs;
  draft.restUntilMs = nowMs + restMs(startMs, lived, delayMs);
}

function recycle(draft: Draft, id: number | undefined, cause: Cause, actions: LifeAction[]): void {
  if (id === undefined || stageOf(draft, id) !== "ready" || draft.wanted !== "serve") return;
  if (id !== draft.serving) {
    // A spare: nobody misses it.
    setStage(draft, id, "ending");
    actions.push({ kind: "close", process: id });
    return;
  }
  draft.serving = undefined;
  draft.cause = cause;
  setStage(draft, id, "ending");
  actions.push(
    { kind: "unroute", process: id },
    { kind: "lost", process: id, cause },
    { kind: "close", process: id },
  );
}

/** What serves goes on until all is answered; the others end now. */
function drain(draft: Draft, actions: LifeAction[]): void {
  if (draft.wanted === "stop" || draft.wanted === "drain") return;
  draft.wanted = "drain";
  for (const { id, stage } of draft.processes) {
    if (id === draft.serving || stage === "ending") continue;
    setStage(draft, id, "ending");
    actions.push({ kind: "kill", process: id });
  }
}

function endAll(draft: Draft, how: "kill" | "close", actions: LifeAction[]): void {
  for (const { id, stage } of draft.processes) {
    if (stage === "ending" && how === "close") continue;
    if (id === draft.serving) actions.push({ kind: "unroute", process: id });
    setStage(draft, id, "ending");
    actions.push({ kind: how, process: id });
  }
  draft.serving = undefined;
}

/** Brings what is there to what is wanted: a process that serves, and a spare. */
function settle(draft: Draft, nowMs: number, settings: LifeSettings, actions: LifeAction[]): void {
  const { spare, background = false } = settings;
  const alive = draft.processes.filter(({ stage }) => stage !== "ending");
  if (draft.serving === undefined) {
    const ready = alive.find(({ stage }) => stage === "ready");
    if (ready !== undefined) {
      draft.serving = ready.id;
      draft.wasReady = true;
      draft.cause = undefined;
      actions.push({ kind: "route", process: ready.id });
    }
  }
  if (draft.gaveUp) return;
  // A spare is loaded once there is one that serves: the first answer is not kept waiting for it.
  const needed = spare && draft.serving !== undefined ? 2 : 1;
  if (alive.length >= needed || draft.processes.length >= PROCESSES_MAX) return;
  const atMs = background ? draft.restUntilMs : draft.notBeforeMs;
  if (nowMs < atMs) {
    actions.push({ kind: "wake", atMs });
    return;
  }
  const id = draft.nextId;
  draft.nextId++;
  draft.processes = [
    ...draft.processes,
    { id, stage: "loading", startedMs: nowMs, readyMs: Number.POSITIVE_INFINITY },
  ];
  actions.push({ kind: "start", process: id });
}
