// Single steps of the batcher, and small cases against all schedules that there are.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Batcher } from "./batcher.ts";
import { simulate, type World } from "./simulation.test-helper.ts";
import type {
  BatcherAction,
  BatcherEvent,
  BatcherOptions,
  BatchRequest,
  MemoryFit,
  Refusal,
  Start,
} from "./types.ts";

const OPTIONS: BatcherOptions = {
  maxBatchRows: 8,
  queueRequestsMax: 100,
  queueRowsMax: 200,
  queueBytesMax: 1_000_000,
};

let lastId = 0;

function request(fields: Partial<BatchRequest> = {}): BatchRequest {
  return {
    id: ++lastId,
    rows: 1,
    bytes: 10,
    bucket: "a",
    elementsPerRow: 100,
    arrivedMs: 0,
    deadlineMs: Number.POSITIVE_INFINITY,
    priority: 1,
    batchable: true,
    ...fields,
  };
}

/** A batcher, and what it says to events at a time. */
class Desk {
  readonly batcher: Batcher;
  fits: (bucket: string, rows: number) => MemoryFit = () => "fits";

  constructor(options: Partial<BatcherOptions> = {}, slots: readonly string[] = ["p"]) {
    this.batcher = new Batcher({ ...OPTIONS, ...options });
    this.at(0, { kind: "slots", slots });
  }

  at(nowMs: number, event: BatcherEvent): BatcherAction[] {
    return this.batcher.step(event, { nowMs, fits: this.fits });
  }

  arrive(nowMs: number, fields: Partial<BatchRequest> = {}): BatcherAction[] {
    return this.at(nowMs, { kind: "arrive", request: request({ arrivedMs: nowMs, ...fields }) });
  }

  /** Lets the model be known: so many rows take so long, again and again. */
  teach(bucket: string, times: Readonly<Record<number, number>>, runs = 400): void {
    for (let i = 0; i < runs; i++) {
      for (const [rows, tookMs] of Object.entries(times)) {
        const measured = { bucket, elementsPerRow: 100, rows: Number(rows), tookMs };
        this.at(0, { kind: "measured", ...measured });
      }
    }
  }
}

function starts(actions: readonly BatcherAction[]): Start[] {
  return actions.filter((action) => action.kind === "start");
}

function refusals(actions: readonly BatcherAction[]): Refusal[] {
  return actions.filter((action) => action.kind === "refuse");
}

describe("after a bad minute of the machine", () => {
  /** Asks one request after another, each with `deadlineMs` to go; what became of them, the runs taking `runMs`. */
  function oneByOne(
    desk: Desk,
    asks: number,
    runMs: number,
    { everyMs = 1, deadlineMs = 250 } = {},
  ) {
    const found = { refused: 0, late: 0, inTime: 0, refusedInARow: 0 };
    let now = 1000;
    for (let i = 0; i < asks; i++) {
      now += everyMs;
      const actions = desk.arrive(now, { deadlineMs: now + deadlineMs });
      const start = actions.find((one) => one.kind === "start");
      if (start === undefined) {
        found.refused++;
        found.refusedInARow++;
        continue;
      }
      found.refusedInARow = 0;
      found[runMs <= deadlineMs ? "inTime" : "late"]++;
      now += runMs;
      desk.at(now, { kind: "finished", batch: start.batch, tookMs: runMs });
    }
    return found;
  }

  function shaken(ms: number): Desk {
    const desk = new Desk();
    desk.teach("a", { 1: 5 }, 100);
    desk.teach("a", { 1: ms }, 250);
    return desk;
  }

  test("a machine on which nothing is certain is no reason to refuse while the process is idle", () => {
    const desk = new Desk();
    for (let i = 0; i < 20; i++) {
      desk.teach("a", { 1: 20 }, 49);
      desk.teach("a", { 1: 600 }, 1);
    }
    expect(starts(desk.arrive(1000, { deadlineMs: 1250 }))).toHaveLength(1);
  });

  test("requests are answered again, though none was let in that could have shown it", () => {
    const found = oneByOne(shaken(900), 5000, 5);
    expect(found.refused).toBeGreaterThan(0);
    expect(found.refused).toBeLessThan(1500);
    expect(found.refusedInARow).toBe(0);
  });

  test("also where few ask: time counts then", () => {
    const { refused } = oneByOne(shaken(900), 100, 5, { everyMs: 10_000 });
    expect(refused).toBeGreaterThan(0);
    expect(refused).toBeLessThan(20);
  });

  test("a model that stays slow makes few late", () => {
    const { late, refused } = oneByOne(shaken(900), 20_000, 900);
    expect(late).toBeGreaterThan(0);
    expect(late / (late + refused)).toBeLessThan(0.005);
  });

  test("what no run was ever fast enough for changes nothing", () => {
    const desk = new Desk();
    desk.teach("a", { 1: 100 }, 100);
    expect(oneByOne(desk, 5000, 100, { deadlineMs: 50 }).refused).toBe(5000);
    expect(desk.arrive(9000, { deadlineMs: 9105 })[0]).toMatchObject({ kind: "refuse" });
  });
});

