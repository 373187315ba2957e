// Between the requests of one version and its process: carries out what the batcher decides. Requests wait
// here, also while the process is exchanged; batches go to the process and their answers back to who asked.

import { present } from "../base/assert.ts";
import type { Clock } from "../base/clock.ts";
import { SkipwayError } from "../base/errors.ts";
import type { ChildSession } from "../runtime/child-process.ts";
import { checkFeeds, checkFetches } from "../runtime/feeds.ts";
import { datatypeOf } from "../wire/datatype.ts";
import type {
  BatcherEvent,
  BatcherLoad,
  BatchRequest,
  MemoryFit,
  Refusal,
  Start,
  Surroundings,
} from "./batcher/types.ts";
import { BucketForms } from "./bucket-forms.ts";
import {
  batchOf,
  type EngineModel,
  type EngineOptions,
  isOwn,
  type Pending,
  type Running,
  type Slot,
  tellWait,
} from "./engine-parts.ts";
import { idOf, isDeath, isOutOfMemory, RequestError, requestErrorOf } from "./errors.ts";
import type { BatchOf, InferenceAnswer, InferenceCall } from "./inference.ts";
import { type Question, questionOf } from "./question.ts";
import { type Computed, compute, endedBy, refusalOf, withdrawal } from "./run-batch.ts";
import { tellPhases } from "./tracing.ts";

/** Default levels of the schedule policy extension: 1 to 5, what is left out is in the middle. */
const LEVEL_DEFAULT = 3;
const LEVEL_LAST = 5;
/** How long requests wait for a process that is being restarted. */
const PATIENCE_MS = 15_000;
/** How long a run may still take whose requests are withdrawn: this, or three times what it is expected to. */
const WITHDRAWN_MS = 500;

