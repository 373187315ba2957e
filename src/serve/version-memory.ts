// Memory of one version: its processes in the ledger, what its requests take, and the runs outside of its queue that
// need room as well (calibration, warming, probes).

import { statSync } from "node:fs";
import { diagnostic } from "../base/diagnostic.ts";
import { SkipwayError } from "../base/errors.ts";
import { formatBytes } from "../base/format.ts";
import { isDigest } from "../registry/digest.ts";
import type { ChildSession } from "../runtime/child-process.ts";
import { memoryOf } from "../runtime/memory-probe.ts";
import { batchAxisOf, type InputShapes, withRows } from "./admission/batch-axis.ts";
import { whatWouldFit } from "./admission/budget.ts";
import { calibrate } from "./admission/calibrate.ts";
import type { Reclaim } from "./admission/ledger.ts";
import { memoryModelOf } from "./admission/memory-model.ts";
import { PlanTable } from "./admission/plan-table.ts";
import type { MemoryFit } from "./batcher/types.ts";
import { NO_MEMORY } from "./causes.ts";
import type { BucketForm, EngineMemory } from "./engine-memory.ts";
import type { ServedModel } from "./hosting.ts";
import type { Learned, MemoryKeeper, OutputFacts } from "./memory-keeper.ts";
import type { PlanFile } from "./plan-worker.ts";

/** Who exchanges a process of the version; false where it cannot be exchanged now. */
export interface Recycler {
  recycle(text: string, slot: string): boolean;
}

/** A process before it has been measured: the runtime, V8, and what they load (measured: 78 to 84 MiB). */
export const PROCESS_BYTES = 94_371_840;
/** What loading takes at its most, and what it leaves, as multiples of the file (docs/design/admission.md). */
const LOAD_FACTOR = 2.4;
const HELD_FACTOR = 1.3;
/** For the runs of calibration, where so much is free: two probes that show a slope, and half as much again. */
const CALIBRATION_BYTES = 100_663_296;
/** Between two looks at the system's mark of a process, unless a batch was larger than all before: each takes 30 µs. */
const LOOK_MS = 200;

/** A process in the ledger. */
interface Seat {
  readonly id: string;
  session: ChildSession | undefined;
  /** How much more than when the model was measured it holds. */
  moreBytes: number;
  lookedMs: number;
  /** The largest run since its mark was set back. */
  highBytes: number;
}

/** A run that has begun. Bytes. */
interface Run {
  readonly seat: Seat;
  readonly shapes: InputShapes;
  /** All that there is room for, where no more is known of it than what other requests of its shapes took. */
  readonly bytes: number;
  readonly endsBytes: number;
}

/** A form with a number of rows. */
interface Shaped {
  readonly form: BucketForm;
  readonly rows: number;
  readonly shapes: InputShapes;
}

/** The memory of one version. */
export class VersionMemory implements EngineMemory {
  readonly #prefix: string;
  readonly #file: PlanFile;
  readonly #host: Recycler;
  readonly #keeper: MemoryKeeper;
  readonly #seats = new Map<string, Seat>();
  readonly #batches = new Map<number, Run>();
  /** The request that waits for memory, and the process that it waits for. */
  #waiting: { readonly request: number; readonly seat: Seat } | undefined;
  #listener: () => void = () => undefined;
  /** The shapes that were made last. */
  #shaped: Shaped | undefined;
  #learned: Learned | undefined;
  /** Of the file and those beside it. */
  #fileBytes: number | undefined;
  #outputs: OutputFacts = { ties: new Set(), gates: new Map() };

  constructor(prefix: string, { path, digest }: ServedModel, host: Recycler, keeper: MemoryKeeper) {
    this.#prefix = prefix;
    this.#file = { path, digest };
    this.#host = host;
    this.#keeper = keeper;
    this.#learned = keeper.learned(digest);
  }

  /** Why what its requests take is not told by their shapes; undefined where it is, or nothing is known yet. */
  get untold(): string | undefined {
    const model = this.#learned?.model;
    return model?.basis === "measured" ? model.reason : undefined;
  }

  /**
   * Waits until there is room to load a process.
   *
   * @throws SkipwayError `environment` where there never is.
   */
  async open(slot: string, signal: AbortSignal): Promise<void> {
    const { ledger, clock } = this.#keeper;
    const total = await this.#size();
    signal.throwIfAborted();
    const seat: Seat = {
      id: this.#freeSeat(),
      session: undefined,
      moreBytes: 0,
      lookedMs: 0,
      highBytes: 0,
    };
    this.#seats.set(slot, seat);
    const residentBytes = this.#learned?.model.residentBytes ?? PROCESS_BYTES + HELD_FACTOR * total;
    const loadBytes = Math.max(residentBytes, PROCESS_BYTES + LOAD_FACTOR * total);
    const start = { loadBytes, residentBytes };
    for (;;) {
      const fit = ledger.open(seat.id, start, clock.monotonicMs());
      if (fit === "fits") return;
      if (fit === "never" || signal.aborted) {
        this.#seats.delete(slot);
        ledger.withdraw(seat.id);
        signal.throwIfAborted();
        throw this.#noRoom("loading the model", loadBytes, seat);
      }
      this.#keeper.changed();
      await this.#keeper.freed();
    }
  }