describe("batches", () => {
  test("an idle process takes a request at once; what comes meanwhile shares the next batch", () => {
    const desk = new Desk();
    desk.teach("a", { 1: 50, 8: 60 });
    const [first] = starts(desk.arrive(1));
    expect(first).toMatchObject({ slot: "p", rows: 1, expectedMs: 50 });
    for (let i = 0; i < 5; i++) expect(starts(desk.arrive(2))).toEqual([]);
    const [second] = starts(
      desk.at(51, { kind: "finished", batch: first?.batch ?? 0, tookMs: 50 }),
    );
    expect(second?.ids.length).toBe(5);
  });

  test("a request of another shape does not send a batch away", () => {
    const desk = new Desk();
    desk.teach("a", { 1: 50, 8: 60 });
    const [first] = starts(desk.arrive(0));
    for (const bucket of ["a", "b", "a", "b", "a"]) desk.arrive(1, { bucket });
    const [second] = starts(
      desk.at(50, { kind: "finished", batch: first?.batch ?? 0, tookMs: 50 }),
    );
    expect(second).toMatchObject({ bucket: "a", rows: 3 });
  });

  test("rows are counted, a request larger than a batch runs alone, and what may not share does not", () => {
    const desk = new Desk({ leadMs: 0 });
    desk.teach("a", { 1: 10, 8: 12 });
    let [last] = starts(desk.arrive(0));
    for (const rows of [5, 3, 2, 20]) desk.arrive(1, { rows });
    desk.arrive(1, { batchable: false });
    desk.arrive(1, { batchable: false });
    const sizes: number[] = [];
    for (let nowMs = 100; last !== undefined; nowMs += 100) {
      [last] = starts(desk.at(nowMs, { kind: "finished", batch: last.batch, tookMs: 10 }));
      if (last !== undefined) sizes.push(last.rows);
    }
    expect(sizes).toEqual([8, 2, 20, 1, 1]);
  });

  test("the next batch is handed over shortly before the running one ends, not earlier", () => {
    const desk = new Desk({ leadMs: 2 });
    desk.teach("a", { 1: 50, 8: 60 });
    desk.arrive(0);
    const [wake] = desk.arrive(10).filter((action) => action.kind === "wake");
    expect(wake?.atMs).toBeGreaterThan(40);
    expect(wake?.atMs).toBeLessThan(49);
    expect(starts(desk.at(30, { kind: "tick" }))).toEqual([]);
    expect(starts(desk.at(48.5, { kind: "tick" }))).toHaveLength(1);
    // Two are with the process now: a third waits.
    expect(starts(desk.arrive(48.6))).toEqual([]);
  });

  test("a queue delay waits for more while the process is idle, counted from the oldest", () => {
    const desk = new Desk({ maxQueueDelayMs: 5 });
    desk.teach("a", { 1: 10, 8: 20 });
    expect(starts(desk.arrive(0))).toEqual([]);
    expect(starts(desk.arrive(4))).toEqual([]);
    expect(starts(desk.at(5.1, { kind: "tick" }))[0]?.rows).toBe(2);
    const full = new Desk({ maxQueueDelayMs: 5 });
    full.teach("a", { 1: 10, 8: 20 });
    expect(starts(full.arrive(0, { rows: 8 }))[0]?.rows).toBe(8);
  });

  test("batches do not grow to where the model becomes slower for each row", () => {
    const desk = new Desk({ maxBatchRows: 64 });
    desk.teach("a", { 1: 10, 4: 14, 8: 20, 16: 60, 32: 200, 64: 500 });
    const [first] = starts(desk.arrive(0));
    for (let i = 0; i < 40; i++) desk.arrive(1);
    const [second] = starts(
      desk.at(20, { kind: "finished", batch: first?.batch ?? 0, tookMs: 10 }),
    );
    expect(second?.rows).toBe(8);
  });

  test("processes that come take work, those that go are forgotten with what they ran", () => {
    const desk = new Desk({}, ["p", "q"]);
    desk.teach("a", { 1: 50, 8: 60 });
    expect(starts(desk.arrive(0))[0]?.slot).toBe("p");
    expect(starts(desk.arrive(0))[0]?.slot).toBe("q");
    desk.arrive(0);
    expect(starts(desk.at(1, { kind: "slots", slots: ["q", "r"] }))[0]?.slot).toBe("r");
    expect(desk.batcher.load(1).running).toBe(2);
  });

  test("a failed batch makes room and teaches nothing", () => {
    const desk = new Desk({ leadMs: 0 });
    desk.teach("a", { 1: 50 });
    const [first] = starts(desk.arrive(0));
    desk.arrive(1);
    const [second] = starts(desk.at(2, { kind: "failed", batch: first?.batch ?? 0 }));
    expect(second?.expectedMs).toBe(50);
  });
});

