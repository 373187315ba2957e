// One version of a model with its processes: the edge of its life (life.ts), which starts, warms, asks and
// ends them, and the queue (engine.ts), which outlives them.

import { present } from "../base/assert.ts";
import { SkipwayError } from "../base/errors.ts";
import type { ValueType } from "../graph/graph.ts";
import { isDigest } from "../registry/digest.ts";
import type { ChildSession } from "../runtime/child-process.ts";
import type { Tensors } from "../runtime/runner.ts";
import { causeOf, failureOf, hung, isBusy, loadFailed } from "./causes.ts";
import { Counters } from "./counters.ts";
import { Engine } from "./engine.ts";
import { type FailureReason, idOf, RequestError, requestErrorOf } from "./errors.ts";
import type { BatchingSettings, VersionCounts } from "./extensions.ts";
import { firstRuns, type Run } from "./first-runs.ts";
import { close, type Held, kill } from "./held-process.ts";
import type { HostParts, HostProcess, ModelStats, ServedModel } from "./hosting.ts";
import type { InferenceAnswer, InferenceCall, ServedVersion } from "./inference.ts";
import type { Invariance } from "./invariance.ts";
import { askKnown, type KnownAnswer, UNPROBED } from "./known-answer.ts";
import {
  ABSENT,
  type Cause,
  type CauseKind,
  isReady,
  type LifeAction,
  type LifeEvent,
  type LifeState,
  type Phase,
  phaseOf,
  stepLife,
} from "./life.ts";
import { Looks } from "./looks.ts";
import { Patience } from "./patience.ts";
import { shapesOf } from "./run-batch.ts";
import type { VersionMemory } from "./version-memory.ts";
import { statsOf } from "./version-readings.ts";

/** Between two looks at a process that does not answer. */
const SECOND_LOOK_MS = 200;

/** Serves one version. */
export class VersionHost implements ServedVersion {
  readonly model: ServedModel;
  readonly counters: Counters;
  readonly engine: Engine;
  readonly #parts: HostParts;
  readonly #memory: VersionMemory | undefined;
  readonly #patience: Patience;
  readonly #looks: Looks;
  readonly #held = new Map<number, Held>();
  readonly #restarts = new Map<CauseKind, number>();
  readonly #changed = new Set<() => void>();
  #life: LifeState = ABSENT;
  #known: KnownAnswer | undefined;
  #invariance: Invariance | undefined;
  /** Whether the first process has been warmed: what is learned then is kept. */
  #learned = false;
  #error: unknown;
  #wake: NodeJS.Timeout | undefined;
  #check: NodeJS.Timeout | undefined;
  #asking = false;

  constructor(model: ServedModel, parts: HostParts) {
    this.model = model;
    this.#parts = parts;
    this.#patience = new Patience(parts.settings.loadLimitMs);
    this.#looks = new Looks(parts.settings.probeEveryMs, parts.clock.monotonicMs());
    this.#known = model.probe;
    this.#invariance = parts.invariance;
    this.counters = parts.counters ?? new Counters(parts.clock);
    this.#memory = parts.memory?.(model, this);
    this.engine = new Engine({
      version: model.version,
      clock: parts.clock,
      decider: parts.decider(parts.settings),
      counters: this.counters,
      memory: this.#memory,
      held: parts.held,
      metrics: parts.metrics,
      report: parts.report,
    });
  }

  get name(): string {
    return this.model.name;
  }

  get version(): number {
    return this.model.version;
  }

  get digest(): string {
    return this.model.digest;
  }

  get inputs(): ReadonlyMap<string, ValueType> {
    return this.engine.model.inputs;
  }

  get outputs(): ReadonlyMap<string, ValueType> {
    return this.engine.model.outputs;
  }