  /** A process is loaded. Until it is `ready`, the ledger keeps what loading may take: its runs are among that. */
  loaded(slot: string, session: ChildSession): void {
    const seat = this.#seats.get(slot);
    if (seat === undefined) return;
    seat.session = session;
    this.#look(seat);
  }

  /**
   * Measures what requests take, once for each file, in a process that answers nobody else yet.
   *
   * @returns what the graph says of the outputs.
   */
  async learn(slot: string, session: ChildSession): Promise<OutputFacts> {
    const seat = this.#seats.get(slot);
    this.#learned ??= this.#keeper.learned(this.#file.digest);
    if (seat === undefined || this.#learned !== undefined) {
      return this.#learned?.outputs ?? this.#outputs;
    }
    const { ledger, clock, worker } = this.#keeper;
    const { batchable } = batchAxisOf(session.inputs, session.outputs);
    const file = this.#file;
    const plans = new PlanTable(batchable, (shapes) => worker.plan(file, batchable, shapes));
    const subject = {
      session,
      memory: () => session.memory(),
      resetPeak: () => session.resetPeak(),
    };
    const held = (await session.memory()).residentBytes;
    const { nowBytes } = ledger.room(seat.id);
    const mark = ledger.account(seat.id)?.markBytes ?? 0;
    const budgetBytes = Math.max(mark, Math.min(nowBytes, held + CALIBRATION_BYTES));
    ledger.begin(seat.id, budgetBytes);
    try {
      const calibration = await calibrate(subject, plans, { clock, budgetBytes });
      this.#learned = { model: memoryModelOf(plans, calibration), outputs: this.#outputs };
    } finally {
      ledger.end(seat.id, clock.monotonicMs());
    }
    if (isDigest(file.digest)) this.#keeper.learn(file.digest, this.#learned);
    return this.#outputs;
  }

  /** A process is about to be asked by clients: what it holds now is what it holds at rest. */
  ready(slot: string): void {
    const seat = this.#seats.get(slot);
    const session = seat?.session;
    if (seat === undefined || session === undefined) return;
    const reset = session.resetPeak();
    const now = memoryOf(session.pid);
    if (now === undefined) return;
    const { residentBytes, peakResidentBytes } = now;
    this.#keeper.ledger.loaded(seat.id, residentBytes, reset ? residentBytes : peakResidentBytes);
    this.#rest(seat, residentBytes);
    this.#keeper.changed();
  }

  /**
   * Waits until there is room for a run outside of the queue. @returns what is to be called when it is over.
   *
   * @throws SkipwayError `environment` `serve/no-memory` where there never is.
   */
  async hold(slot: string, shapes: InputShapes): Promise<() => void> {
    const { ledger, clock } = this.#keeper;
    await this.prepare(shapes);
    for (;;) {
      const seat = this.#seats.get(slot);
      const run = seat && this.#runOf(seat, shapes);
      if (seat === undefined || run === undefined) return () => undefined;
      const fit = ledger.fits(seat.id, run.bytes);
      if (fit === "fits") {
        ledger.begin(seat.id, run.bytes);
        return () => this.#ended(run);
      }
      if (fit === "never") throw this.#noRoom("a first run of the model", run.bytes, seat);
      ledger.claim(seat.id, run.bytes, clock.monotonicMs());
      this.#keeper.changed();
      await this.#keeper.freed();
    }
  }

  /** The most that a process may hold with what was admitted. */
  markOf(slot: string): number | undefined {
    return this.#keeper.ledger.account(this.#seats.get(slot)?.id ?? "")?.markBytes;
  }

  /** A process was told to end, or will be. */
  leaves(slot: string): void {
    const seat = this.#seats.get(slot);
    if (seat !== undefined) this.#keeper.ledger.leaves(seat.id);
  }