describe("refusals", () => {
  test.each([
    ["requests", { queueRequestsMax: 2 }, { rows: 1 }],
    ["rows", { queueRowsMax: 9 }, { rows: 4 }],
    ["bytes", { queueBytesMax: 900 }, { bytes: 400 }],
  ] as const)("a queue full of %s tells its bounds and when to come back", (_, options, fields) => {
    const desk = new Desk(options);
    desk.teach("a", { 1: 50, 8: 60 });
    for (let i = 0; i < 3; i++) expect(refusals(desk.arrive(0, fields))).toEqual([]);
    const [refused] = refusals(desk.arrive(0, fields));
    expect(refused?.reason).toBe("queue-full");
    expect(refused?.text).toMatch(
      /^2 requests, .* wait already; at most \d+ requests, \d+ rows and/,
    );
    expect(refused?.retryAfterMs).toBeGreaterThan(50);
  });

  test("a request that no queue could take has no retry", () => {
    const [refused] = refusals(new Desk().arrive(0, { rows: 201 }));
    expect(refused).toMatchObject({ reason: "queue-full", retryAfterMs: undefined });
  });

  test("a deadline that the run alone would miss is refused, and the one it names is accepted", () => {
    const desk = new Desk();
    desk.teach("a", { 1: 50, 8: 60 });
    const [refused] = refusals(desk.arrive(0, { deadlineMs: 49 }));
    const needed = Number(/within (\d+) ms/.exec(refused?.text ?? "")?.[1]);
    expect(needed).toBeGreaterThan(50);
    expect(starts(desk.arrive(0, { deadlineMs: needed }))).toHaveLength(1);
  });

  test("a backlog that makes a deadline impossible is seen on arrival", () => {
    const desk = new Desk();
    desk.teach("a", { 1: 50, 8: 60 });
    for (let i = 0; i < 20; i++) desk.arrive(0, { deadlineMs: 1000 });
    expect(refusals(desk.arrive(0, { deadlineMs: 130 }))).toEqual([]);
    const [refused] = refusals(desk.arrive(0, { deadlineMs: 1000, rows: 200 }));
    expect(refused?.reason).toBe("queue-full");
    const [late] = refusals(desk.arrive(0, { deadlineMs: 110, batchable: false, rows: 8 }));
    expect(late?.reason).toBe("deadline");
  });

  test("a deadline that passes while a batch runs is answered at once", () => {
    const desk = new Desk();
    desk.teach("a", { 1: 10, 8: 12 });
    desk.arrive(0);
    expect(starts(desk.arrive(9))).toHaveLength(1);
    // Both runs take far longer than they ever did, so no process has room.
    desk.arrive(10, { deadlineMs: 60 });
    let nowMs = 10;
    let refused: Refusal | undefined;
    for (; nowMs < 60 && refused === undefined; nowMs++) {
      const actions = desk.at(nowMs, { kind: "tick" });
      expect(starts(actions)).toEqual([]);
      [refused] = refusals(actions);
    }
    expect(refused?.reason).toBe("deadline");
    expect(nowMs).toBeLessThan(60);
  });

  test("who came first is not made late by an earlier deadline", () => {
    const desk = new Desk({ maxBatchRows: 1 });
    desk.teach("a", { 1: 50 }, 2000);
    desk.arrive(0);
    desk.arrive(0, { deadlineMs: 110 });
    const [refused] = refusals(desk.arrive(0, { deadlineMs: 105 }));
    expect(refused?.text).toContain("could only be met by making requests late");
  });

  test("a higher priority may make lower ones late", () => {
    const desk = new Desk({ maxBatchRows: 1, leadMs: 0 });
    desk.teach("a", { 1: 50 }, 2000);
    const [first] = starts(desk.arrive(0, { priority: 2 }));
    desk.arrive(0, { priority: 2, deadlineMs: 110 });
    desk.arrive(0, { priority: 1, deadlineMs: 105 });
    const then = desk.at(50, { kind: "finished", batch: first?.batch ?? 0, tookMs: 50 });
    expect(starts(then)[0]?.ids).toEqual([lastId]);
    expect(refusals(then)[0]).toMatchObject({ id: lastId - 1, reason: "deadline" });
  });

  test("who goes away leaves the queue at once, a batch for nobody goes on", () => {
    const desk = new Desk();
    const [first] = starts(desk.arrive(0));
    desk.arrive(0);
    const waiting = lastId;
    desk.teach("a", { 1: 50 });
    desk.arrive(0);
    expect(refusals(desk.at(1, { kind: "cancel", id: lastId }))[0]?.reason).toBe("canceled");
    const gone = desk.at(1, { kind: "cancel", id: first?.ids[0] ?? 0 });
    expect(gone.filter(({ kind }) => kind !== "wake")).toEqual([]);
    expect(
      desk.at(1, { kind: "cancel", id: waiting + 1000 }).filter((a) => a.kind !== "wake"),
    ).toEqual([]);
  });
});

