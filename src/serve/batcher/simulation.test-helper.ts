// Batchers in simulated time: requests come from generated traffic, processes take noisy times, news and
// timers are late as they are in a real server. Every promise of the batcher is checked on the way.

import { Random } from "../../base/random.ts";
import type {
  BatcherAction,
  BatcherEvent,
  BatchRequest,
  MemoryFit,
  Start,
  Surroundings,
} from "./types.ts";

/** Anything that decides as the batcher does. */
export interface Policy {
  step(event: BatcherEvent, surroundings: Surroundings): BatcherAction[];
}

/** A request of the traffic, and when its client gives up on it. */
export interface Arrival {
  readonly request: BatchRequest;
  readonly cancelMs?: number;
}

/** The world around a batcher. */
export interface World {
  readonly seed: number;
  readonly slots: number;
  readonly maxBatchRows: number;
  /** True time of a run without noise. */
  runMs(bucket: string, rows: number): number;
  /** Standard deviation of the logarithm of a run's time. */
  readonly noise: number;
  /** Share of runs that take three times as long. */
  readonly pauses: number;
  /** Time between a decision and its process, and between the end of a run and the news of it. */
  readonly hopMs: number;
  /** What else runs on the machine stops a process, at random times; by how often a second and how long on average. */
  readonly stalls?: readonly { readonly perSecond: number; readonly meanMs: number }[];
  /** How much later a server that has its hands full hears of an end or of its timers, on average. */
  readonly lateNewsMs?: number;
  /** The first runs take so many times as long. */
  readonly slowFirst?: { readonly runs: number; readonly times: number };
  /** Ticks come at whole multiples of this. */
  readonly timerMs: number;
  fits?(bucket: string, rows: number, nowMs: number): MemoryFit;
}

/** What became of a request. */
export interface Outcome {
  readonly request: BatchRequest;
  kind: "waiting" | "running" | "answered" | "canceled" | "refused" | "abandoned";
  reason?: string;
  startedMs?: number;
  endMs?: number;
}

/** A simulation's end. */
export interface Result {
  readonly outcomes: ReadonlyMap<number, Outcome>;
  readonly batches: readonly { readonly start: Start; readonly atMs: number }[];
  /** Everything that the policy asked for, in order. */
  readonly actions: readonly BatcherAction[];
  readonly busyMs: number;
  readonly endMs: number;
  readonly faults: readonly string[];
  readonly steps: number;
}

type Happening =
  | BatcherEvent
  | { readonly kind: "begin"; readonly slot: string }
  | { readonly kind: "end"; readonly slot: string };

/** Happenings by time, then as they were put in. */
class Agenda {
  readonly #heap: { at: number; order: number; what: Happening }[] = [];
  #order = 0;

  put(at: number, what: Happening): void {
    const heap = this.#heap;
    const item = { at, order: this.#order++, what };
    let i = heap.length;
    heap.push(item);
    while (i > 0) {
      const parent = (i - 1) >> 1;
      const above = heap[parent];
      if (above === undefined || !before(item, above)) break;
      heap[i] = above;
      i = parent;
    }
    heap[i] = item;
  }

  take(): { at: number; what: Happening } | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const item = heap.pop();
    if (item === undefined || first === undefined || heap.length === 0) return first;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      const [left, right] = [heap[child], heap[child + 1]];
      if (left === undefined) break;
      if (right !== undefined && before(right, left)) child++;
      const least = heap[child];
      if (least === undefined || !before(least, item)) break;
      heap[i] = least;
      i = child;
    }
    heap[i] = item;
    return first;
  }
}

interface Due {
  readonly at: number;
  readonly order: number;
}

function before(a: Due, b: Due): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}

/** One process: batches run one after the other. */
interface Process {
  readonly handed: { start: Start; handedMs: number }[];
  running: boolean;
  beganMs: number;
  /** When the news of its last end is read: news stay in order. */
  newsMs: number;
}

