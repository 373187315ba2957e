// The course of a rollout as a pure step function: state, event and clock in, state and effects out. Nothing
// here waits, reads a clock or touches a server; controller.ts does (docs/design/rollout.md).

import { present } from "../base/assert.ts";
import {
  type Act,
  hasEnded,
  isOver,
  type Notice,
  type NoticeKind,
  type Ramp,
  type Reading,
  type RolloutEffect,
  type RolloutEvent,
  type RolloutState,
  type Side,
  splitOf,
} from "./state.ts";

/** A clock that jumps, or a process that slept, counts for no more than this. */
const STEP_MS_MAX = 1000;
/** Without a request for so long the clocks of a rollout stand still. */
const IDLE_MS = 10_000;
/** Between two tries to move the alias: doubles from the first to the last. */
const RETRY_MS = 250;
const RETRIES_DOUBLED = 6;

type Draft = { -readonly [K in keyof RolloutState]: RolloutState[K] };

/** A state under change, with what it asks for. */
interface Work {
  readonly draft: Draft;
  readonly ramp: Ramp;
  readonly effects: RolloutEffect[];
}

/** The state after an event, and what is to be done, in that order. */
export function stepRollout(
  state: RolloutState,
  event: RolloutEvent,
  nowMs: number,
  ramp: Ramp,
): { readonly state: RolloutState; readonly effects: readonly RolloutEffect[] } {
  const work: Work = { draft: { ...state }, ramp, effects: [] };
  pass(work, nowMs);
  take(work, event);
  takeBack(work);
  goOn(work);
  moveAlias(work);
  const { draft, effects } = work;
  // Before all else: who gets the requests waits for nothing.
  const split = splitOf(draft, ramp);
  const before = splitOf(state, ramp);
  if (JSON.stringify(split) !== JSON.stringify(before)) effects.unshift({ kind: "split", split });
  if (isOver(draft) && !isOver(state)) effects.push({ kind: "release" });
  return { state: draft, effects };
}

/** Why no rollout may begin while this one of the same model is the last; undefined where one may. */
export function startRefusal(
  last: RolloutState | undefined,
  stable: number,
  to: number,
): string | undefined {
  if (to === stable) return `version ${to} is the stable one already`;
  if (last === undefined || isOver(last)) return undefined;
  const { phase, to: other } = last;
  return hasEnded(last)
    ? `the one to version ${other} has ended, but the registry does not take its alias back yet`
    : `one to version ${other} is under way (${phase}): abort it, or wait for its end`;
}

/** The clocks: they run while there is traffic and both versions answer. */
function pass({ draft, ramp }: Work, nowMs: number): void {
  const ms = Math.min(Math.max(0, nowMs - draft.lastMs), STEP_MS_MAX);
  draft.lastMs = nowMs;
  draft.alias = { ...draft.alias, waitMs: Math.max(0, draft.alias.waitMs - ms) };
  if (draft.phase !== "shadow" && draft.phase !== "canary") return;
  draft.idleMs = Math.min(draft.idleMs + ms, IDLE_MS + STEP_MS_MAX);
  if (draft.idleMs > IDLE_MS || !draft.ready.stable || !draft.ready.candidate) return;
  const enough =
    draft.phase === "shadow" ? (ramp.shadow?.maxMs ?? 0) : (ramp.steps[draft.step]?.minMs ?? 0);
  draft.stepMs = Math.min(draft.stepMs + ms, enough);
  if (!isHalted(draft)) {
    draft.totalMs = Math.min(draft.totalMs + ms, ramp.evidenceMsMax);
  }
}

function take(work: Work, event: RolloutEvent): void {
  const { draft } = work;
  switch (event.kind) {
    case "tick":
      return;
    case "restarted":
      restart(work);
      return;
    case "evidence":
      weigh(work, event.reading);
      return;
    case "ready":
      setReady(work, event.side, event.ready, "");
      return;
    case "died":
      if (hasEnded(draft)) return;
      draft.deaths = { ...draft.deaths, [event.side]: draft.deaths[event.side] + 1 };
      if (event.side === "candidate") draft.deathCause = event.cause;
      setReady(work, event.side, false, event.cause);
      return;
    case "load-failed":
      loadFailed(work, event.side, event.text);
      return;
    case "operator":
      operate(work, event);
      return;
    case "alias":
      aliasMoved(work, event);
      return;
    case "alias-seen":
      aliasSeen(work, event.version);
  }
}

