// Every state that rollouts of one model can come into, with a world that is as unkind as it may be: requests of
// people in any order, processes that die, clocks that jump, a registry that is lost, a server that is killed.

import { startRefusal, stepRollout } from "./machine.ts";
import {
  type Act,
  hasEnded,
  isOver,
  newRollout,
  type Ramp,
  type Reading,
  type RolloutEffect,
  type RolloutEvent,
  type RolloutState,
  splitOf,
} from "./state.ts";

/** What is explored: all of this happens at every state, as far as it may. */
export interface Bounds {
  readonly ramp: Ramp;
  /** Rollouts of the one model, one after another. */
  readonly rollouts: number;
  /** Deaths of each version's process in one rollout. */
  readonly deaths: number;
  /** Times that people move the alias in one rollout. */
  readonly hands: number;
  /** Between two ticks: the longer, the fewer states differ in their clocks alone. Milliseconds. */
  readonly tickMs: number;
  /** Where to stop. */
  readonly states: number;
}

/** Two steps after a shadow phase: the shortest ramp in which everything may happen between any two things. */
export const BOUNDS: Omit<Bounds, "states"> = {
  ramp: {
    shadow: { pairs: 1, maxMs: 2000 },
    copies: true,
    steps: [
      { share: 0.05, requests: 1, minMs: 1000 },
      { share: 0.5, requests: 1, minMs: 0 },
    ],
    autoPromote: true,
    evidenceMsMax: 3000,
    deathsMax: 1,
  },
  rollouts: 2,
  deaths: 1,
  hands: 2,
  tickMs: 1000,
};

/** What was found. */
export interface Explored {
  readonly states: number;
  readonly transitions: number;
  /** Whether there was nothing left to explore. */
  readonly complete: boolean;
  /** Ends of the last rollout, by phase. */
  readonly ends: ReadonlyMap<string, number>;
  /** Every invariant that did not hold, with the events that lead there; the first few. */
  readonly faults: readonly string[];
}

/** A moment: the rollouts so far, and the world that they act on. */
interface Moment {
  /** The rollout that is there now. */
  readonly now: RolloutState;
  readonly begun: number;
  /** Where the registry's alias points. */
  readonly alias: number;
  /** Times that people have moved it in the rollout that is there now, and whether nobody has looked since. */
  readonly hands: number;
  readonly unseen: boolean;
  /** Promotions that were told of the rollout that is there now. */
  readonly promotions: number;
}

interface Visit {
  readonly moment: Moment;
  readonly before: number;
  readonly by: string;
}

/** What may happen, with how the world is afterwards. */
interface Move {
  readonly name: string;
  readonly event?: RolloutEvent;
  readonly atMs: number;
  readonly alias?: number;
  /** People move the alias, and nobody is told. */
  readonly hand?: number;
  readonly begins?: RolloutState;
}

const FAULTS_MAX = 5;
/** Steps in which a kind world ends every rollout of the ramps that are explored here. */
const PATIENCE = 400;

/** Explores breadth first, and then follows a kind and a dull world from every state to an end. */
export function explore(bounds: Bounds): Explored {
  const faults: string[] = [];
  const first: Moment = { now: begin(1, 2), begun: 1, alias: 1, ...UNTOUCHED, promotions: 0 };
  const visits: Visit[] = [{ moment: first, before: -1, by: "start" }];
  const known = new Map<string, number>([[keyOf(first), 0]]);
  let transitions = 0;
  let at = 0;
  for (; at < visits.length && visits.length < bounds.states; at++) {
    const { moment } = visits[at] as Visit;
    for (const move of movesFrom(moment, bounds)) {
      transitions++;
      const { next, wrong } = carryOut(moment, move, bounds.ramp);
      if (wrong.length > 0 && faults.length < FAULTS_MAX) {
        faults.push(`${wrong.join("; ")}: ${[...pathTo(visits, at), move.name].join(", ")}`);
      }
      const key = keyOf(next);
      if (known.has(key)) continue;
      known.set(key, visits.length);
      visits.push({ moment: next, before: at, by: move.name });
    }
  }
  const complete = at === visits.length;
  for (const weather of ["kind", "dull"] as const) {
    const stuck = withoutEnd(visits, weather, bounds.ramp);
    if (stuck === undefined) continue;
    faults.push(`no end in a ${weather} world: ${pathTo(visits, stuck).join(", ")}`);
  }
  const ends = new Map<string, number>();
  for (const { moment } of visits) {
    if (!isOver(moment.now)) continue;
    ends.set(moment.now.phase, (ends.get(moment.now.phase) ?? 0) + 1);
  }
  return { states: visits.length, transitions, complete, ends, faults };
}

const UNTOUCHED = { hands: 0, unseen: false } as const;

