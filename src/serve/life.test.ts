import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { present } from "../base/assert.ts";
import {
  ABSENT,
  type Cause,
  isReady,
  type LifeEvent,
  type LifeSettings,
  type LifeState,
  PROCESSES_MAX,
  phaseOf,
  stepLife,
} from "./life.ts";

// Every short sequence of events, tried out; longer ones by chance.

const cause: Cause = { kind: "crash", text: "it crashed" };
const exchange: Cause = { kind: "recycled", text: "for its memory" };

/** Everything that may happen in a state, and things that come too late. */
function eventsIn(state: LifeState): LifeEvent[] {
  const ids = [...state.processes.map(({ id }) => id), 0];
  return [
    { kind: "serve" },
    { kind: "tick" },
    { kind: "drain" },
    { kind: "drained" },
    { kind: "stop" },
    { kind: "recycle", cause: exchange },
    ...ids.flatMap((process): LifeEvent[] => [
      { kind: "loaded", process },
      { kind: "warmed", process },
      { kind: "answered", process },
      { kind: "failed", process, cause },
      { kind: "exited", process, cause },
    ]),
  ];
}

interface Model {
  readonly state: LifeState;
  /** What the edge has seen: processes that were started and have not exited, and where requests go. */
  readonly running: ReadonlySet<number>;
  readonly ordered: ReadonlySet<number>;
  readonly routed: number | undefined;
}

const START: Model = { state: ABSENT, running: new Set(), ordered: new Set(), routed: undefined };

/** One step with all that must hold at every one. */
function stepChecked(model: Model, event: LifeEvent, nowMs: number, settings: LifeSettings): Model {
  const { state, actions } = stepLife(model.state, event, nowMs, settings);
  const running = new Set(model.running);
  const ordered = new Set(model.ordered);
  let { routed } = model;
  let lost = 0;
  if (event.kind === "exited") running.delete(event.process);
  for (const action of actions) {
    if (action.kind === "wake") {
      expect(action.atMs).toBeGreaterThan(nowMs);
      continue;
    }
    const { kind, process } = action;
    if (kind === "lost") {
      lost++;
    } else if (kind === "start") {
      expect(running.has(process)).toBe(false);
      running.add(process);
    } else if (kind === "route") {
      expect(routed).toBeUndefined();
      routed = process;
    } else if (kind === "unroute") {
      expect(routed).toBe(process);
      routed = undefined;
    } else {
      expect(running.has(process)).toBe(true);
      if (kind === "kill" || kind === "close") ordered.add(process);
    }
  }
  // What stops to serve while it ought to is counted, also where a spare takes over in the same step.
  const stopped = model.routed !== undefined && model.routed !== routed;
  if (stopped && state.wanted === "serve") expect(lost).toBe(1);
  // Requests go to one process that answered its question, is alive and was not told to end.
  expect(routed).toBe(state.serving);
  if (routed !== undefined) {
    expect(state.processes.find(({ id }) => id === routed)?.stage).toBe("ready");
    expect(running.has(routed)).toBe(true);
    expect(ordered.has(routed)).toBe(false);
  }
  // One process, besides a spare, a replacement or one that ends.
  expect(running.size).toBeLessThanOrEqual(PROCESSES_MAX);
  expect([...running].sort()).toEqual(state.processes.map(({ id }) => id).sort());
  expect(phaseOf(state) === "ready").toBe(routed !== undefined && state.wanted === "serve");
  if (isReady(state)) expect(state.wanted).toBe("serve");
  // After a stop every process has its order, nothing new begins.
  if (state.wanted === "stop") {
    for (const id of running) expect(ordered.has(id)).toBe(true);
    expect(actions.some(({ kind }) => kind === "start")).toBe(false);
  }
  if (state.wanted === "drain") expect(actions.some(({ kind }) => kind === "start")).toBe(false);
  // A version that ought to serve is never forgotten: something is under way, or a time is set.
  if (state.wanted === "serve" && !state.gaveUp && state.serving === undefined) {
    const { notBeforeMs, restUntilMs } = state;
    const waits = actions.some(({ kind }) => kind === "wake");
    expect(waits || state.processes.length > 0).toBe(true);
    // What rests for nobody rests no shorter.
    expect(restUntilMs).toBeGreaterThanOrEqual(notBeforeMs);
  }
  return { state, running, ordered, routed };
}

/** However it got there: a stop, and the ends of what runs, lead to "stopped". */
function stopsFrom(model: Model, settings: LifeSettings): void {
  let now = stepChecked(model, { kind: "stop" }, 1e6, settings);
  for (const process of now.running) {
    now = stepChecked(now, { kind: "exited", process, cause }, 1e6, settings);
  }
  if (model.state.wanted !== "nothing") expect(phaseOf(now.state)).toBe("stopped");
}