/** Runs a policy over traffic until everything is done. */
export function simulate(policy: Policy, traffic: readonly Arrival[], world: World): Result {
  return new Simulation(policy, traffic, world).run();
}

class Simulation {
  readonly #policy: Policy;
  readonly #world: World;
  readonly #random: Random;
  readonly #agenda = new Agenda();
  readonly #processes = new Map<string, Process>();
  readonly #outcomes = new Map<number, Outcome>();
  readonly #batches: { start: Start; atMs: number }[] = [];
  readonly #actions: BatcherAction[] = [];
  readonly #faults: string[] = [];
  #busyMs = 0;
  #steps = 0;

  constructor(policy: Policy, traffic: readonly Arrival[], world: World) {
    this.#policy = policy;
    this.#world = world;
    this.#random = new Random(world.seed, 77);
    const slots = Array.from({ length: world.slots }, (_, i) => `p${i}`);
    for (const id of slots)
      this.#processes.set(id, { handed: [], running: false, beganMs: 0, newsMs: 0 });
    this.#agenda.put(0, { kind: "slots", slots });
    for (const { request, cancelMs } of traffic) {
      this.#agenda.put(request.arrivedMs, { kind: "arrive", request });
      if (cancelMs !== undefined) this.#agenda.put(cancelMs, { kind: "cancel", id: request.id });
    }
  }

  run(): Result {
    let endMs = 0;
    for (let next = this.#agenda.take(); next !== undefined; next = this.#agenda.take()) {
      endMs = next.at;
      this.#happen(next.what, next.at);
    }
    for (const { request, kind } of this.#outcomes.values()) {
      if (kind === "waiting" || kind === "running")
        this.#faults.push(`${request.id} is ${kind} at the end`);
    }
    return {
      outcomes: this.#outcomes,
      batches: this.#batches,
      actions: this.#actions,
      busyMs: this.#busyMs,
      endMs,
      faults: this.#faults,
      steps: this.#steps,
    };
  }