/** A version that is none of a rollout's two. */
function thirdOf({ from, to }: RolloutState): number {
  return [97, 98, 99].find((one) => one !== from && one !== to) ?? 0;
}

function isThird({ from, to }: RolloutState, version: number): boolean {
  return version !== from && version !== to;
}

function begin(from: number, to: number): RolloutState {
  return newRollout(from, to, 0);
}

/** Texts and counts since the beginning are of no matter to what may happen next. */
function keyOf({ now, begun, alias, hands, unseen, promotions }: Moment): string {
  const { reading, reason, ...rest } = now;
  const { verdict, fault, pairs } = reading;
  const judged = `${verdict}${fault}${Math.min(pairs, 2)}${reading.cause}`;
  return `${begun} ${alias} ${hands}${unseen} ${promotions} ${judged} ${JSON.stringify(rest)}`;
}

function movesFrom(moment: Moment, bounds: Bounds): Move[] {
  const { now, begun, alias } = moment;
  const { tickMs } = bounds;
  const moves: Move[] = [];
  const add = (name: string, event: RolloutEvent, more: Partial<Move> = {}): void => {
    moves.push({ name, event, atMs: tickMs, ...more });
  };
  add("tick", { kind: "tick" });
  add("the clock jumps ahead", { kind: "tick" }, { atMs: 1e12 });
  add("the clock jumps back", { kind: "tick" }, { atMs: -1e12 });
  for (const reading of readings(now.reading, bounds.ramp)) {
    add(`evidence ${reading.verdict} ${reading.fault}`, { kind: "evidence", reading });
  }
  for (const side of ["stable", "candidate"] as const) {
    add(`${side} ready`, { kind: "ready", side, ready: true });
    add(`${side} not ready`, { kind: "ready", side, ready: false });
    if (now.deaths[side] < bounds.deaths) {
      add(`${side} dies`, { kind: "died", side, cause: "crash" });
    }
    add(`${side} does not load`, { kind: "load-failed", side, text: "broken" });
  }
  for (const act of ["hold", "resume", "freeze", "promote", "abort"] satisfies Act[]) {
    add(act, { kind: "operator", act, actor: "she", reason: "so" });
  }
  const hands = { kind: "operator", act: "freeze", actor: "she", reason: "so" } as const;
  add("freeze without rollback", { ...hands, rollback: false });
  const { moving } = now.alias;
  const killed: RolloutEvent = { kind: "restarted" };
  const third = isThird(now, alias);
  // A server that starts while the alias is elsewhere ends the rollout, and does not come here.
  if (!third) add("killed", killed);
  if (moving !== null) {
    const ended = { kind: "alias", version: moving, text: "" } as const;
    add("alias not moved", { ...ended, moved: false });
    if (third) add("alias found elsewhere", { ...ended, moved: false, elsewhere: alias });
    else {
      add("alias moved", { ...ended, moved: true }, { alias: moving });
      add("alias moved, not told", { ...ended, moved: false }, { alias: moving });
      add("alias moved, killed", killed, { alias: moving });
    }
  } else if (!isOver(now)) add("a look at the alias", { kind: "alias-seen", version: alias });
  // What becomes of the alias after the end is no matter of the rollout.
  if (moment.hands < bounds.hands && !isOver(now)) {
    for (const version of [now.from, now.to, thirdOf(now)]) {
      if (version === alias) continue;
      moves.push({ name: `a hand moves the alias to ${version}`, atMs: 0, hand: version });
    }
  }
  // What a server told that is no more, or an answer that comes twice.
  if (moving !== now.to) {
    add("a late answer", { kind: "alias", version: now.to, moved: true, text: "" });
  }
  const next = begun + 2;
  // No rollout begins whose stable version is not that of the alias.
  if (begun < bounds.rollouts && startRefusal(now, alias, next) === undefined) {
    moves.push({ name: "the next one", atMs: 0, begins: begin(alias, next) });
  }
  return moves;
}

function readings(before: Reading, ramp: Ramp): Reading[] {
  const one = { ...before, stableRequests: before.stableRequests + 1, text: "" };
  const more = { ...one, candidateRequests: before.candidateRequests + 1 };
  const pairs = Math.min(before.pairs + 1, ramp.shadow?.pairs ?? 0);
  return [
    { ...one, verdict: "UNDERPOWERED" },
    { ...more, pairs, verdict: "UNDERPOWERED" },
    { ...more, verdict: "PASS" },
    { ...more, verdict: "REGRESS", cause: "slow" },
    { ...more, verdict: "UNDERPOWERED", fault: !before.fault },
  ];
}