/** The queue of one version. */
export class Engine {
  readonly #options: EngineOptions;
  readonly #clock: Clock;
  readonly #patienceMs: number;
  readonly #pending = new Map<number, Pending>();
  readonly #running = new Map<number, Running>();
  readonly #slots = new Map<string, Slot>();
  /** Bytes of batches that begin in this step. */
  readonly #admitted = new Map<number, number>();
  readonly #forms = new BucketForms();
  #model: EngineModel = { inputs: new Map(), outputs: new Map(), batched: false };
  #nextId = 1;
  #timer: NodeJS.Timeout | undefined;
  #patience: NodeJS.Timeout | undefined;
  /** When the last process was lost; until there is one. */
  #downSinceMs: number;
  #downBecause: string | undefined;
  #closed = false;
  /** The request that comes in this step. */
  #entering: number | undefined;
  #withdrawals = 0;
  readonly #idle: (() => void)[] = [];
  /** What the batcher may ask and is to tell during a step. */
  readonly #around: Required<Omit<Surroundings, "nowMs">> = {
    fits: (bucket, rows, slot) => this.#fits(bucket, rows, slot),
    begins: (start) => this.#begins(start),
  };

  constructor(options: EngineOptions) {
    this.#options = options;
    this.#clock = options.clock;
    this.#patienceMs = options.patienceMs ?? PATIENCE_MS;
    this.#downSinceMs = this.#clock.monotonicMs();
    options.memory?.whenFree(() => this.#step({ kind: "tick" }));
  }

  get model(): EngineModel {
    return this.#model;
  }

  setModel(model: EngineModel): void {
    this.#model = model;
  }

  /** What waits and what runs. */
  load(): BatcherLoad {
    return this.#options.decider.load(this.#clock.monotonicMs());
  }

  /** How long the oldest request that no process has yet waits. Milliseconds. */
  oldestWaitMs(): number {
    const arrived = this.#waiting().map((one) => one.request.arrivedMs);
    return arrived.length === 0 ? 0 : this.#clock.monotonicMs() - Math.min(...arrived);
  }

  /** Whether nothing waits and nothing runs. */
  get idle(): boolean {
    return this.#pending.size === 0;
  }

  /** A process takes batches from now on. */
  attach(slot: string, session: ChildSession): void {
    clearTimeout(this.#patience);
    this.#patience = undefined;
    this.#downBecause = undefined;
    this.#slots.set(slot, { session, freeMs: this.#clock.monotonicMs() });
    this.#step({ kind: "slots", slots: [...this.#slots.keys()] });
  }

  /**
   * A process takes no batches any more. One that is alive finishes what it has; of one that died, what it
   * computed is lost, and what only waited in its pipe goes to the next.
   */
  detach(slot: string, death?: { readonly error: unknown }): void {
    if (!this.#slots.delete(slot)) return;
    if (this.#slots.size === 0) this.#down();
    if (death === undefined) this.#step({ kind: "slots", slots: [...this.#slots.keys()] });
    else this.lost(slot, death.error);
  }

  /** What a process has is lost with it, and why: its first batch gets the error, what waited behind goes on. */
  lost(slot: string, error: unknown): void {
    const lost = [...this.#running.values()].filter((one) => one.slot === slot);
    for (const one of lost) this.#forget(one);
    const [ran] = lost;
    if (ran !== undefined) this.#tellFailure(ran, error, ran.sentMs);
    this.#step({ kind: "slots", slots: [...this.#slots.keys()] });
    const batch = ran && batchOf(ran, this.#pending);
    for (const [i, { members }] of lost.entries()) {
      for (const one of members) {
        if (i === 0) this.#fail(one, requestErrorOf(error, one.call.signal), batch);
        else this.#again(one, one.request.batchable);
      }
    }
  }

  /** Why there is no process, for those who are refused meanwhile. */
  explain(reason: string): void {
    this.#downBecause = reason;
  }

  /** Asks the model. @throws RequestError, at once or as a rejection */
  submit(call: InferenceCall): Promise<InferenceAnswer> {
    const fromMs = this.#clock.monotonicMs();
    this.#check(call);
    const question = this.#measured(call);
    const planned = this.#options.memory?.prepare(this.#forms.of(question, call).shapes);
    if (planned === undefined) return this.#submit(call, question, fromMs);
    return this.#submitPlanned(call, planned, fromMs);
  }

  async #submitPlanned(
    call: InferenceCall,
    planned: Promise<void>,
    fromMs: number,
  ): Promise<InferenceAnswer> {
    const withdrawals = this.#withdrawals;
    await planned;
    this.#check(call);
    if (call.again !== undefined && withdrawals !== this.#withdrawals) throw withdrawal();
    return this.#submit(call, this.#measured(call), fromMs);
  }

  #measured({ inputs, outputs }: InferenceCall): Question {
    return questionOf(this.#model.inputs, inputs, outputs, this.#model.batched);
  }

  #submit(call: InferenceCall, question: Question, fromMs: number): Promise<InferenceAnswer> {
    return new Promise((resolve, reject) => {
      const { signal } = call;
      const priority =
        call.priority === undefined || call.priority === 0 ? LEVEL_DEFAULT : call.priority;
      const request: BatchRequest = {
        id: this.#nextId++,
        rows: question.rows,
        bytes: question.bytes,
        bucket: question.bucket,
        elementsPerRow: question.elementsPerRow,
        arrivedMs: this.#clock.monotonicMs(),
        deadlineMs: call.deadlineMs ?? Number.POSITIVE_INFINITY,
        priority: Math.min(
          Math.max(1, priority),
          call.background === true ? LEVEL_LAST + 1 : LEVEL_LAST,
        ),
        batchable: question.batchable,
      };
      call.observe?.phase("admit", fromMs, request.arrivedMs);
      const full = call.internal ? undefined : this.#options.held?.waitRefusal(request.bytes);
      if (full !== undefined) return reject(full);
      const cancel = (): void => {
        tellWait(pending, this.#clock.monotonicMs());
        // Also one that runs already: nobody waits for its answer any more.
        this.#fail(pending, endedBy(signal));
        this.#step({ kind: "cancel", id: request.id });
      };
      const settle = (): void => {
        signal?.removeEventListener("abort", cancel);
        this.#leave(pending);
      };
      signal?.addEventListener("abort", cancel, { once: true });
      const pending: Pending = {
        request,
        call,
        question,
        startedMs: request.arrivedMs,
        resolve: (answer) => {
          settle();
          resolve(answer);
        },
        reject: (error) => {
          settle();
          reject(error);
        },
      };
      this.#enter(pending);
    });
  }

  /**
   * Gives up the requests that another version can be asked: those that wait at once, and those that run as soon as
   * their run takes longer than it ought to.
   */
  withdraw(): void {
    this.#withdrawals++;
    const movable = (one: Pending): boolean => one.call.again !== undefined;
    for (const one of this.#waiting().filter(movable)) this.#end(one, withdrawal());
    for (const { members, expectedMs } of this.#running.values()) {
      const left = members.filter(movable);
      if (left.length === 0) continue;
      const end = (): void => {
        for (const one of left) this.#end(one, withdrawal());
      };
      setTimeout(end, Math.max(WITHDRAWN_MS, 3 * expectedMs)).unref();
    }
  }

  /** Resolves once nothing waits and nothing runs. */
  async drained(): Promise<void> {
    if (this.#pending.size === 0) return;
    await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  /** Refuses what still waits, and whatever comes. */
  close(reason: string): void {
    this.#closed = true;
    this.#downBecause = reason;
    clearTimeout(this.#timer);
    clearTimeout(this.#patience);
    for (const one of this.#waiting()) this.#fail(one, this.#unavailable());
  }

  /**
   * The slot whose process has computed for longer than it may without an answer: the limit, or ten times
   * what its run is expected to take where that is longer.
   */
  stuckSlot(limitMs: number): string | undefined {
    const now = this.#clock.monotonicMs();
    for (const [name, slot] of this.#slots) {
      const first = [...this.#running.values()].find((one) => one.slot === name);
      if (first === undefined) continue;
      const since = Math.max(first.sentMs, slot.freeMs);
      if (now - since > Math.max(limitMs, 10 * first.expectedMs)) return name;
    }
    return undefined;
  }

  /** @throws RequestError where it is wrong, or nobody is there to answer. */
  #check({ inputs, outputs, signal }: InferenceCall): void {
    if (signal?.aborted) throw endedBy(signal);
    const down = this.#slots.size === 0;
    const waited = this.#clock.monotonicMs() - this.#downSinceMs;
    if (this.#closed || (down && waited > this.#patienceMs)) throw this.#unavailable();
    const faults = checkFeeds(this.#model.inputs, inputs, datatypeOf);
    faults.push(...checkFetches(this.#model.outputs, outputs));
    if (faults.length > 0) throw requestErrorOf(SkipwayError.fromDiagnostics("input", faults));
  }

  #unavailable(): RequestError {
    const text = this.#downBecause ?? "the model's process is being restarted";
    return new RequestError(503, "not-ready", text, { retryAfterSeconds: 1 });
  }

  #enter(pending: Pending): void {
    const { request, call, question } = pending;
    this.#pending.set(request.id, pending);
    if (call.internal !== true) this.#options.held?.add(request.bytes);
    this.#forms.enter(question, call);
    this.#entering = request.id;
    this.#step({ kind: "arrive", request });
    this.#entering = undefined;
  }

  #leave({ request: { id, bucket, bytes }, call }: Pending): void {
    this.#pending.delete(id);
    if (call.internal !== true) this.#options.held?.add(-bytes);
    this.#options.memory?.left(id);
    this.#forms.leave(bucket);
    if (this.#pending.size > 0) return;
    for (const resolve of this.#idle.splice(0)) resolve();
  }

  /** Puts a request that has not been computed back into the queue. */
  #again(pending: Pending, batchable: boolean): void {
    // Given up while it ran, by its client or by a withdrawal.
    if (!this.#pending.has(pending.request.id)) return;
    if (this.#closed) {
      this.#fail(pending, this.#unavailable());
      return;
    }
    const request = { ...pending.request, batchable };
    this.#step({ kind: "arrive", request });
  }

  #step(event: BatcherEvent): void {
    const nowMs = this.#clock.monotonicMs();
    const { fits, begins } = this.#around;
    const actions = this.#options.decider.step(event, { nowMs, fits, begins });
    for (const action of actions) {
      if (action.kind === "start") this.#start(action);
      else if (action.kind === "refuse") this.#refuse(action);
      else if (action.kind === "blocked") this.#blocked(action.id, action.slot);
      else if (action.kind === "wake") this.#wake(action.atMs);
    }
  }

  #fits(bucket: string, rows: number, slot: string | undefined): MemoryFit {
    const form = this.#forms.get(bucket);
    return (form && this.#options.memory?.fits(form, rows, slot)) ?? "fits";
  }

  #wake(atMs: number): void {
    clearTimeout(this.#timer);
    const delay = Math.max(0, Math.ceil(atMs - this.#clock.monotonicMs()));
    this.#timer = setTimeout(() => this.#step({ kind: "tick" }), delay);
  }

  #begins({ batch, ids, bucket, rows, slot }: Start): void {
    const { memory } = this.#options;
    const form = this.#forms.get(bucket);
    if (memory === undefined || form === undefined) return;
    const bytes = memory.begin(batch, form, rows, slot);
    if (bytes !== undefined) this.#admitted.set(batch, bytes);
    for (const id of ids) memory.left(id);
  }

  #blocked(id: number, slot: string): void {
    const request = this.#pending.get(id)?.request;
    const form = this.#forms.get(request?.bucket ?? "");
    if (request === undefined || form === undefined) return;
    this.#options.memory?.waits(id, form, request.rows, slot);
  }

  #refuse(refusal: Refusal): void {
    const pending = this.#pending.get(refusal.id);
    if (pending === undefined) return;
    const { bucket, rows } = pending.request;
    const form = refusal.reason === "memory-never" ? this.#forms.get(bucket) : undefined;
    const text = (form && this.#options.memory?.explain(form, rows)) ?? refusal.text;
    // Who is refused at the door has not waited.
    if (refusal.id !== this.#entering) tellWait(pending, this.#clock.monotonicMs());
    pending.reject(refusalOf({ ...refusal, text }));
  }

  #fail(pending: Pending, error: RequestError, batch?: BatchOf): void {
    error.batch = batch;
    // It may wait in the batcher still: an answer without a question would be an error there.
    if (this.#pending.has(pending.request.id)) pending.reject(error);
  }

  /** Fails a request wherever it is, and has the batcher forget it. */
  #end(pending: Pending, error: RequestError): void {
    const { id } = pending.request;
    if (!this.#pending.has(id)) return;
    this.#fail(pending, error);
    this.#step({ kind: "cancel", id });
  }

  #start({ batch, slot, ids, rows, bucket, expectedMs }: Start): void {
    const { session } = present(this.#slots.get(slot), "batches go to processes that are there");
    const sentMs = this.#clock.monotonicMs();
    const members = ids.map((id) =>
      present(this.#pending.get(id), "batches are of requests that wait"),
    );
    for (const one of members) one.startedMs = sentMs;
    const bytes = this.#admitted.get(batch);
    this.#admitted.delete(batch);
    const number = this.#options.counters.nextBatch();
    const of = { batch, number, bucket, slot, members, rows };
    const running: Running = { ...of, sentMs, expectedMs, bytes };
    this.#running.set(batch, running);
    compute(
      session,
      members.map((one) => one.call),
      this.#model.gates,
    ).then(
      (computed) => this.#finished(running, computed),
      (error: unknown) => this.#failed(running, error),
    );
  }

  #forget({ batch }: Running): void {
    this.#running.delete(batch);
    this.#options.memory?.end(batch);
  }

  #finished(running: Running, { answers, inferMs, gates }: Computed): void {
    if (!this.#running.has(running.batch)) return;
    const now = this.#clock.monotonicMs();
    const slot = this.#slots.get(running.slot);
    const tookMs = now - Math.max(running.sentMs, slot?.freeMs ?? 0);
    if (slot !== undefined) slot.freeMs = now;
    this.#forget(running);
    const { counters, version } = this.#options;
    // The next batch goes out before the answers of this one are written.
    if (slot !== undefined)
      this.#step({ kind: "finished", batch: running.batch, tookMs: inferMs ?? tookMs });
    const batch = batchOf(running, this.#pending);
    for (const [i, one] of running.members.entries()) {
      if (!this.#pending.has(one.request.id)) continue;
      const queueMs = running.sentMs - one.request.arrivedMs;
      tellPhases(one.call.observe, running, { queueMs, tookMs, inferMs, endMs: now });
      one.resolve({
        outputs: present(answers[i], "an answer for each member"),
        version,
        ...batch,
        phases: { queueMs, computeMs: now - running.sentMs },
      });
      one.call.observe?.phase("split", now, this.#clock.monotonicMs());
    }
    // Questions of the server's own are no traffic.
    if (isOwn(running)) return;
    const inside = Math.min(tookMs, inferMs ?? tookMs);
    counters.ran({
      rows: running.rows,
      requests: batch.batchRequests,
      inputMs: tookMs - inside,
      inferMs: inside,
      outputMs: this.#clock.monotonicMs() - now,
    });
    const { rows, bytes, bucket } = running;
    this.#options.report?.batch({ bucket, rows, bytes, executeMs: inside, outcome: "good" });
    const metrics = this.#options.metrics?.();
    metrics?.batch({ rows, bytes, startMs: now - tookMs, endMs: now });
    for (const one of gates) metrics?.gated(one.gate, one.rows, one.skipped);
  }

  #failed(running: Running, error: unknown): void {
    if (!this.#running.has(running.batch)) return;
    if (isDeath(error)) {
      if (this.#slots.has(running.slot)) this.detach(running.slot, { error });
      else this.lost(running.slot, error);
      return;
    }
    const slot = this.#slots.get(running.slot);
    const sinceMs = Math.max(running.sentMs, slot?.freeMs ?? 0);
    if (slot !== undefined) slot.freeMs = this.#clock.monotonicMs();
    this.#forget(running);
    if (slot !== undefined) this.#step({ kind: "failed", batch: running.batch });
    this.#tellFailure(running, error, sinceMs);
    const alone = running.members.length === 1;
    const batch = batchOf(running, this.#pending);
    if (isOutOfMemory(error)) this.#options.metrics?.().outOfMemory("allocation");
    if (idOf(error) === "runtime/not-batchable") this.#model = { ...this.#model, batched: false };
    for (const one of running.members) {
      // One bad request must not fail the others of its batch: each gets its own run.
      if (alone) this.#fail(one, requestErrorOf(error, one.call.signal), batch);
      else this.#again(one, false);
    }
  }

  #tellFailure(running: Running, error: unknown, sinceMs: number): void {
    if (isOwn(running)) return;
    const { rows, bucket } = running;
    const outcome = requestErrorOf(error).outOfMemory ? "out-of-memory" : "failed";
    const executeMs = this.#clock.monotonicMs() - sinceMs;
    this.#options.report?.batch({ bucket, rows, executeMs, outcome });
  }

  /** Nobody takes batches: those who wait are refused once it takes too long. */
  #down(): void {
    this.#downSinceMs = this.#clock.monotonicMs();
    clearTimeout(this.#patience);
    this.#patience = setTimeout(() => {
      for (const one of this.#waiting()) this.#end(one, this.#unavailable());
    }, this.#patienceMs);
  }

  /** What no process has. */
  #waiting(): Pending[] {
    const running = new Set([...this.#running.values()].flatMap(({ members }) => members));
    return [...this.#pending.values()].filter((one) => !running.has(one));
  }
}