/** Of a server that starts again nothing answers yet, and of a move that was cut off nobody knows the end. */
function restart(work: Work): void {
  const { draft, effects } = work;
  if (!hasEnded(draft)) notice(work, "restarted", null, "the server started again; it goes on");
  draft.ready = { stable: false, candidate: false };
  const { alias } = draft;
  const known = alias.moving === null ? alias.known : null;
  // Where others have moved the alias elsewhere, a server that starts does not go on with the rollout at all.
  draft.alias = { wanted: alias.wanted, known, moving: null, failures: 0, waitMs: 0 };
  if (!isOver(draft)) effects.push({ kind: "load" });
}

function weigh(work: Work, reading: Reading): void {
  const { draft, ramp } = work;
  const { reading: before } = draft;
  draft.reading = reading;
  if (hasEnded(draft)) return;
  const more = reading.candidateRequests - before.candidateRequests;
  const traffic = reading.stableRequests !== before.stableRequests || more !== 0;
  if (traffic) draft.idleMs = 0;
  const enough = ramp.steps[draft.step]?.requests ?? 0;
  draft.stepRequests = Math.min(draft.stepRequests + Math.max(0, more), enough);
  if (reading.fault && !before.fault) notice(work, "sample-ratio", "sample-ratio", reading.text);
  if (reading.verdict !== before.verdict || reading.cause !== before.cause) {
    notice(work, "verdict", reading.cause ?? null, `${reading.verdict}: ${reading.text}`);
  }
}

function setReady(work: Work, side: Side, ready: boolean, why: string): void {
  const { draft } = work;
  if (draft.ready[side] === ready) return;
  draft.ready = { ...draft.ready, [side]: ready };
  if (draft.phase === "loading" || hasEnded(draft)) return;
  const text = ready ? "answers again" : `does not answer${why === "" ? "" : `: ${why}`}`;
  notice(work, `${side}-${ready ? "up" : "down"}`, why === "" ? null : why, text);
}

/** A candidate that does not load was never tried; in a canary it was, and is taken back. */
function loadFailed(work: Work, side: Side, text: string): void {
  const { draft } = work;
  if (hasEnded(draft)) return;
  setReady(work, side, false, "load-failed");
  if (side === "stable") return;
  const phase = draft.phase === "loading" ? "failed" : "rolled-back";
  end(work, phase, { cause: "load-failed", text, actor: "rollout" });
}

function operate(
  work: Work,
  { act, actor, reason, rollback = true }: Extract<RolloutEvent, { kind: "operator" }>,
): void {
  const { draft, effects } = work;
  const fault = refusalOf(draft, act);
  if (fault !== undefined) {
    effects.push({ kind: "refused", text: fault });
    return;
  }
  if (act === "abort") end(work, "aborted", { cause: "operator", text: reason, actor });
  else if (act === "promote") promote(work, { cause: "operator", text: reason, actor });
  else {
    draft.held = act === "hold" || (act === "freeze" && draft.held);
    draft.frozen = act === "freeze";
    draft.rollbackOff = act === "freeze" && !rollback;
    draft.reason = act === "resume" ? null : { cause: "operator", text: reason, actor };
    const told = { hold: "held", freeze: "frozen", resume: "resumed" } as const;
    const kept = act === "freeze" && !rollback;
    notice(work, told[act], "operator", kept ? withoutRollback(reason) : reason, actor);
  }
}

/** Whoever reads of it has to see that nobody takes a bad candidate back. */
function withoutRollback(reason: string): string {
  return `no automatic rollback${reason === "" ? "" : `: ${reason}`}`;
}

