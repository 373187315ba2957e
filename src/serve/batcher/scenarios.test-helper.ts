// The traffic that the batcher is judged by: named, seeded, each with a model, a load and its clients.

import { Batcher } from "./batcher.ts";
import {
  type Arrival,
  type Policy,
  type Result,
  simulate,
  type World,
} from "./simulation.test-helper.ts";
import {
  bursts,
  type Figures,
  figures,
  heavyRows,
  type TrafficPlan,
  traffic,
} from "./traffic.test-helper.ts";

/** Rows of a batch in all scenarios. */
export const MAX_ROWS = 32;
const UNTIL_MS = 8000;
/** Requests that come while nothing is known yet do not count. */
const FROM_MS = 2000;

/** A model on a CPU: 20 ms for a batch of 32, 4.5 ms for one. */
const affine = (rows: number): number => 4 + 0.5 * rows;
/** One that falls out of the cache beyond 8 rows. */
const cliff = (rows: number): number => (rows <= 8 ? 1 + 0.5 * rows : 5 + 1.6 * (rows - 8));

/** A small net whose rows cost the same in batches of any size: 1.3 ms alone. */
const flat = (rows: number): number => 0.25 + 1.05 * rows;

/**
 * Two processors on which a server, its client and other people's work have to get along, as measured: runs that vary
 * by a third, are stopped for some milliseconds many times a second and now and then for longer than a client waits,
 * first runs that take many times as long, a server that reads the news late.
 */
const ROUGH: Partial<World> = {
  noise: 0.3,
  stalls: [
    { perSecond: 20, meanMs: 6 },
    { perSecond: 1.5, meanMs: 100 },
  ],
  lateNewsMs: 4,
  slowFirst: { runs: 20, times: 8 },
};

/** A name, a load as a share of capacity, a plan of traffic. */
export interface Scenario {
  readonly name: string;
  readonly load: number;
  readonly slots?: number;
  readonly runMs?: (rows: number) => number;
  readonly bestRows?: number;
  readonly world?: Partial<World>;
  readonly plan: Omit<TrafficPlan, "seed" | "untilMs" | "rowsPerMs">;
}

/** The scenarios there are. */
export type ScenarioName =
  | "steady"
  | "bursty"
  | "mixedShapes"
  | "overload"
  | "tight"
  | "overloadShapes"
  | "overloadRows"
  | "overloadPriorities"
  | "overloadMixed"
  | "overloadTwo"
  | "overloadCliff"
  | "storm"
  | "rough"
  | "roughLate"
  | "roughLight";

/** All scenarios. Deadlines are in milliseconds; a run of a full batch takes 20. */
export const scenarios: Readonly<Record<ScenarioName, Scenario>> = {
  steady: { name: "Poisson, no deadlines", load: 0.7, plan: {} },
  bursty: {
    name: "bursts of 4 times the mean, deadline 200",
    load: 0.6,
    plan: { deadline: () => 200, shape: bursts(4), shapeMax: 4 },
  },
  mixedShapes: { name: "8 shapes, no deadlines", load: 0.7, plan: { buckets: 8 } },
  overload: { name: "deadline 100", load: 2, plan: { deadline: () => 100 } },
  tight: { name: "deadline 60", load: 2, plan: { deadline: () => 60 } },
  overloadShapes: {
    name: "4 shapes, deadline 150",
    load: 2,
    plan: { buckets: 4, deadline: () => 150 },
  },
  overloadRows: {
    name: "rows with a heavy tail, deadline 150",
    load: 2,
    plan: { rows: heavyRows(MAX_ROWS), meanRows: 2.75, deadline: () => 150 },
  },
  overloadPriorities: {
    name: "3 priorities, deadline 150",
    load: 2,
    plan: { deadline: () => 150, priority: (random) => 1 + random.integer(3) },
  },
  overloadMixed: {
    name: "deadlines of 60 to 300",
    load: 2,
    plan: { deadline: (random) => 60 + 240 * random.uniform() },
  },
  overloadTwo: {
    name: "2 processes, deadline 100",
    load: 2,
    slots: 2,
    plan: { deadline: () => 100 },
  },
  overloadCliff: {
    name: "a model slow beyond 8 rows, deadline 60",
    load: 2,
    runMs: cliff,
    bestRows: 8,
    plan: { deadline: () => 60 },
  },
  storm: {
    name: "clients leave at their deadline of 100",
    load: 3,
    plan: { deadline: () => 100, patience: (_, deadlineMs) => deadlineMs },
  },
  rough: {
    name: "a busy machine, deadline 250",
    load: 2,
    runMs: flat,
    world: ROUGH,
    plan: { deadline: () => 250 },
  },
  roughLate: {
    name: "a busy machine and a busy server, deadline 250",
    load: 2,
    runMs: flat,
    world: { ...ROUGH, lateNewsMs: 15 },
    plan: { deadline: () => 250 },
  },
  roughLight: {
    name: "a busy machine, deadline 250",
    load: 0.3,
    runMs: flat,
    world: ROUGH,
    plan: { deadline: () => 250 },
  },
};

/** What came of a scenario. */
export interface Outcome extends Figures {
  readonly result: Result;
  /** Goodput as a share of what the best batches could do. */
  readonly ofCapacity: number;
}

/** Capacity in rows of a millisecond. */
function capacity(scenario: Scenario): number {
  const best = scenario.bestRows ?? MAX_ROWS;
  return ((scenario.slots ?? 1) * best) / ((scenario.runMs ?? affine)(best) * slowdown(scenario));
}

/** How many times as long a run takes on a busy machine, on average. */
function slowdown({ world = {} }: Scenario): number {
  const stalls = world.stalls ?? [];
  const stopped = stalls.reduce(
    (sum, { perSecond, meanMs }) => sum + (perSecond * meanMs) / 1000,
    0,
  );
  return (1 + stopped) * Math.exp((world.noise ?? 0) ** 2 / 2);
}

/** The requests of a scenario. */
export function requests(scenario: Scenario, seed: number): Arrival[] {
  const rowsPerMs = scenario.load * capacity(scenario);
  return traffic({ ...scenario.plan, seed, untilMs: UNTIL_MS, rowsPerMs });
}

/** The world of a scenario: a busy machine, or one in which nothing gets lost. */
export function worldOf(scenario: Scenario, seed: number, ideal = false): World {
  const runMs = scenario.runMs ?? affine;
  return {
    seed,
    slots: scenario.slots ?? 1,
    maxBatchRows: MAX_ROWS,
    runMs: (_, rows) => runMs(rows),
    noise: 0.08,
    pauses: 0.001,
    hopMs: ideal ? 0 : 0.2,
    timerMs: 1,
    ...scenario.world,
  };
}

/** Runs a scenario with the batcher, or with another policy. */
export function play(scenario: Scenario, seed: number, policy?: Policy, ideal = false): Outcome {
  const batcher = new Batcher({
    maxBatchRows: MAX_ROWS,
    queueRequestsMax: 2000,
    queueRowsMax: 4000,
    queueBytesMax: 100_000_000,
  });
  const world = worldOf(scenario, seed, ideal);
  const result = simulate(policy ?? batcher, requests(scenario, seed), world);
  const numbers = figures(result, FROM_MS, UNTIL_MS, world.slots);
  return { ...numbers, result, ofCapacity: numbers.goodput / capacity(scenario) };
}