  get ready(): boolean {
    return isReady(this.#life);
  }

  get phase(): Phase {
    return phaseOf(this.#life);
  }

  /** Why it is not ready. */
  get reason(): string | undefined {
    return this.#life.cause?.text;
  }

  /**
   * Loads, warms and asks; resolves when the version answers.
   *
   * @throws SkipwayError when it does not load or answers wrongly, `interrupted` when it is stopped meanwhile.
   */
  async start(): Promise<void> {
    this.#tell({ kind: "serve" });
    this.#check = setInterval(() => this.#lookAfter(), this.#looks.everyMs);
    this.#check.unref();
    await this.#until(() => !["loading", "warming", "probing"].includes(this.phase));
    if (this.phase === "ready") return;
    await this.#until(() => this.#life.processes.length === 0);
    if (this.#life.wanted !== "serve") {
      throw new SkipwayError("interrupted", `the load of ${this.name} was stopped`);
    }
    throw this.#error;
  }

  async infer(call: InferenceCall): Promise<InferenceAnswer> {
    const { clock } = this.#parts;
    const from = clock.monotonicMs();
    try {
      const answer = await this.engine.submit(call);
      // A copy for a shadow is no request of a client.
      if (call.background === true) return answer;
      const totalMs = clock.monotonicMs() - from;
      const rows = call.inputs.values().next().value?.shape[0] ?? 1;
      this.counters.answered({ rows, totalMs, queueMs: answer.phases.queueMs });
      return answer;
    } catch (error) {
      const refusal = requestErrorOf(error, call.signal);
      if (call.again?.(refusal) === true) this.#parts.metrics?.().retried(refusal.reason);
      else if (call.background !== true) {
        this.counters.failed(refusal.reason, clock.monotonicMs() - from);
      }
      throw refusal;
    }
  }

  /** Why nobody knows whether it answers rightly, if so. */
  get unprobed(): string | undefined {
    return this.#learned && this.#known === undefined ? UNPROBED : undefined;
  }

  /** Why what its requests take is not told by their shapes, if so. */
  get untold(): string | undefined {
    return this.#memory?.untold;
  }

  /** Why its requests are put together, or are not. */
  get invariance(): Invariance | undefined {
    return this.#invariance;
  }

  get batching(): BatchingSettings | undefined {
    if (!this.engine.model.batched) return undefined;
    const { maxBatchRows, maxQueueDelayMs } = this.#parts.settings;
    return { rowsMax: maxBatchRows, delayMaxUs: 1000 * maxQueueDelayMs };
  }

  counts(): VersionCounts {
    return this.counters.snapshot();
  }

  countFailure(reason: FailureReason): void {
    this.counters.failed(reason, 0);
  }

  /**
   * Exchanges a process, that which serves unless another is named: with a spare at once, else with a pause in which
   * requests wait. @returns whether it ends.
   */
  recycle(text: string, slot?: string): boolean {
    const id = slot === undefined ? this.#life.serving : Number(slot);
    const process = id === undefined ? {} : { process: id };
    this.#tell({ kind: "recycle", cause: { kind: "recycled", text }, ...process });
    return !this.#life.processes.some((one) => one.id === id && one.stage !== "ending");
  }

  /** Lets what waits and runs finish, for a time, then ends the processes. */
  async drain(limitMs: number): Promise<void> {
    this.#tell({ kind: "drain" });
    for (const { id } of this.#life.processes) this.#memory?.leaves(String(id));
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, limitMs);
    });
    // Without a process there is nothing that could be finished.
    if (this.#life.serving !== undefined) await Promise.race([this.engine.drained(), late]);
    clearTimeout(timer);
    this.#tell({ kind: "drained" });
    await this.stop();
  }

  /** Ends the processes now. */
  async stop(): Promise<void> {
    clearTimeout(this.#wake);
    clearInterval(this.#check);
    this.engine.close(`${this.name} version ${this.version} is not served any more`);
    this.#tell({ kind: "stop" });
    await this.#until(() => this.#life.processes.length === 0);
    this.#memory?.close();
  }

  stats(): ModelStats {
    return statsOf(this, this.#restarts);
  }

  /** Its processes: the one that serves, and another while one is kept or exchanged. */
  processes(): readonly HostProcess[] {
    return [...this.#held].flatMap(([id, { session }]) => {
      if (session === undefined) return [];
      const predictedBytes = this.#memory?.markOf(String(id));
      return [{ pid: session.pid, serves: id === this.#life.serving, predictedBytes }];
    });
  }

  #tell(event: LifeEvent): void {
    const { clock, settings, onState } = this.#parts;
    const before = this.#life;
    const how = { spare: settings.spare, background: this.#parts.background?.() === true };
    const { state, actions } = stepLife(before, event, clock.monotonicMs(), how);
    this.#life = state;
    for (const action of actions) this.#act(action);
    const lost = actions.find((one) => one.kind === "lost");
    if (lost !== undefined || phaseOf(before) !== phaseOf(state)) {
      this.#parts.report?.life(phaseOf(state), (lost?.cause ?? state.cause)?.kind);
    }
    if (phaseOf(before) !== phaseOf(state) || before.serving !== state.serving) onState?.();
    for (const resolve of [...this.#changed]) resolve();
  }

  #lost(process: number, cause: Cause): void {
    if (cause.kind === "stuck") {
      const options = { retryAfterSeconds: 1 };
      this.engine.lost(String(process), new RequestError(503, "process-died", cause.text, options));
    }
    if (this.#life.wanted !== "serve" && this.#life.serving === undefined) {
      // No other process will come: what waits here is asked of the one that serves in its place.
      this.engine.close(`${cause.text}, and its version is taken out of service`);
      return;
    }
    this.engine.explain(`${cause.text}; a new process is being started`);
    if (!this.#life.wasReady) return;
    this.#restarts.set(cause.kind, (this.#restarts.get(cause.kind) ?? 0) + 1);
    const who = `${this.name} version ${this.version}`;
    this.#parts.notice?.(`${who}: ${cause.text} (${cause.kind}); a new process is being started`);
    const metrics = this.#parts.metrics?.();
    metrics?.restarted(cause.kind);
    if (cause.kind === "out-of-memory") metrics?.outOfMemory("process-died");
  }

  #act(action: LifeAction): void {
    if (action.kind === "wake") {
      clearTimeout(this.#wake);
      const delay = Math.ceil(action.atMs - this.#parts.clock.monotonicMs());
      this.#wake = setTimeout(() => this.#tell({ kind: "tick" }), Math.max(0, delay));
      return;
    }
    const { kind, process } = action;
    if (kind === "start") {
      const held: Held = { session: undefined, abort: new AbortController(), askedMs: undefined };
      this.#held.set(process, held);
      void this.#load(process, held);
      return;
    }
    if (kind === "lost") {
      this.#lost(process, action.cause);
      return;
    }
    if (kind === "unroute") {
      this.engine.detach(String(process));
      return;
    }
    const held = present(this.#held.get(process), "actions are about processes that are there");
    if (kind === "kill" || kind === "close") this.#memory?.leaves(String(process));
    if (kind === "kill") kill(held);
    else if (kind === "close") void close(held);
    else {
      const session = present(held.session, "it has been loaded");
      if (kind === "route") this.engine.attach(String(process), session);
      else if (kind === "warm")
        void this.#work(process, "warmed", () => this.#warm(process, session));
      else void this.#work(process, "answered", () => this.#probeFirst(process, session));
    }
  }

  async #load(process: number, held: Held): Promise<void> {
    const { runner, settings, clock } = this.#parts;
    let timer: NodeJS.Timeout | undefined;
    try {
      const { digest, path } = this.model;
      await this.#memory?.open(String(process), held.abort.signal);
      timer = setTimeout(() => held.abort.abort(), this.#patience.limitMs("loaded"));
      const fromMs = clock.monotonicMs();
      const session = await runner.load(
        { path },
        {
          threads: settings.threads,
          // All memory of a run goes back: what a process holds is told by what it runs (docs/design/admission.md).
          ...(this.#memory && { arena: false, memoryPattern: true }),
          signal: held.abort.signal,
          ...(isDigest(digest) && { digest }),
        },
      );
      held.session = session;
      this.#patience.took("loaded", clock.monotonicMs() - fromMs);
      this.#memory?.loaded(String(process), session);
      void session.exited.then((exit) => {
        this.#held.delete(process);
        this.#memory?.gone(String(process));
        this.#tell({ kind: "exited", process, cause: causeOf(exit) });
      });
      if (held.abort.signal.aborted) kill(held);
      this.#tell({ kind: "loaded", process });
    } catch (error) {
      // Its process has been ended by the runner.
      this.#held.delete(process);
      this.#memory?.gone(String(process));
      this.#error = error;
      this.#tell({ kind: "exited", process, cause: loadFailed(error, this.model.path) });
    } finally {
      clearTimeout(timer);
    }
  }

  /** One step on the way to ready, which may take only so long. */
  async #work(
    process: number,
    done: "warmed" | "answered",
    work: () => Promise<void>,
  ): Promise<void> {
    const limitMs = this.#patience.limitMs(done);
    const fromMs = this.#parts.clock.monotonicMs();
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      const text = `no answer to a first question within ${Math.round(limitMs)} ms`;
      timer = setTimeout(() => reject(new SkipwayError("environment", text)), limitMs);
    });
    try {
      await Promise.race([work(), late]);
      this.#patience.took(done, this.#parts.clock.monotonicMs() - fromMs);
      this.#tell({ kind: done, process });
    } catch (error) {
      this.#error = error;
      this.#tell({ kind: "failed", process, cause: failureOf(error, this.model.path) });
    } finally {
      clearTimeout(timer);
    }
  }

  /** The first run of a process takes longer than the others. What the first process tells is kept. */
  async #warm(process: number, session: ChildSession): Promise<void> {
    const run = this.#aside(process, session);
    if (!this.#learned) await this.#learn(process, session, run);
    else if (this.#known !== undefined) await run(this.#known.inputs);
  }

  /** What only the first process is asked: what runs take, and whether rows keep to themselves. */
  async #learn(process: number, session: ChildSession, run: Run): Promise<void> {
    const facts = await this.#memory?.learn(String(process), session);
    const { inputs, outputs } = session;
    const { clock, settings } = this.#parts;
    const before = { known: this.#known, invariance: this.#invariance };
    const { known, invariance } = await firstRuns({ inputs, outputs, run }, before, {
      clock,
      ties: facts?.ties,
      compares: settings.maxBatchRows > 1,
    });
    this.#known = known;
    this.#invariance = invariance;
    const batched = this.#invariance?.invariant === true;
    this.engine.setModel({ inputs, outputs, batched, gates: facts?.gates });
    this.#learned = true;
  }

  async #probeFirst(process: number, session: ChildSession): Promise<void> {
    await this.#probe(this.#aside(process, session));
    this.#memory?.ready(String(process));
  }

  /** Runs outside of the queue, as soon as there is memory. */
  #aside(process: number, session: ChildSession): Run {
    return async (inputs) => {
      const over = await this.#memory?.hold(String(process), shapesOf({ inputs }));
      try {
        return await session.run(inputs);
      } finally {
        over?.();
      }
    };
  }

  async #probe(ask: (inputs: Tensors) => Promise<Tensors>): Promise<void> {
    const known = this.#known;
    if (known === undefined) return;
    const { report } = this.#parts;
    try {
      await askKnown(known, `${this.name} version ${this.version}`, ask);
      if (known.outputs !== undefined) report?.golden(true);
    } catch (error) {
      if (idOf(error) === "serve/probe-mismatch") report?.golden(false);
      throw error;
    }
  }

  /** Now and then: whether the processes still answer, and rightly. */
  #lookAfter(): void {
    const { stuckAfterMs } = this.#parts.settings;
    const look = this.#looks.look(this.#parts.clock.monotonicMs());
    if (look === undefined) return;
    const stuck = this.engine.stuckSlot(stuckAfterMs);
    if (stuck !== undefined) {
      // Once more after what may lie here unread: this process may have been held up for a shorter while.
      setTimeout(() => {
        if (this.engine.stuckSlot(stuckAfterMs) === stuck) this.#stuck(Number(stuck));
      }, SECOND_LOOK_MS).unref();
      return;
    }
    // A shadow that rests may be the candidate by now.
    if (this.#life.serving === undefined) this.#tell({ kind: "tick" });
    if (look === "ask") this.#askServing();
    for (const { id, stage } of this.#life.processes) {
      if (stage === "ready" && id !== this.#life.serving) this.#askSpare(id, look === "ask");
    }
  }

  #stuck(process: number): void {
    this.#tell({ kind: "failed", process, cause: hung(this.#parts.settings.stuckAfterMs) });
  }

  /** Through the queue, as a client would. That the queue is full says nothing about the process. */
  #askServing(): void {
    const process = this.#life.serving;
    if (process === undefined || this.#asking) return;
    this.#asking = true;
    const ask = async (inputs: Tensors): Promise<Tensors> =>
      (await this.engine.submit({ inputs, priority: 1, internal: true })).outputs;
    this.#probe(ask)
      .catch((error: unknown) => {
        if (this.#life.serving !== process || isBusy(error)) return;
        this.#tell({ kind: "failed", process, cause: failureOf(error, this.model.path) });
      })
      .finally(() => {
        this.#asking = false;
      });
  }

  /** Whether the last question to it was answered; asks another one where it is time. */
  #askSpare(process: number, due: boolean): void {
    const { clock, settings } = this.#parts;
    const held = this.#held.get(process);
    const session = held?.session;
    if (held === undefined || session === undefined) return;
    if (held.askedMs !== undefined) {
      if (clock.monotonicMs() - held.askedMs > settings.stuckAfterMs) this.#stuck(process);
      return;
    }
    if (!due) return;
    held.askedMs = clock.monotonicMs();
    this.#probe(this.#aside(process, session))
      .catch((error: unknown) =>
        this.#tell({ kind: "failed", process, cause: failureOf(error, this.model.path) }),
      )
      .finally(() => {
        held.askedMs = undefined;
      });
  }

  async #until(holds: () => boolean): Promise<void> {
    while (!holds()) {
      await new Promise<void>((resolve) => {
        const once = (): void => {
          this.#changed.delete(once);
          resolve();
        };
        this.#changed.add(once);
      });
    }
  }
}
