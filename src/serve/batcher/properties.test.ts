// What holds of every run of the batcher, over generated traffic in generated worlds.

import fc from "fast-check";
import { expect, test } from "vitest";
import { Batcher } from "./batcher.ts";
import { type Policy, type Result, simulate, type World } from "./simulation.test-helper.ts";
import { type TrafficPlan, traffic } from "./traffic.test-helper.ts";
import type {
  BatcherEvent,
  BatcherOptions,
  BatchRequest,
  MemoryFit,
  Surroundings,
} from "./types.ts";

const MAX_ROWS = 8;

/** Watches what a batcher does step by step. */
class Watched implements Policy {
  readonly faults: string[] = [];
  readonly #batcher: Batcher;
  readonly #options: BatcherOptions;
  /** Whether a batch may leave an earlier request of its bucket behind: memory is the only reason. */
  readonly #inOrder: boolean;
  readonly #waiting = new Map<number, BatchRequest>();

  constructor(options: BatcherOptions, inOrder: boolean) {
    this.#batcher = new Batcher(options);
    this.#options = options;
    this.#inOrder = inOrder;
  }

  step(event: BatcherEvent, surroundings: Surroundings): ReturnType<Batcher["step"]> {
    const { nowMs } = surroundings;
    if (event.kind === "arrive") this.#waiting.set(event.request.id, event.request);
    const actions = this.#batcher.step(event, surroundings);
    for (const action of actions) {
      if (action.kind === "refuse") this.#waiting.delete(action.id);
      if (action.kind !== "start") continue;
      const members = action.ids.flatMap((id) => this.#waiting.get(id) ?? []);
      for (const id of action.ids) this.#waiting.delete(id);
      for (const { id, deadlineMs } of members) {
        if (nowMs + action.expectedMs > deadlineMs) this.faults.push(`${id} starts too late`);
      }
      if (this.#inOrder) this.#checkOrder(action.bucket, members);
    }
    this.#checkBounds(nowMs);
    return actions;
  }

  /** Nobody of the bucket who stands before a member is left waiting. */
  #checkOrder(bucket: string, members: readonly BatchRequest[]): void {
    for (const other of this.#waiting.values()) {
      if (other.bucket !== bucket || !other.batchable || other.rows > MAX_ROWS) continue;
      for (const member of members) {
        const before =
          other.priority < member.priority ||
          (other.priority === member.priority && other.deadlineMs < member.deadlineMs) ||
          (other.priority === member.priority &&
            other.deadlineMs === member.deadlineMs &&
            other.id < member.id);
        if (before) this.faults.push(`${member.id} starts before ${other.id}`);
      }
    }
  }

  #checkBounds(nowMs: number): void {
    const load = this.#batcher.load(nowMs);
    const { queueRequestsMax, queueRowsMax, queueBytesMax } = this.#options;
    if (load.requests !== this.#waiting.size) this.faults.push("the count of what waits is wrong");
    if (
      load.requests > queueRequestsMax ||
      load.rows > queueRowsMax ||
      load.bytes > queueBytesMax
    ) {
      this.faults.push("the queue is beyond its bounds");
    }
    if (!(load.backlogMs >= 0)) this.faults.push(`the backlog is ${load.backlogMs}`);
  }
}

interface Case {
  readonly plan: TrafficPlan;
  readonly world: World;
  readonly options: BatcherOptions;
}

const cases = fc
  .record({
    seed: fc.nat(1_000_000),
    load: fc.double({ min: 0.1, max: 3, noNaN: true }),
    fixed: fc.double({ min: 0.1, max: 20, noNaN: true }),
    perRow: fc.double({ min: 0.05, max: 5, noNaN: true }),
    slots: fc.integer({ min: 1, max: 3 }),
    buckets: fc.integer({ min: 1, max: 5 }),
    deadlines: fc.constantFrom("none", "equal", "mixed"),
    memory: fc.boolean(),
    largest: fc.constantFrom(1, 3, 12),
    priorities: fc.integer({ min: 1, max: 3 }),
    leaving: fc.boolean(),
    delayMs: fc.constantFrom(0, 0, 3),
    queue: fc.constantFrom(5, 60, 500),
  })
  .map((one): Case => {
    const runMs = (bucket: string, rows: number): number =>
      one.fixed + one.perRow * rows * (1 + Number(bucket.slice(1)) / 5);
    const rate = (one.load * one.slots * MAX_ROWS) / runMs("b0", MAX_ROWS);
    const scale = runMs("b0", MAX_ROWS);
    const never = Number.POSITIVE_INFINITY;
    const plan: TrafficPlan = {
      seed: one.seed,
      untilMs: 250 / rate,
      rowsPerMs: rate,
      buckets: one.buckets,
      rows: (random) => 1 + random.integer(one.largest),
      meanRows: (1 + one.largest) / 2,
      priority: (random) => 1 + random.integer(one.priorities),
      deadline: (random) => {
        if (one.deadlines === "none") return never;
        return one.deadlines === "equal" ? 5 * scale : scale * (0.5 + 10 * random.uniform());
      },
      ...(one.leaving && { patience: (random) => 12 * scale * random.uniform() }),
    };
    const fits = (_: string, rows: number, nowMs: number): MemoryFit => {
      if (rows > 9) return "never";
      return rows > 4 && Math.floor(nowMs / scale) % 3 === 0 ? "later" : "fits";
    };
    const world: World = {
      seed: one.seed,
      slots: one.slots,
      maxBatchRows: MAX_ROWS,
      runMs,
      noise: 0.1,
      pauses: 0.01,
      hopMs: 0.1,
      timerMs: 1,
      ...(one.memory && { fits }),
    };
    const options = {
      maxBatchRows: MAX_ROWS,
      queueRequestsMax: one.queue,
      queueRowsMax: 2 * one.queue,
      queueBytesMax: 400_000,
      maxQueueDelayMs: one.delayMs,
    };
    return { plan, world, options };
  });

function run({ plan, world, options }: Case): { result: Result; faults: readonly string[] } {
  const watched = new Watched(options, world.fits === undefined);
  const result = simulate(watched, traffic(plan), world);
  return { result, faults: [...result.faults, ...watched.faults] };
}

// Each request gets exactly one answer; batches have one bucket, no more rows than they may, memory, and
// members who are expected to be in time; nobody is overtaken within a bucket; the queue stays in bounds.
test("every promise is kept over generated traffic, and a run replays exactly", () => {
  fc.assert(
    fc.property(cases, (one) => {
      const { result, faults } = run(one);
      expect(faults).toEqual([]);
      expect(run(one).result.actions).toEqual(result.actions);
    }),
    { seed: 21, numRuns: 60 },
  );
});

test("without deadlines nobody starves: whoever is not turned away at the door is answered", () => {
  fc.assert(
    fc.property(cases, (one) => {
      const { priority: _, deadline: __, patience: ___, ...plan } = one.plan;
      const { fits: ____, ...world } = one.world;
      const { result } = run({ ...one, plan, world });
      for (const { kind, reason } of result.outcomes.values()) {
        expect(kind === "answered" || reason === "queue-full").toBe(true);
      }
    }),
    { seed: 22, numRuns: 25 },
  );
});
