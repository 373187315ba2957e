// The batcher of one model version: earliest deadline first over shape buckets, nothing started that
// cannot end in time. No clock, no timers, no processes: a step is told the time and says what to do.

import { assert } from "../../base/assert.ts";
import { Demand } from "./demand.ts";
import { type Choice, largestThatFits, type Plan, Planner } from "./plan.ts";
import { Promises } from "./promise.ts";
import { type Entry, WaitingQueue } from "./queue.ts";
import * as refusal from "./refusals.ts";
import { RunTimes } from "./run-times.ts";
import { type Running, type Slot, Slots } from "./slots.ts";
import type {
  BatcherAction,
  BatcherEvent,
  BatcherLoad,
  BatcherOptions,
  BatchRequest,
  Refusal,
  Start,
  Surroundings,
} from "./types.ts";

const LEAD_MS = 2;
/** A batch that is handed over is decided: who comes later, with less time, waits for it. */
const LEAD_MAX_MS = 30;
const MEMORY_PATIENCE_MS = 10_000;
/** Memory that others hold is looked at so often when nobody says that it became free. */
const MEMORY_RETRY_MS = 10;
/** At most 0.5 % of answers may be late; pauses of the machine take part of that. */
const DEADLINE_QUANTILE = 0.998;
/** No timer is finer, and a tick that comes a hair too early would ask for another at once. */
const WAKE_STEP_MS = 0.05;

/**
 * Decides what runs when. Its state changes in place, for speed; what `step` answers depends on the
 * options, the events and surroundings so far and nothing else, so a run can be replayed exactly.
 */
export class Batcher {
  readonly #options: Required<BatcherOptions>;
  readonly #times: RunTimes;
  readonly #queue: WaitingQueue;
  readonly #slots: Slots;
  readonly #demand = new Demand();
  readonly #planner: Planner;
  readonly #promises: Promises;
  #actions: BatcherAction[] = [];
  #batch = 0;
  #pendingWakeMs = Number.POSITIVE_INFINITY;
  #wakeMs = Number.POSITIVE_INFINITY;

