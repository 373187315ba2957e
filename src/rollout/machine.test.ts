import { expect, test } from "vitest";
import { BOUNDS, explore } from "./explore.test-helper.ts";
import { refusalOf, stepRollout } from "./machine.ts";
import {
  NO_READING,
  type Notice,
  newRollout,
  type Ramp,
  type Reading,
  type RolloutEffect,
  type RolloutEvent,
  type RolloutState,
  splitOf,
} from "./state.ts";

const RAMP: Ramp = BOUNDS.ramp;

test("no order of events breaks an invariant, and every state finds an end", () => {
  const found = explore({ ...BOUNDS, states: 5000 });
  expect(found.faults).toEqual([]);
  expect([...found.ends.keys()].sort()).toEqual(["aborted", "failed", "promoted", "rolled-back"]);
});

/** A rollout that is told one event after another, with what it asked for. */
class Course {
  state: RolloutState = newRollout(1, 2, 0);
  readonly effects: RolloutEffect[] = [];
  readonly ramp: Ramp;
  #nowMs = 0;

  constructor(ramp: Partial<Ramp> = {}) {
    this.ramp = { ...RAMP, evidenceMsMax: 60_000, ...ramp };
  }

  tell(event: RolloutEvent, ms = 250): this {
    this.#nowMs += ms;
    const { state, effects } = stepRollout(this.state, event, this.#nowMs, this.ramp);
    this.state = state;
    this.effects.push(...effects);
    return this;
  }

  ready(): this {
    for (const side of ["stable", "candidate"] as const) {
      this.tell({ kind: "ready", side, ready: true });
    }
    return this;
  }

  /** Requests come in, and nothing is wrong. */
  traffic(verdict: Reading["verdict"], times: number, more: Partial<Reading> = {}): this {
    for (let i = 0; i < times; i++) {
      const { reading } = this.state;
      const { candidateRequests, stableRequests, pairs } = reading;
      this.tell({
        kind: "evidence",
        reading: {
          ...NO_READING,
          verdict,
          stableRequests: stableRequests + 10,
          candidateRequests: candidateRequests + 1,
          pairs: pairs + 1,
          ...more,
        },
      }).tell({ kind: "tick" });
    }
    return this;
  }

  operator(act: "hold" | "resume" | "freeze" | "promote" | "abort", rollback = true): this {
    return this.tell({ kind: "operator", act, actor: "she", reason: "so", rollback });
  }

  get notices(): readonly Notice[] {
    return this.effects.flatMap((one) => (one.kind === "notice" ? [one.notice] : []));
  }

  get told(): readonly Notice["kind"][] {
    return this.notices.map(({ kind }) => kind);
  }

  get share(): number {
    return splitOf(this.state, this.ramp).share;
  }
}

test("a good candidate goes up step by step and becomes stable", () => {
  const course = new Course().ready().traffic("UNDERPOWERED", 8);
  expect(course.share).toBe(0.5);
  course.traffic("PASS", 1);
  expect(course.share).toBe(1);
  expect(course.effects).toContainEqual({ kind: "alias", version: 2 });
  course.tell({ kind: "alias", version: 2, moved: true, text: "" });
  expect(splitOf(course.state, RAMP)).toEqual({ stable: 2, share: 0 });
  expect(course.told).toEqual(["shadow", "step", "step", "verdict", "promoting", "promoted"]);
  expect(course.effects.at(-1)).toEqual({ kind: "release" });
});

test("a bad one is taken back before anything else is done", () => {
  const course = new Course().ready().traffic("UNDERPOWERED", 8);
  course.effects.length = 0;
  course.tell({
    kind: "evidence",
    reading: { ...course.state.reading, verdict: "REGRESS", cause: "slow", text: "five times" },
  });
  expect(course.effects[0]).toEqual({ kind: "split", split: { stable: 1, share: 0 } });
  expect(course.state).toMatchObject({ phase: "rolled-back", reason: { cause: "slow" } });
  expect(course.effects.filter(({ kind }) => kind === "alias")).toEqual([]);
});

test("hold stops the ramp, not the judge; freeze stops people too, and the judge where they say so", () => {
  const held = new Course().ready().traffic("UNDERPOWERED", 2).operator("hold");
  const { share } = held;
  expect(held.traffic("PASS", 20).share).toBe(share);
  expect(held.traffic("REGRESS", 1).state.phase).toBe("rolled-back");

  const frozen = new Course().ready().operator("freeze").operator("promote");
  expect(frozen.effects.at(-1)).toEqual({ kind: "refused", text: "it is frozen: resume it first" });
  expect(frozen.traffic("REGRESS", 1).state.phase).toBe("rolled-back");

  // Resume alone ends a freeze: a hold would turn the rollback on and let people promote.
  const kept = new Course().ready().operator("freeze", false).operator("hold");
  expect(kept.effects.at(-1)).toEqual({ kind: "refused", text: "it is frozen: resume it first" });
  expect(kept.state).toMatchObject({ frozen: true, rollbackOff: true });
  expect(kept.notices.at(-1)).toMatchObject({ kind: "frozen", text: "no automatic rollback: so" });

  const watched = new Course().ready().traffic("UNDERPOWERED", 4).operator("freeze", false);
  const before = watched.share;
  expect(before).toBeGreaterThan(0);
  expect(watched.traffic("REGRESS", 3).share).toBe(before);
  expect(watched.operator("resume").state.phase).toBe("rolled-back");
});

test("without traffic nothing is decided, however long that lasts", () => {
  const course = new Course().ready().traffic("UNDERPOWERED", 3);
  const { phase, step } = course.state;
  expect(phase).toBe("canary");
  // The first seconds may still be a gap between two requests.
  for (let i = 0; i < 10; i++) course.tell({ kind: "tick" }, 1000);
  const { totalMs } = course.state;
  for (let i = 0; i < 1000; i++) course.tell({ kind: "tick" }, 1000);
  expect(course.state).toMatchObject({ phase: course.state.phase, totalMs });
  expect(step).toBeGreaterThanOrEqual(0);
});

test("what cannot be proven in its time is taken back, but not while a person holds it", () => {
  const long = { evidenceMsMax: 20_000 };
  const course = new Course(long).ready().traffic("UNDERPOWERED", 20).operator("hold");
  expect(course.traffic("UNDERPOWERED", 100).state.phase).toBe("canary");
  course.operator("resume").traffic("UNDERPOWERED", 60);
  expect(course.state).toMatchObject({ phase: "rolled-back", reason: { cause: "underpowered" } });
});

test("a lost registry holds up the alias, not the requests, and is asked again and again", () => {
  const course = new Course().ready().traffic("PASS", 8);
  expect(course.state.phase).toBe("promoting");
  let tries = 1;
  for (let i = 0; i < 200; i++) {
    if (course.state.alias.moving !== null) {
      course.tell({ kind: "alias", version: 2, moved: false, text: "no registry" });
      tries++;
    }
    course.tell({ kind: "tick" });
    expect(course.share).toBe(1);
  }
  expect(tries).toBeGreaterThan(5);
  expect(tries).toBeLessThan(20);
  while (course.state.alias.moving === null) course.tell({ kind: "tick" });
  course.tell({ kind: "alias", version: 2, moved: true, text: "" });
  expect(course.told.filter((kind) => kind === "promoted")).toHaveLength(1);
  expect(course.told.filter((kind) => kind === "registry-lost")).toHaveLength(1);
});

test("a candidate that dies goes, unless stable died too", () => {
  const died = { kind: "died", cause: "crash" } as const;
  const alone = new Course().ready().tell({ ...died, side: "candidate" });
  expect(alone.state).toMatchObject({ phase: "rolled-back", reason: { cause: "crash" } });
  const both = new Course().ready().tell({ ...died, side: "stable" });
  expect(both.tell({ ...died, side: "candidate" }).state.phase).not.toBe("rolled-back");
});

test("while stable does not answer nothing goes forward", () => {
  const course = new Course().ready().traffic("UNDERPOWERED", 3);
  const { share } = course;
  course.tell({ kind: "died", side: "stable", cause: "crash" }).traffic("PASS", 20);
  expect(course.share).toBe(share);
  course.tell({ kind: "ready", side: "stable", ready: true }).traffic("PASS", 20);
  expect(course.state.phase).toBe("promoting");
});

test("after a restart it goes on where it was, and an alias that nobody knows of is moved again", () => {
  const course = new Course().ready().traffic("UNDERPOWERED", 4);
  const { step } = course.state;
  course.state = JSON.parse(JSON.stringify(course.state)) as RolloutState;
  course.tell({ kind: "restarted" });
  expect(course.share).toBe(0);
  course.ready();
  expect(course.state).toMatchObject({ phase: "canary", step });
  course.traffic("PASS", 4).tell({ kind: "restarted" });
  expect(course.effects.filter(({ kind }) => kind === "alias")).toHaveLength(2);
});

test("without autoPromote the proof waits for a person", () => {
  const course = new Course({ autoPromote: false }).ready().traffic("PASS", 30);
  expect(course.state).toMatchObject({ phase: "canary", waiting: true });
  expect(course.told.filter((kind) => kind === "waiting")).toHaveLength(1);
  expect(refusalOf(course.state, "promote")).toBeUndefined();
  expect(course.operator("promote").state.phase).toBe("promoting");
});

test("where others move the alias to a third version nothing goes forward, and theirs stays", () => {
  const seen = (version: number) => ({ kind: "alias-seen", version }) as const;
  const long = { evidenceMsMax: 20_000 };
  const course = new Course(long).ready().traffic("UNDERPOWERED", 4).tell(seen(7)).tell(seen(7));
  const { share } = course;
  expect(course.traffic("PASS", 100).share).toBe(share);
  expect(course.notices.filter(({ kind }) => kind === "alias-moved")).toHaveLength(1);
  expect(refusalOf(course.state, "promote")).toMatch(/alias stable to version 7 .* version 1 or 2/);
  const aborted = new Course().ready().tell(seen(7)).operator("abort");
  expect(aborted.effects.at(-1)).toEqual({ kind: "release" });
  expect(course.tell(seen(1)).traffic("PASS", 20).state.phase).toBe("promoting");
  expect(course.told).toContain("alias-back");
  // Found out by the move itself, which leaves it there.
  course.tell({ kind: "alias", version: 2, moved: false, text: "", elsewhere: 7 });
  expect(course.traffic("PASS", 10).state).toMatchObject({
    phase: "promoting",
    alias: { moving: null },
  });
  expect(course.tell(seen(2)).state.phase).toBe("promoted");
  expect(course.effects.filter(({ kind }) => kind === "alias")).toHaveLength(1);
});

test("where others move the alias to the candidate it goes on, and is moved back with it", () => {
  const course = new Course().ready().traffic("UNDERPOWERED", 2);
  course.tell({ kind: "alias-seen", version: 2 }).traffic("UNDERPOWERED", 4);
  expect(course.told.at(-1)).toBe("step");
  expect(course.effects.filter(({ kind }) => kind === "alias")).toEqual([]);
  course.operator("abort");
  expect(course.effects.at(-1)).toEqual({ kind: "alias", version: 1 });
});