  #happen(what: Happening, nowMs: number): void {
    if (what.kind === "begin") this.#begin(what.slot, nowMs);
    else if (what.kind === "end") this.#end(what.slot, nowMs);
    else {
      if (what.kind === "arrive") {
        this.#outcomes.set(what.request.id, { request: what.request, kind: "waiting" });
      }
      if (what.kind === "cancel") this.#leave(what.id);
      this.#step(what, nowMs);
    }
  }

  /** A client gives up on what runs already; what waits is answered by the policy. */
  #leave(id: number): void {
    const outcome = this.#outcomes.get(id);
    if (outcome?.kind === "running") outcome.kind = "abandoned";
  }

  #step(event: BatcherEvent, nowMs: number): void {
    this.#steps++;
    const fits = (bucket: string, rows: number): MemoryFit =>
      this.#world.fits?.(bucket, rows, nowMs) ?? "fits";
    for (const action of this.#policy.step(event, { nowMs, fits })) {
      this.#actions.push(action);
      this.#do(action, nowMs, fits);
    }
  }

  #do(action: BatcherAction, nowMs: number, fits: Surroundings["fits"]): void {
    switch (action.kind) {
      case "wake": {
        const { timerMs } = this.#world;
        const atMs = Math.ceil(action.atMs / timerMs) * timerMs;
        this.#agenda.put(atMs + this.#lateMs(), { kind: "tick" });
        return;
      }
      case "refuse": {
        const outcome = this.#outcomes.get(action.id);
        if (outcome?.kind !== "waiting")
          this.#faults.push(`${action.id} is refused but ${outcome?.kind}`);
        if (outcome === undefined) return;
        outcome.kind = action.reason === "canceled" ? "canceled" : "refused";
        outcome.reason = action.reason;
        outcome.endMs = nowMs;
        return;
      }
      case "start":
        this.#start(action, nowMs, fits);
        return;
      default:
    }
  }

  #start(start: Start, nowMs: number, fits: Surroundings["fits"]): void {
    this.#batches.push({ start, atMs: nowMs });
    let rows = 0;
    for (const id of start.ids) {
      const outcome = this.#outcomes.get(id);
      if (outcome?.kind !== "waiting") this.#faults.push(`${id} starts but is ${outcome?.kind}`);
      if (outcome === undefined) continue;
      outcome.kind = "running";
      outcome.startedMs = nowMs;
      rows += outcome.request.rows;
      if (outcome.request.bucket !== start.bucket) this.#faults.push(`${id} is of another bucket`);
      if (!outcome.request.batchable && start.ids.length > 1)
        this.#faults.push(`${id} is not alone`);
    }
    if (rows !== start.rows)
      this.#faults.push(`batch ${start.batch} says ${start.rows} rows, not ${rows}`);
    if (rows > this.#world.maxBatchRows && start.ids.length > 1)
      this.#faults.push(`${rows} rows in a batch`);
    if (fits(start.bucket, rows) !== "fits")
      this.#faults.push(`batch ${start.batch} has no memory`);
    const process = this.#processes.get(start.slot);
    if (process === undefined) {
      this.#faults.push(`no process ${start.slot}`);
      return;
    }
    process.handed.push({ start, handedMs: nowMs });
    if (process.handed.length > 2) this.#faults.push(`${start.slot} has more than two batches`);
    this.#agenda.put(nowMs + this.#world.hopMs, { kind: "begin", slot: start.slot });
  }

  /** The first batch that has come to the process begins if the process is idle. */
  #begin(slot: string, nowMs: number): void {
    const process = this.#processes.get(slot);
    const [first] = process?.handed ?? [];
    if (process === undefined || process.running || first === undefined) return;
    if (first.handedMs + this.#world.hopMs > nowMs) return;
    process.running = true;
    process.beganMs = nowMs;
    const tookMs = this.#runMs(first.start);
    this.#agenda.put(nowMs + tookMs, { kind: "end", slot });
  }

  #runMs({ bucket, rows, batch }: Start): number {
    const { noise, pauses, runMs, stalls = [], slowFirst } = this.#world;
    const pause = this.#random.uniform() < pauses ? 3 : 1;
    const factor = Math.exp(noise * this.#random.normal()) * pause;
    const slow = slowFirst !== undefined && batch <= slowFirst.runs ? slowFirst.times : 1;
    const ownMs = runMs(bucket, rows) * factor * slow;
    let tookMs = ownMs;
    for (const { perSecond, meanMs } of stalls) {
      for (let at = this.#wait(1000 / perSecond); at < ownMs; at += this.#wait(1000 / perSecond)) {
        tookMs += this.#wait(meanMs);
      }
    }
    return tookMs;
  }

  #lateMs(): number {
    const { lateNewsMs } = this.#world;
    return lateNewsMs === undefined ? 0 : this.#wait(lateNewsMs);
  }

  /** Exponential. */
  #wait(meanMs: number): number {
    return -meanMs * Math.log(1 - this.#random.uniform());
  }

  #end(slot: string, nowMs: number): void {
    const process = this.#processes.get(slot);
    const done = process?.handed.shift();
    if (process === undefined || done === undefined) return;
    const tookMs = nowMs - process.beganMs;
    this.#busyMs += tookMs;
    process.running = false;
    process.newsMs = Math.max(process.newsMs, nowMs + this.#world.hopMs + this.#lateMs());
    for (const id of done.start.ids) {
      const outcome = this.#outcomes.get(id);
      if (outcome === undefined) continue;
      outcome.endMs = process.newsMs;
      if (outcome.kind === "running") outcome.kind = "answered";
    }
    this.#begin(slot, nowMs);
    const finished: BatcherEvent = { kind: "finished", batch: done.start.batch, tookMs };
    this.#agenda.put(process.newsMs, finished);
  }
}