describe("memory", () => {
  test("what can never fit is refused with what would have fitted", () => {
    const desk = new Desk();
    desk.fits = (_, rows) => (rows > 5 ? "never" : "fits");
    const [refused] = refusals(desk.arrive(0, { rows: 7 }));
    expect(refused).toMatchObject({ reason: "memory-never", retryAfterMs: undefined });
    expect(refused?.text).toContain("at most 5 rows");
    desk.fits = () => "never";
    expect(refusals(desk.arrive(0))[0]?.text).toContain("no request of this shape fits");
  });

  test("a batch shrinks to what fits now", () => {
    const desk = new Desk({ leadMs: 0 });
    desk.teach("a", { 1: 50, 8: 60 });
    const [first] = starts(desk.arrive(0));
    for (let i = 0; i < 8; i++) desk.arrive(1);
    desk.fits = (_, rows) => (rows > 3 ? "later" : "fits");
    const [second] = starts(
      desk.at(50, { kind: "finished", batch: first?.batch ?? 0, tookMs: 50 }),
    );
    expect(second?.rows).toBe(3);
  });

  test("others go ahead of who waits for memory, but not for ever, and it is given up in the end", () => {
    const desk = new Desk({ leadMs: 0, memoryPatienceMs: 1000 });
    desk.teach("a", { 1: 10, 8: 60 });
    desk.fits = (_, rows) => (rows > 4 ? "later" : "fits");
    desk.arrive(0, { rows: 6 });
    const large = lastId;
    let passed = 0;
    for (let nowMs = 0; nowMs < 400; nowMs += 20) {
      const [start] = starts(desk.arrive(nowMs));
      if (start === undefined) break;
      passed++;
      desk.at(nowMs + 10, { kind: "finished", batch: start.batch, tookMs: 10 });
    }
    expect(passed).toBe(8);
    const after = desk.at(1000, { kind: "tick" });
    expect(refusals(after)[0]).toMatchObject({ id: large, reason: "memory-later" });
    expect(starts(after)).toHaveLength(1);
  });
});