/** Why a person cannot do this now; undefined where they can. */
export function refusalOf(state: RolloutState, act: Act): string | undefined {
  const { phase, held, frozen, ready, reading, alias } = state;
  if (hasEnded(state)) return `it has ended: ${phase}`;
  if (act === "abort") return undefined;
  if (phase === "promoting") return "it is being promoted: abort it, or wait for the end";
  if (act === "resume") return held || frozen ? undefined : "it is neither held nor frozen";
  if (act === "freeze") return undefined;
  // A hold is less than a freeze: it would let people promote, and a bad candidate be taken back.
  if (frozen) return "it is frozen: resume it first";
  if (act === "hold") return held ? "it is held already" : undefined;
  if (alias.elsewhere !== undefined) {
    return `others have moved the alias stable to version ${alias.elsewhere} meanwhile: point it to version ${state.from} or ${state.to} again, or abort the rollout`;
  }
  if (!ready.candidate) return "the candidate does not answer";
  if (reading.verdict === "REGRESS") return `the candidate is worse than stable: ${reading.text}`;
  return undefined;
}

/** What evidence and dead processes ask for by themselves. */
function takeBack(work: Work): void {
  const { draft, ramp } = work;
  if (draft.rollbackOff || draft.phase === "loading" || hasEnded(draft)) return;
  const { deaths, reading } = draft;
  const actor = "rollout";
  if (deaths.candidate - deaths.stable >= ramp.deathsMax) {
    const text = `the process of the candidate died (${draft.deathCause})`;
    end(work, "rolled-back", { cause: draft.deathCause, text, actor });
  } else if (reading.verdict === "REGRESS" && !reading.fault) {
    end(work, "rolled-back", { cause: reading.cause ?? "regress", text: reading.text, actor });
  } else if (
    draft.totalMs >= ramp.evidenceMsMax &&
    draft.phase !== "promoting" &&
    !isHalted(draft)
  ) {
    const text = `its time is over and it is not proven to be as good: ${reading.text}`;
    end(work, "rolled-back", { cause: "underpowered", text, actor });
  }
}

/** Whether a person has to do something before it goes forward. */
function isHalted({ held, frozen, waiting, alias }: RolloutState): boolean {
  return held || frozen || waiting || alias.elsewhere !== undefined;
}

/** One step forward at the most. */
function goOn(work: Work): void {
  const { draft, ramp } = work;
  if (draft.phase === "promoting") {
    finishPromotion(work);
    return;
  }
  const { ready, reading, phase, step } = draft;
  if (hasEnded(draft) || draft.held || draft.frozen || reading.fault) return;
  if (draft.alias.elsewhere !== undefined) return;
  if (!ready.stable || !ready.candidate) return;
  if (phase === "loading") {
    if (ramp.shadow === undefined) enterStep(work, 0);
    else {
      draft.phase = "shadow";
      notice(work, "shadow", null, "copies of requests are compared; nobody gets its answers");
    }
    return;
  }
  if (phase === "shadow") {
    const { pairs, maxMs } = present(ramp.shadow, "a shadow phase has its length");
    if (reading.pairs < pairs && draft.stepMs < maxMs) return;
    // Copies prove nothing of the requests to come.
    draft.reading = { ...reading, verdict: "UNDERPOWERED" };
    enterStep(work, 0);
    return;
  }
  const { requests, minMs } = present(ramp.steps[step], "a canary is at a step of its ramp");
  const passed = reading.verdict === "PASS";
  const shown = passed || draft.stepRequests >= requests;
  if (draft.stepMs < minMs) return;
  if (step + 1 < ramp.steps.length) {
    if (shown) enterStep(work, step + 1);
  } else if (passed && ramp.autoPromote) {
    promote(work, { cause: "passed", text: reading.text, actor: "rollout" });
  } else if (passed && !draft.waiting) {
    draft.waiting = true;
    notice(work, "waiting", "passed", `${reading.text}; somebody has to promote it`);
  }
}

function enterStep(work: Work, step: number): void {
  const { draft, ramp, effects } = work;
  draft.phase = "canary";
  draft.step = step;
  draft.stepRequests = 0;
  draft.stepMs = 0;
  const percent = Number((100 * (ramp.steps[step]?.share ?? 0)).toFixed(3));
  notice(
    work,
    "step",
    null,
    `${percent} % of the requests, step ${step + 1} of ${ramp.steps.length}`,
  );
  effects.push({ kind: "certify", decision: "step" });
}

/** Requests first, then the alias: what cannot be written yet holds up nothing that is served. */
function promote(work: Work, reason: NonNullable<RolloutState["reason"]>): void {
  const { draft, effects } = work;
  draft.phase = "promoting";
  draft.held = false;
  draft.waiting = false;
  draft.reason = reason;
  draft.alias = { ...draft.alias, wanted: draft.to };
  notice(work, "promoting", reason.cause, reason.text, reason.actor);
  effects.push({ kind: "certify", decision: "promote" });
}