function carryOut(
  moment: Moment,
  move: Move,
  ramp: Ramp,
): { readonly next: Moment; readonly wrong: string[] } {
  if (move.begins !== undefined) {
    const begun = moment.begun + 1;
    const next = { ...moment, ...UNTOUCHED, now: move.begins, begun, promotions: 0 };
    return { next, wrong: isOver(moment.now) ? [] : ["two rollouts at once"] };
  }
  if (move.hand !== undefined) {
    const hands = moment.hands + 1;
    return { next: { ...moment, alias: move.hand, hands, unseen: true }, wrong: [] };
  }
  const alias = move.alias ?? moment.alias;
  const event = move.event ?? { kind: "tick" };
  const { state, effects } = stepRollout({ ...moment.now, lastMs: 0 }, event, move.atMs, ramp);
  const promoted = effects.filter((one) => one.kind === "notice" && one.notice.kind === "promoted");
  const promotions = moment.promotions + promoted.length;
  // Whatever tells where the alias is now.
  const told =
    event.kind === "alias-seen" || (event.kind === "alias" && event.elsewhere !== undefined);
  const unseen = moment.unseen && !told && move.alias === undefined;
  const next = { ...moment, now: { ...state, lastMs: 0 }, alias, unseen, promotions };
  return { next, wrong: broken(moment, next, { effects, event, ramp }) };
}

/** Every invariant that a step broke. */
function broken(
  before: Moment,
  after: Moment,
  { effects, event, ramp }: { effects: readonly RolloutEffect[]; event: RolloutEvent; ramp: Ramp },
): string[] {
  const wrong: string[] = [];
  const check = (holds: boolean, text: string): void => void (holds || wrong.push(text));
  const { now } = after;
  const was = before.now;
  const split = splitOf(now, ramp);
  const weights = [1 - split.share, split.share];
  check(weights.every((one) => one >= 0) && weights[0] === 1 - split.share, "weights");
  check((weights[0] ?? 0) + (weights[1] ?? 0) === 1, "weights do not sum to one");
  check(split.share === 0 || split.candidate === now.to, "a share for nobody");
  check(split.share === 0 || now.ready.candidate, "traffic to what is not ready");
  check(split.shadow === undefined || now.ready.candidate, "copies to what is not ready");
  const sets = effects.filter((one) => one.kind === "split");
  const moved = JSON.stringify(split) !== JSON.stringify(splitOf(was, ramp));
  check(sets.length === Number(moved), "the split was changed in silence, or told twice");
  if (hasEnded(was)) {
    check(now.phase === was.phase, "an end was left");
    const told = effects.filter((one) => ["notice", "certify", "split"].includes(one.kind));
    const registry = told.every(
      (one) => one.kind === "notice" && /^(registry|alias)-/.test(one.notice.kind),
    );
    check(registry, "something after the end");
  }
  if (hasEnded(now) && now.phase !== "promoted") {
    check(split.share === 0 && split.stable === now.from, "traffic to what was taken back");
  }
  check(
    after.promotions <= 1 && (now.phase === "promoted") === (after.promotions === 1),
    "promoted",
  );
  if (now.phase === "promoted" && was.phase !== "promoted") {
    check(now.ready.candidate, "promoted what is not there");
    check(after.unseen || after.alias === now.to, "promoted beside the alias");
  }
  wrong.push(...aliasFaults(was, after, effects, split.stable));
  const releases = effects.filter((one) => one.kind === "release").length;
  check(releases === Number(isOver(now) && !isOver(was)), "released not once");
  check(effects.filter((one) => one.kind === "alias").length <= 1, "two moves at once");
  if (was.alias.moving !== null && event.kind !== "alias" && event.kind !== "restarted") {
    check(
      effects.every((one) => one.kind !== "alias"),
      "a move beside another",
    );
  }
  const forward = split.share > splitOf(was, ramp).share && now.step > was.step;
  check(!forward || (!now.held && !now.frozen && now.ready.stable), "forward while it may not");
  wrong.push(...letGo(was, now, event));
  wrong.push(...unproven(was, now, event, ramp));
  return wrong;
}

/** The alias ends where the split does, or where people have put it: over theirs nothing is moved or promoted. */
function aliasFaults(
  was: RolloutState,
  { now, alias, unseen }: Moment,
  effects: readonly RolloutEffect[],
  stable: number,
): string[] {
  const wrong: string[] = [];
  const { elsewhere } = now.alias;
  const moves = effects.some(({ kind }) => kind === "alias");
  if (moves && !hasEnded(now) && now.phase !== "promoting") wrong.push("moved without a promotion");
  const there = alias === (elsewhere ?? stable);
  if (isOver(now) && !unseen && !there) wrong.push("the alias is elsewhere");
  if (elsewhere === undefined) return wrong;
  if (!isThird(now, elsewhere)) wrong.push("one of the two is called elsewhere");
  if (moves) wrong.push("moved over what people have moved");
  if (now.step > was.step) wrong.push("a step while the alias is elsewhere");
  const ended = now.phase === "promoting" || now.phase === "promoted";
  if (ended && now.phase !== was.phase) wrong.push("promoted while the alias is elsewhere");
  return wrong;
}