  constructor(options: BatcherOptions) {
    this.#options = {
      maxQueueDelayMs: 0,
      leadMs: LEAD_MS,
      memoryPatienceMs: MEMORY_PATIENCE_MS,
      deadlineQuantile: DEADLINE_QUANTILE,
      ...options,
    };
    const { maxBatchRows } = this.#options;
    this.#times = new RunTimes(this.#options.deadlineQuantile);
    this.#slots = new Slots(this.#options.deadlineQuantile);
    this.#queue = new WaitingQueue(this.#times, maxBatchRows);
    this.#planner = new Planner(this.#queue, this.#times, this.#slots, maxBatchRows);
    const known = {
      queue: this.#queue,
      times: this.#times,
      slots: this.#slots,
      demand: this.#demand,
    };
    this.#promises = new Promises(known, maxBatchRows);
  }

  /** Takes in an event. @returns what is to be done, in this order. */
  step(event: BatcherEvent, surroundings: Surroundings): BatcherAction[] {
    const { nowMs } = surroundings;
    this.#actions = [];
    if (nowMs >= this.#pendingWakeMs) this.#pendingWakeMs = Number.POSITIVE_INFINITY;
    this.#wakeMs = Number.POSITIVE_INFINITY;
    this.#take(event, surroundings);
    this.#dispatch(surroundings);
    this.#refuseLate(nowMs);
    this.#askToWake(nowMs);
    return this.#actions;
  }

  /** What waits and runs now. */
  load(nowMs: number): BatcherLoad {
    const { size: requests, rows, bytes } = this.#queue;
    return { requests, rows, bytes, running: this.#slots.running, backlogMs: this.#backlog(nowMs) };
  }

  #take(event: BatcherEvent, surroundings: Surroundings): void {
    const { nowMs } = surroundings;
    switch (event.kind) {
      case "arrive":
        this.#arrive(event.request, surroundings);
        return;
      case "cancel":
        this.#cancel(event.id);
        return;
      case "finished":
        this.#ended(this.#slots.end(event.batch, nowMs, event.tookMs), event.tookMs);
        return;
      case "failed":
        this.#slots.end(event.batch, nowMs, undefined);
        return;
      case "measured":
        this.#learn(event.bucket, event.elementsPerRow, event.rows, event.tookMs);
        return;
      case "slots":
        this.#slots.set(event.slots);
        return;
      case "tick":
    }
  }

  #arrive(request: BatchRequest, surroundings: Surroundings): void {
    const { nowMs } = surroundings;
    assert(!this.#slots.has(request.id), `request ${request.id} runs already`);
    assert(request.rows >= 1 && request.priority >= 1, "a request has rows and a priority");
    this.#count(request, nowMs);
    const full = refusal.queueFull(request, this.#queue, this.#options, () => this.#backlog(nowMs));
    if (full !== undefined) {
      this.#actions.push(full);
      return;
    }
    if (surroundings.fits(request.bucket, request.rows) === "never") {
      this.#actions.push(this.#tooLarge(request, surroundings));
      return;
    }
    const bucket = this.#queue.bucketOf(request);
    if (request.deadlineMs !== Number.POSITIVE_INFINITY) {
      const promised = this.#promises.of(request, bucket, nowMs);
      if (promised.finishMs > request.deadlineMs || promised.delaysOthers) {
        const backlogMs = this.#backlog(nowMs);
        const waiting = this.#queue.size;
        if (waiting === 0 && this.#slots.running === 0) {
          this.#times.refusedAlone(request.bucket, request.deadlineMs - nowMs, nowMs);
        }
        this.#actions.push(refusal.cannotBeMet(request, promised, waiting, nowMs, backlogMs));
        return;
      }
    }
    this.#queue.add(request, bucket);
  }

  /** Counts what is offered, also if it is refused. */
  #count(request: BatchRequest, nowMs: number): void {
    const profile = this.#times.profile(request.bucket);
    if (profile === undefined) return;
    profile.arrivals.add(request.rows, nowMs);
    const best = profile.bestRows(this.#options.maxBatchRows);
    this.#demand.add(request.priority, (request.rows * profile.meanMs(best)) / best, nowMs);
  }

  #cancel(id: number): void {
    const entry = this.#queue.get(id);
    if (entry !== undefined) {
      this.#refuse(entry, refusal.canceled(id));
      return;
    }
    // A batch that a process has goes on, also for nobody.
    this.#slots.leave(id);
  }

  #ended(running: Running | undefined, tookMs: number): void {
    if (running === undefined) return;
    const { bucket, elementsPerRow, rows } = running;
    this.#learn(bucket, elementsPerRow, rows, tookMs + this.#slots.gapMs);
  }

  #learn(bucket: string, elementsPerRow: number, rows: number, tookMs: number): void {
    const known = this.#times.profile(bucket) !== undefined;
    const { trust } = this.#times;
    this.#times.record(bucket, elementsPerRow, rows, tookMs);
    if (known && trust === this.#times.trust) this.#queue.refresh(bucket, elementsPerRow);
    else this.#queue.refreshAll();
  }

  /** The first of each level, as long as they are lost: they need not wait for a process to hear it. */
  #refuseLate(nowMs: number): void {
    const free = this.#slots.soonest(nowMs);
    for (let at = 0; at < this.#queue.levels.length; ) {
      const level = this.#queue.levels[at];
      const head = level?.entries[0];
      if (head === undefined) break;
      const { deadlineMs, rows } = head.request;
      if (deadlineMs === Number.POSITIVE_INFINITY) {
        at++;
        continue;
      }
      const finishMs = this.#planner.finishMs(head, rows, free);
      if (finishMs > deadlineMs) this.#refuseTooLate(head, finishMs, nowMs);
      else this.#wakeAt(nowMs + deadlineMs - finishMs + (free.atMs - nowMs));
      if (this.#queue.levels[at] === level && level?.entries[0] === head) at++;
    }
  }

  #refuseTooLate(entry: Entry, finishMs: number, nowMs: number): void {
    const backlogMs = this.#backlog(nowMs);
    this.#refuse(entry, refusal.tooLate(entry.request, finishMs, nowMs, backlogMs));
  }

  #dispatch(surroundings: Surroundings): void {
    const { nowMs } = surroundings;
    while (this.#queue.size > 0) {
      const slot = this.#slots.open(nowMs);
      if (slot === undefined) return;
      const leadMs = this.#leadMs;
      const earlyMs = this.#slots.freeAt(slot, nowMs, this.#times.earlyFactor).atMs - leadMs;
      if (earlyMs > nowMs) {
        this.#wakeAt(earlyMs);
        return;
      }
      const free = this.#slots.freeAt(slot, nowMs);
      const choice = this.#planner.next(slot, free, this.#overloaded(nowMs), surroundings);
      if (!this.#act(choice, slot, free.atMs - leadMs, surroundings)) return;
    }
  }

  /** A server that hears of an end late has to hand over the next batch earlier. */
  get #leadMs(): number {
    const { leadMs } = this.#options;
    const usual = this.#slots.usualNewsMs;
    return usual <= leadMs || leadMs === 0 ? leadMs : Math.min(usual, LEAD_MAX_MS);
  }

  /** Does what was chosen. @returns whether there may be more to do. */
  #act(choice: Choice, slot: Slot, dueMs: number, surroundings: Surroundings): boolean {
    const { nowMs } = surroundings;
    switch (choice.kind) {
      case "never":
        this.#refuse(choice.entry, this.#tooLarge(choice.entry.request, surroundings));
        return true;
      case "late":
        this.#refuseTooLate(choice.entry, choice.finishMs, nowMs);
        return true;
      case "sacrifice":
        this.#queue.remove(choice.entries);
        for (const { request } of choice.entries) {
          this.#actions.push(refusal.overloaded(request, nowMs, this.#backlog(nowMs)));
        }
        return true;
      case "nothing":
        return this.#block(choice.blocked, slot, false, nowMs);
      case "plan": {
        const untilMs = slot.batches.length === 0 ? this.#holdUntil(choice.plan) : dueMs;
        if (!choice.plan.full && untilMs > nowMs) {
          this.#wakeAt(untilMs);
          return false;
        }
        this.#block(choice.blocked, slot, true, nowMs);
        this.#start(choice.plan, slot, surroundings);
        return true;
      }
    }
  }

  /** Until when a batch that is not full may wait for more, its process being idle. */
  #holdUntil(plan: Plan): number {
    const { maxQueueDelayMs } = this.#options;
    if (maxQueueDelayMs <= 0) return Number.NEGATIVE_INFINITY;
    let until = Number.POSITIVE_INFINITY;
    for (const { request } of plan.entries) {
      const latest = request.deadlineMs - plan.meanMs - plan.spreadMs;
      until = Math.min(until, request.arrivedMs + maxQueueDelayMs, latest);
    }
    return until;
  }

  /** Requests for which there is no memory. @returns whether one of them was given up. */
  #block(blocked: readonly Entry[], slot: Slot, passed: boolean, nowMs: number): boolean {
    let gaveUp = false;
    let first = true;
    const { memoryPatienceMs } = this.#options;
    for (const entry of blocked) {
      entry.blockedSinceMs ??= nowMs;
      if (passed) entry.passed++;
      const endMs = entry.blockedSinceMs + memoryPatienceMs;
      if (endMs <= nowMs) {
        const text = refusal.memoryLater(
          entry.request,
          nowMs - entry.blockedSinceMs,
          this.#backlog(nowMs),
        );
        this.#refuse(entry, text);
        gaveUp = true;
        continue;
      }
      this.#wakeAt(Math.min(endMs, nowMs + MEMORY_RETRY_MS));
      // One at a time: room that is made for those behind it would be taken from the first.
      if (first) this.#actions.push({ kind: "blocked", id: entry.request.id, slot: slot.id });
      first = false;
    }
    return gaveUp;
  }

  #start(plan: Plan, slot: Slot, surroundings: Surroundings): void {
    const { nowMs } = surroundings;
    const requests = plan.entries.map((entry) => entry.request);
    const [head] = requests;
    if (head === undefined) return;
    this.#queue.start(plan.entries, plan.meanMs);
    const batch = ++this.#batch;
    const { bucket, elementsPerRow } = head;
    const running: Running = {
      batch,
      requests,
      bucket,
      elementsPerRow,
      rows: plan.rows,
      handedMs: nowMs,
      beginMs: this.#slots.freeAt(slot, nowMs).atMs,
      first: slot.batches.length === 0,
      meanMs: plan.meanMs,
      spreadMs: plan.spreadMs,
    };
    this.#slots.start(slot, running);
    const ids = requests.map((request) => request.id);
    const { rows, meanMs: expectedMs } = plan;
    const start: Start = { kind: "start", batch, slot: slot.id, ids, bucket, rows, expectedMs };
    this.#actions.push(start);
    surroundings.begins?.(start);
  }

  #refuse(entry: Entry, action: Refusal): void {
    this.#queue.remove([entry]);
    this.#actions.push(action);
  }

  #tooLarge(request: BatchRequest, surroundings: Surroundings): Refusal {
    const possible = (rows: number): "fits" | "never" =>
      rows === 0 || surroundings.fits(request.bucket, rows) !== "never" ? "fits" : "never";
    return refusal.memoryNever(request, largestThatFits(0, request.rows - 1, possible));
  }

  #overloaded(nowMs: number): boolean {
    return this.#demand.total(nowMs) > this.#slots.count;
  }

  /** How long all that runs and waits is expected to take. */
  #backlog(nowMs: number): number {
    const processes = Math.max(1, this.#slots.count);
    return this.#slots.soonest(nowMs).atMs - nowMs + this.#queue.workMs / processes;
  }

  #wakeAt(atMs: number): void {
    if (atMs < this.#wakeMs) this.#wakeMs = atMs;
  }

  /** Asks for a tick unless one is coming by then: a tick too many costs little, a new timer more. */
  #askToWake(nowMs: number): void {
    const atMs = Math.max(this.#wakeMs, nowMs) + WAKE_STEP_MS;
    if (!Number.isFinite(atMs) || atMs >= this.#pendingWakeMs) return;
    this.#pendingWakeMs = atMs;
    this.#actions.push({ kind: "wake", atMs });
  }
}