function finishPromotion(work: Work): void {
  const { draft } = work;
  const { alias, reason, ready } = draft;
  if (alias.known !== draft.to || alias.moving !== null || !ready.candidate) return;
  draft.phase = "promoted";
  notice(work, "promoted", reason?.cause ?? null, reason?.text ?? "", reason?.actor);
}

/** The end that leaves stable where it was, whatever has been begun. */
function end(
  work: Work,
  phase: "rolled-back" | "aborted" | "failed",
  reason: NonNullable<RolloutState["reason"]>,
): void {
  const { draft, effects } = work;
  draft.phase = phase;
  draft.held = false;
  draft.frozen = false;
  draft.rollbackOff = false;
  draft.waiting = false;
  draft.reason = reason;
  draft.alias = { ...draft.alias, wanted: draft.from };
  notice(work, phase, reason.cause, reason.text, reason.actor);
  effects.push({ kind: "certify", decision: "rollback" });
}

/**
 * One move at a time, and no second one before the end of the first is known. None before the promotion, and none over
 * what others have moved: theirs is the later order.
 */
function moveAlias({ draft, effects }: Work): void {
  const { wanted, known, moving, waitMs, elsewhere } = draft.alias;
  if (draft.phase !== "promoting" && !hasEnded(draft)) return;
  if (moving !== null || known === wanted || waitMs > 0 || elsewhere !== undefined) return;
  draft.alias = { ...draft.alias, moving: wanted };
  effects.push({ kind: "alias", version: wanted });
}

function aliasMoved(
  work: Work,
  { version, moved, text, elsewhere }: Extract<RolloutEvent, { kind: "alias" }>,
): void {
  const { draft } = work;
  const { alias } = draft;
  // The end of a move that a restart has cut off tells nothing about the one after it.
  if (alias.moving !== version) return;
  if (elsewhere !== undefined) {
    draft.alias = { ...alias, known: null, moving: null, failures: 0, waitMs: 0 };
    aliasSeen(work, elsewhere);
    return;
  }
  if (moved) {
    if (alias.failures > 0) notice(work, "registry-back", null, "the alias could be moved");
    draft.alias = { ...alias, known: version, moving: null, failures: 0, waitMs: 0 };
    return;
  }
  if (alias.failures === 0) notice(work, "registry-lost", "registry", text);
  const failures = Math.min(alias.failures + 1, RETRIES_DOUBLED);
  const waitMs = RETRY_MS * 2 ** failures;
  draft.alias = { ...alias, known: null, moving: null, failures, waitMs };
}

/** Others move the alias too, and nobody tells. Between the two versions of the rollout that stops nothing. */
function aliasSeen(work: Work, version: number): void {
  const { draft } = work;
  const { from, to, alias } = draft;
  // Of a moment before the move that is under way, or after it: how it ends is told by itself.
  if (alias.moving !== null || isOver(draft)) return;
  const { elsewhere, ...rest } = alias;
  const before = elsewhere ?? rest.known;
  if (version === before) return;
  if (version !== from && version !== to) {
    draft.alias = { ...rest, known: null, elsewhere: version };
    const held = `nothing goes forward until it points to version ${from} or ${to} again, and at the end version ${version} answers`;
    const then = hasEnded(draft) ? `version ${version} answers from now on` : held;
    notice(work, "alias-moved", "alias", `others have moved the alias stable: ${then}`);
    return;
  }
  if (rest.failures > 0 && version === rest.wanted) {
    notice(work, "registry-back", null, "the alias is where it ought to be");
    draft.alias = { ...rest, known: version, failures: 0, waitMs: 0 };
    return;
  }
  draft.alias = { ...rest, known: version };
  if (before === null) return;
  const kind = elsewhere === undefined ? "alias-moved" : "alias-back";
  notice(
    work,
    kind,
    "alias",
    `others have moved the alias stable to version ${version}: it goes on`,
  );
}

function notice(
  { effects }: Work,
  kind: NoticeKind,
  cause: Notice["cause"],
  text: string,
  actor = "rollout",
): void {
  effects.push({ kind: "notice", notice: { kind, cause, text, actor } });
}