describe("small cases against all schedules", () => {
  const RUN_MS = 10;
  const world: World = {
    seed: 1,
    slots: 1,
    maxBatchRows: 1,
    runMs: () => RUN_MS,
    noise: 0,
    pauses: 0,
    hopMs: 0,
    timerMs: 0.01,
  };

  /** Whether some order answers everybody in time. */
  function feasible(jobs: readonly { at: number; by: number }[], nowMs = 0): boolean {
    if (jobs.length === 0) return true;
    return jobs.some(({ at, by }, i) => {
      const end = Math.max(nowMs, at) + RUN_MS;
      return (
        end <= by &&
        feasible(
          jobs.filter((_, k) => k !== i),
          end,
        )
      );
    });
  }

  test("everybody is answered in time whenever a schedule exists that does", () => {
    // Unit runs and arrivals at whole ones: there the earliest deadline first is optimal (Horn 1974).
    // Deadlines lie between two ends, further from them than the batcher's doubt about run times.
    const job = fc.record({ slot: fc.nat(5), length: fc.integer({ min: 1, max: 6 }) });
    let possible = 0;
    fc.assert(
      fc.property(fc.array(job, { minLength: 1, maxLength: 6 }), (jobs) => {
        const times = jobs.map(({ slot, length }) => ({
          at: slot * RUN_MS,
          by: (slot + length) * RUN_MS + 8,
        }));
        if (!feasible(times)) return;
        possible++;
        const batcher = new Batcher({ ...OPTIONS, maxBatchRows: 1, leadMs: 0 });
        const fits = (): MemoryFit => "fits";
        const measured = { kind: "measured", bucket: "a", elementsPerRow: 100, rows: 1 } as const;
        for (let i = 0; i < 2000; i++) {
          batcher.step({ ...measured, tookMs: RUN_MS }, { nowMs: 0, fits });
        }
        // Of those that come at one time the most urgent is heard first: nothing waits for the others.
        times.sort((a, b) => a.at - b.at || a.by - b.by);
        const arrivals = times.map(({ at, by }, i) => {
          return { request: request({ id: i, arrivedMs: at, deadlineMs: by }) };
        });
        const { outcomes, faults } = simulate(batcher, arrivals, world);
        expect(faults).toEqual([]);
        for (const { kind, endMs, request: one } of outcomes.values()) {
          expect(kind).toBe("answered");
          expect(endMs).toBeLessThanOrEqual(one.deadlineMs);
        }
      }),
      { seed: 8, numRuns: 60 },
    );
    expect(possible).toBeGreaterThan(20);
  });
});