  /** A process is gone. */
  gone(slot: string): void {
    const seat = this.#seats.get(slot);
    if (seat === undefined) return;
    this.#seats.delete(slot);
    // Its claim goes with it.
    if (this.#waiting?.seat === seat) this.#waiting = undefined;
    this.#keeper.ledger.ended(seat.id, this.#keeper.clock.monotonicMs());
    this.#keeper.changed();
  }

  /** No process comes any more. */
  close(): void {
    for (const id of [...this.#names(), ...[...this.#seats.values()].map((seat) => seat.id)]) {
      this.#keeper.ledger.close(id);
    }
    this.#seats.clear();
    this.#keeper.forget(this.#prefix);
  }

  prepare(shapes: InputShapes): Promise<void> | undefined {
    return this.#learned?.model.prepare(shapes);
  }

  fits(form: BucketForm, rows: number, slot: string | undefined): MemoryFit {
    const seat = this.#seatFor(slot);
    const run = seat && this.#runOf(seat, this.#shapesOf(form, rows));
    if (seat === undefined || run === undefined) return "fits";
    const { ledger } = this.#keeper;
    const alone = ledger.fits(seat.id, run.bytes);
    if (alone !== "fits" || slot === undefined) return alone;
    // Behind a batch that runs there may be too little, though alone it would fit: it waits for that one.
    return ledger.fits(seat.id, this.#beside(run)) === "fits" ? "fits" : "later";
  }

  explain(form: BucketForm, rows: number): string | undefined {
    const seat = this.#seatFor(undefined);
    if (seat === undefined || this.#learned === undefined) return undefined;
    const room = this.#keeper.ledger.room(seat.id);
    const everBytes = Math.max(0, room.everBytes - seat.moreBytes);
    return whatWouldFit(this.#learned.model, this.#shapesOf(form, rows), { ...room, everBytes });
  }

  waits(request: number, form: BucketForm, rows: number, slot: string): void {
    const seat = this.#seats.get(slot);
    const run = seat && this.#runOf(seat, this.#shapesOf(form, rows));
    if (seat === undefined || run === undefined) return;
    this.#waiting = { request, seat };
    this.#keeper.ledger.claim(seat.id, run.bytes, this.#keeper.clock.monotonicMs());
    this.#keeper.changed();
  }

  left(request: number): void {
    if (this.#waiting?.request !== request) return;
    this.#keeper.ledger.withdraw(this.#waiting.seat.id);
    this.#waiting = undefined;
    this.#keeper.changed();
  }

  whenFree(listener: () => void): void {
    this.#listener = listener;
  }

  /** Memory may have been freed. */
  look(): void {
    if (this.#waiting !== undefined) this.#listener();
  }

  begin(batch: number, form: BucketForm, rows: number, slot: string): number | undefined {
    const seat = this.#seats.get(slot);
    const run = seat && this.#runOf(seat, this.#shapesOf(form, rows));
    if (seat === undefined || run === undefined) return undefined;
    this.#keeper.ledger.begin(seat.id, this.#beside(run));
    this.#batches.set(batch, run);
    return run.bytes - seat.moreBytes - (this.#learned?.model.residentBytes ?? 0);
  }

  end(batch: number): void {
    const run = this.#batches.get(batch);
    this.#batches.delete(batch);
    if (run !== undefined) this.#ended(run);
  }

  /** Carries out what the ledger asks for. */
  letGo({ kind, process }: Reclaim): void {
    const found = [...this.#seats].find(([, { id }]) => id === process);
    if (found === undefined) return;
    const [slot, seat] = found;
    if (kind === "settle") this.#settleIdle(seat);
    else if (!this.#host.recycle("its memory is wanted by others", slot)) {
      this.#keeper.ledger.notSettled(seat.id);
    }
  }

  /** Bytes of the file and of those beside it. Read by the thread that plans, which needs it anyway. */
  async #size(): Promise<number> {
    if (this.#fileBytes !== undefined) return this.#fileBytes;
    const own = statSync(this.#file.path, { throwIfNoEntry: false })?.size ?? 0;
    // A file that cannot be read here says why when the runtime has refused it, too.
    const opened = await this.#keeper.worker.open(this.#file).catch(() => undefined);
    if (opened !== undefined) this.#outputs = opened;
    this.#fileBytes = own + (opened?.externalBytes ?? 0);
    return this.#fileBytes;
  }

  #ended(run: Run): void {
    const { ledger, clock } = this.#keeper;
    const { seat } = run;
    const now = clock.monotonicMs();
    ledger.end(seat.id, now);
    const due = now - seat.lookedMs >= LOOK_MS || run.bytes > seat.highBytes;
    seat.highBytes = Math.max(seat.highBytes, run.bytes);
    if (due) this.#learnFrom(run);
    this.#settleIdle(seat);
  }

  #learnFrom({ seat, shapes, bytes }: Run): void {
    const { excess, mark } = this.#look(seat);
    const model = this.#learned?.model;
    if (mark === undefined || model === undefined) return;
    if (excess === 0) {
      model.stayed(shapes, mark - seat.moreBytes);
      return;
    }
    // How far the mark went above all that was admitted is what is learned; below that, others may have raised it.
    model.observed(shapes, bytes - seat.moreBytes + excess);
    // What was not foreseen must not stand in the way of others, nor hide what later requests take.
    this.#keeper.ledger.askToSettle(seat.id);
  }

  /** Once it runs nothing, where it was asked to. What was freed is the system's again: the mark starts from the rest. */
  #settleIdle(seat: Seat): void {
    const { ledger } = this.#keeper;
    const account = ledger.account(seat.id);
    if (account?.reclaiming !== "settle" || account.running > 0) return;
    const now = seat.session?.resetPeak() === true ? memoryOf(seat.session.pid) : undefined;
    if (now === undefined) ledger.notSettled(seat.id);
    else {
      ledger.settled(seat.id, now.residentBytes);
      this.#rest(seat, now.residentBytes);
    }
    this.#keeper.changed();
  }

  #rest(seat: Seat, residentBytes: number): void {
    const measured = this.#learned?.model.residentBytes ?? residentBytes;
    seat.moreBytes = Math.max(0, residentBytes - measured);
    seat.highBytes = 0;
  }

  /** Reads the system's mark, and by how much it is above all that was admitted. */
  #look(seat: Seat): { readonly mark: number | undefined; readonly excess: number } {
    const { ledger, clock } = this.#keeper;
    seat.lookedMs = clock.monotonicMs();
    const mark = seat.session && memoryOf(seat.session.pid)?.peakResidentBytes;
    if (mark === undefined) return { mark, excess: 0 };
    const before = ledger.account(seat.id)?.markBytes ?? mark;
    ledger.observed(seat.id, mark);
    return { mark, excess: Math.max(0, mark - before) };
  }

  /** Shapes of a form with so many rows: each batch is asked about several times in turn. */
  #shapesOf(form: BucketForm, rows: number): InputShapes {
    if (!form.batchable) return form.shapes;
    if (form !== this.#shaped?.form || rows !== this.#shaped.rows) {
      this.#shaped = { form, rows, shapes: withRows(form.shapes, rows) };
    }
    return this.#shaped.shapes;
  }

  #runOf(seat: Seat, shapes: InputShapes): Run | undefined {
    const estimate = this.#learned?.model.estimate(shapes);
    if (estimate === undefined) return undefined;
    const { admittedBytes, firmBytes, endsBytes } = estimate;
    const bytes = admittedBytes + seat.moreBytes;
    if (admittedBytes === firmBytes) return { seat, shapes, bytes, endsBytes };
    // What other requests took may be a matter of their values: for it one waits for all the room there is, and is not refused.
    const { everBytes } = this.#keeper.ledger.room(seat.id);
    const most = Math.max(everBytes, firmBytes + seat.moreBytes);
    return { seat, shapes, bytes: Math.min(bytes, most), endsBytes };
  }

  /** With the inputs and outputs of batches that the process has already: all of them may be there at a time. */
  #beside(run: Run): number {
    let bytes = run.bytes;
    for (const other of this.#batches.values()) {
      if (other.seat !== run.seat) continue;
      bytes = Math.max(bytes, run.bytes + other.endsBytes, other.bytes + run.endsBytes);
    }
    return bytes;
  }

  #seatFor(slot: string | undefined): Seat | undefined {
    if (slot !== undefined) return this.#seats.get(slot);
    for (const seat of this.#seats.values()) if (seat.session !== undefined) return seat;
    return undefined;
  }

  /** The ledger knows seats, not processes: how long ago one was exchanged is a matter of the seat. */
  #freeSeat(): string {
    const taken = new Set([...this.#seats.values()].map(({ id }) => id));
    return this.#names().find((name) => !taken.has(name)) ?? `${this.#prefix}/${taken.size}`;
  }

  #names(): string[] {
    return [`${this.#prefix}/0`, `${this.#prefix}/1`];
  }

  #noRoom(what: string, wanted: number, seat: Seat): SkipwayError {
    const { everBytes } = this.#keeper.ledger.room(seat.id);
    const has = formatBytes(Math.max(0, everBytes));
    const text = `${what} takes up to ${formatBytes(wanted)}, and its process may have ${has}: all models together have ${formatBytes(this.#keeper.ledger.availableBytes)}`;
    return SkipwayError.fromDiagnostics("environment", [
      diagnostic({
        id: NO_MEMORY,
        severity: "error",
        where: this.#file.path,
        text,
        fix: "Give the server more memory (--memory), or unload other models.",
      }),
    ]);
  }
}