/** What a person has ordered stands until a person ends it, or the rollout does. */
function letGo(was: RolloutState, now: RolloutState, event: RolloutEvent): string[] {
  const act = event.kind === "operator" ? event.act : undefined;
  const wrong: string[] = [];
  // What cannot be loaded is not there to be looked into.
  const gone = act !== undefined || event.kind === "load-failed";
  if (was.rollbackOff && now.phase === "rolled-back" && !gone)
    wrong.push("rolled back all the same");
  if (hasEnded(now)) return wrong;
  const moved = now.phase !== was.phase || now.step !== was.step;
  if (was.held && now.held && now.step !== was.step) wrong.push("it moved while held");
  if (was.frozen && now.frozen && moved) wrong.push("it moved while frozen");
  if (was.frozen && !now.frozen && act !== "resume") {
    wrong.push(`a freeze was lifted by ${act ?? event.kind}`);
  }
  if (was.held && !now.held && act !== "resume" && act !== "promote") {
    wrong.push(`a hold was lifted by ${act ?? event.kind}`);
  }
  const asked = act === "resume" || act === "freeze";
  if (was.rollbackOff && !now.rollbackOff && !asked) wrong.push("rollback was turned on");
  if (!was.rollbackOff && now.rollbackOff && act !== "freeze")
    wrong.push("rollback was turned off");
  return wrong;
}

/** What is wrong with a promotion that nobody ordered. */
function unproven(was: RolloutState, now: RolloutState, event: RolloutEvent, ramp: Ramp): string[] {
  if (now.phase !== "promoting" || was.phase === "promoting") return [];
  if (event.kind === "operator" && event.act === "promote") return [];
  const { verdict, fault } = now.reading;
  const proven = verdict === "PASS" && !fault;
  const due = ramp.autoPromote && was.step === ramp.steps.length - 1;
  return [...(proven ? [] : ["promoted without proof"]), ...(due ? [] : ["promoted too early"])];
}

/** A state from which a world that does its best, or one in which nothing is ever proven, finds no end. */
function withoutEnd(
  visits: readonly Visit[],
  weather: "kind" | "dull",
  ramp: Ramp,
): number | undefined {
  const good = new Set<string>();
  for (const [i, { moment }] of visits.entries()) {
    const passed: string[] = [];
    let at = moment;
    let ended = false;
    for (let steps = 0; steps < PATIENCE && !ended; steps++) {
      const key = keyOf(at);
      ended = isOver(at.now) || good.has(key);
      passed.push(key);
      if (!ended) at = fairStep(at, weather, ramp);
    }
    if (!ended) return i;
    for (const key of passed) good.add(key);
  }
  return undefined;
}

function fairStep(moment: Moment, weather: "kind" | "dull", ramp: Ramp): Moment {
  const { now, alias } = moment;
  const { moving } = now.alias;
  const third = isThird(now, alias);
  const verdict = weather === "kind" ? "PASS" : "UNDERPOWERED";
  const more = readings(now.reading, ramp).find((one) => one.verdict === verdict) ?? now.reading;
  const reading = { ...more, fault: false };
  const event = ((): RolloutEvent => {
    if (moving !== null) {
      const end = { kind: "alias", version: moving, text: "" } as const;
      return third ? { ...end, moved: false, elsewhere: alias } : { ...end, moved: true };
    }
    if (moment.unseen || third) return { kind: "alias-seen", version: third ? now.from : alias };
    if (now.held || now.frozen) return { kind: "operator", act: "resume", actor: "", reason: "" };
    if (now.waiting) return { kind: "operator", act: "promote", actor: "", reason: "" };
    for (const side of ["stable", "candidate"] as const) {
      if (!now.ready[side]) return { kind: "ready", side, ready: true };
    }
    if (now.idleMs > 0 || now.reading.fault || now.reading.verdict !== verdict) {
      return { kind: "evidence", reading };
    }
    return { kind: "tick" };
  })();
  // Whoever has moved the alias elsewhere moves it back.
  const puts = { alias: event.kind === "alias-seen" ? event.version : moving };
  const moved = third ? moving === null : moving !== null;
  const move: Move = {
    name: "fair",
    event,
    atMs: 1000,
    ...(moved && puts.alias !== null && { alias: puts.alias }),
  };
  return carryOut(moment, move, ramp).next;
}

function pathTo(visits: readonly Visit[], at: number): string[] {
  const path: string[] = [];
  for (let i = at; i >= 0; i = visits[i]?.before ?? -1) path.unshift(visits[i]?.by ?? "");
  return path;
}