describe("the life of a version", () => {
  test.each([false, true])("every sequence of eight events, spare %s", (spare) => {
    let level = new Map<string, Model>([["", START]]);
    const seen = new Set<string>();
    for (let depth = 0; depth < 8; depth++) {
      const next = new Map<string, Model>();
      for (const model of level.values()) {
        for (const event of eventsIn(model.state)) {
          // Time stands still, or passes beyond every pause.
          for (const nowMs of [0, depth * 100_000]) {
            const after = stepChecked(model, event, nowMs, { spare });
            const key = JSON.stringify([after.state, after.routed]);
            if (seen.has(key)) continue;
            seen.add(key);
            next.set(key, after);
          }
        }
      }
      for (const model of next.values()) stopsFrom(model, { spare });
      level = next;
    }
    expect(seen.size).toBeGreaterThan(300);
  });

  test("long lives by chance", () => {
    fc.assert(
      fc.property(
        fc.boolean(),
        fc.array(fc.tuple(fc.nat(1000), fc.constantFrom(0, 1, 150, 40_000), fc.boolean()), {
          maxLength: 200,
        }),
        (spare, choices) => {
          let model = stepChecked(START, { kind: "serve" }, 0, { spare });
          let nowMs = 0;
          for (const [choice, passed, background] of choices) {
            nowMs += passed;
            // The ends of life are tried after each step, not in between: lives would be short.
            const events = eventsIn(model.state).filter(
              ({ kind }) => !["stop", "drain"].includes(kind),
            );
            for (const { id: process } of model.state.processes) {
              events.push({ kind: "recycle", cause: exchange, process });
            }
            const event = present(events[choice % events.length], "there is always a tick");
            model = stepChecked(model, event, nowMs, { spare, background });
          }
          stopsFrom(model, { spare });
        },
      ),
      { numRuns: 300 },
    );
  });

  /** The phases that a list of events leads through, each at its time. */
  function told(
    spare: boolean,
    events: readonly (readonly [nowMs: number, event: LifeEvent, background?: boolean])[],
  ) {
    let state = ABSENT;
    return events.map(([nowMs, event, background = false]) => {
      const next = stepLife(state, event, nowMs, { spare, background });
      state = next.state;
      return [
        phaseOf(state),
        next.actions
          .filter(({ kind }) => kind !== "lost")
          .map((a) => (a.kind === "wake" ? `wake ${a.atMs}` : `${a.kind} ${a.process}`))
          .join(", "),
      ];
    });
  }

  const up: (readonly [number, LifeEvent])[] = [
    [0, { kind: "serve" }],
    [1, { kind: "loaded", process: 1 }],
    [2, { kind: "warmed", process: 1 }],
    [3, { kind: "answered", process: 1 }],
  ];

  test("load, warm, probe, serve, drain, stop", () => {
    expect(
      told(false, [
        ...up,
        [4, { kind: "drain" }],
        [5, { kind: "drained" }],
        [6, { kind: "exited", process: 1, cause }],
      ]),
    ).toEqual([
      ["loading", "start 1"],
      ["warming", "warm 1"],
      ["probing", "probe 1"],
      ["ready", "route 1"],
      ["draining", ""],
      ["draining", "unroute 1, close 1"],
      ["stopped", ""],
    ]);
  });

  test("one that never was ready is not tried again; one that was, after longer and longer pauses", () => {
    expect(
      told(false, [
        [0, { kind: "serve" }],
        [1, { kind: "failed", process: 1, cause }],
      ]),
    ).toEqual([
      ["loading", "start 1"],
      ["unavailable", "kill 1"],
    ]);
    expect(
      told(false, [
        ...up,
        [10, { kind: "exited", process: 1, cause }],
        [20, { kind: "exited", process: 2, cause }],
        [119, { kind: "tick" }],
        [120, { kind: "tick" }],
      ]).slice(4),
    ).toEqual([
      ["restarting", "unroute 1, start 2"],
      ["restarting", "wake 120"],
      ["restarting", "wake 120"],
      ["restarting", "start 3"],
    ]);
  });

  test("one for which nobody waits rests after a death, until somebody does", () => {
    expect(
      told(false, [
        ...up,
        [10, { kind: "exited", process: 1, cause }, true],
        [500, { kind: "tick" }, true],
        [501, { kind: "tick" }],
        [502, { kind: "loaded", process: 2 }],
        [503, { kind: "exited", process: 2, cause }, true],
      ]).slice(4),
    ).toEqual([
      // It took 3 ms to be ready, and lived 7.
      ["restarting", "unroute 1, wake 603"],
      ["restarting", "wake 603"],
      ["restarting", "start 2"],
      ["restarting", "warm 2"],
      ["restarting", "wake 903"],
    ]);
  });

  test("a spare takes over at once, and another is loaded", () => {
    expect(
      told(true, [
        ...up,
        [4, { kind: "loaded", process: 2 }],
        [5, { kind: "warmed", process: 2 }],
        [6, { kind: "answered", process: 2 }],
        [7, { kind: "failed", process: 1, cause }],
        [8, { kind: "exited", process: 1, cause }],
      ]).slice(3),
    ).toEqual([
      ["ready", "route 1, start 2"],
      ["ready", "warm 2"],
      ["ready", "probe 2"],
      ["ready", ""],
      ["ready", "unroute 1, kill 1, route 2"],
      ["ready", "start 3"],
    ]);
  });
});
