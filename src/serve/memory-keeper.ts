// Memory admission of a whole server: keeps the ledger of all processes, tells the batchers what may run, and has
// processes settle or exchanged so that what alone would fit is answered in the end.

import { statSync } from "node:fs";
import type { Clock } from "../base/clock.ts";
import { diagnostic } from "../base/diagnostic.ts";
import { SkipwayError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import type { ChildSession } from "../runtime/child-process.ts";
import { memoryOf } from "../runtime/memory-probe.ts";
import { withRows } from "./admission/batch-axis.ts";
import { calibrate } from "./admission/calibrate.ts";
import { Ledger, type Reclaim } from "./admission/ledger.ts";
import { type MemoryModel, memoryModelOf } from "./admission/memory-model.ts";
import type { MemoryFit } from "./batcher/types.ts";
import type { BucketForm, EngineMemory } from "./engine.ts";
import type { ServedModel } from "./hosting.ts";

/** A process before it has been measured: the runtime, V8, and what they load. */
const BASE_BYTES = 94_371_840;
/** What loading takes at its most, and what it leaves, as multiples of the file (docs/design/admission.md). */
const LOAD_FACTOR = 2.4;
const HELD_FACTOR = 1.3;
/** The server itself under load (measured: below 110 MB), and the share of the budget for bodies. */
const PARENT_BYTES = 134_217_728;
const BODIES_SHARE = 0.125;
const ASK_MS = 50;
/** Between two looks at the system's mark of a process. */
const LOOK_MS = 500;

/** The ledger of a server, and one account for each version. */
export class MemoryKeeper {
  readonly #ledger: Ledger;
  readonly #clock: Clock;
  readonly #accounts = new Map<string, VersionMemory>();
  /** Bodies of requests that may be on their way together. */
  readonly bodiesBytesMax: number;
  /** What was measured, by the digest of the file: the same file is not measured again. */
  readonly #models = new Map<string, MemoryModel>();
  #next = 1;
  #timer: NodeJS.Timeout | undefined;

  /** @param budgetBytes what this process and those of the models may hold together. */
  constructor(clock: Clock, budgetBytes: number) {
    this.#clock = clock;
    this.bodiesBytesMax = Math.min(limits.bodiesBytesMax, budgetBytes * BODIES_SHARE);
    const reserveBytes = PARENT_BYTES + this.bodiesBytesMax;
    this.#ledger = new Ledger({ budgetBytes, reserveBytes });
  }

  /** What the processes may hold together, and what they hold at their highest. */
  readings(): { readonly budgetBytes: number; readonly usedBytes: number } {
    const { availableBytes, markedBytes } = this.#ledger;
    return { budgetBytes: availableBytes, usedBytes: markedBytes };
  }

  /** The account of a version, whose process can be exchanged. */
  account(
    { path, digest }: Pick<ServedModel, "path" | "digest">,
    host: { recycle(text: string): void },
  ): VersionMemory {
    const prefix = `${this.#next++}`;
    const file = { digest, bytes: statSync(path, { throwIfNoEntry: false })?.size ?? 0 };
    const account = new VersionMemory(prefix, file, {
      ledger: this.#ledger,
      clock: this.#clock,
      models: this.#models,
      recycle: (text) => host.recycle(text),
      wanted: () => this.#reclaim(),
      forget: () => this.#accounts.delete(prefix),
    });
    this.#accounts.set(prefix, account);
    return account;
  }

  /** Has others let go of what somebody waits for. */
  #reclaim(): void {
    clearTimeout(this.#timer);
    const { actions, wakeAtMs } = this.#ledger.reclaim(this.#clock.monotonicMs());
    for (const action of actions) {
      this.#accounts.get(action.process.split("/")[0] ?? "")?.letGo(action);
    }
    if (wakeAtMs === undefined) return;
    const delay = Math.max(0, wakeAtMs - this.#clock.monotonicMs());
    this.#timer = setTimeout(() => this.#reclaim(), delay).unref();
  }
}

interface AccountParts {
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly models: Map<string, MemoryModel>;
  recycle(text: string): void;
  wanted(): void;
  forget(): void;
}

interface Seat {
  readonly id: string;
  session: ChildSession | undefined;
  lookedMs: number;
}

/** Memory of one version: its processes in the ledger, and what its requests take. */
export class VersionMemory implements EngineMemory {
  readonly #prefix: string;
  readonly #file: { readonly digest: string; readonly bytes: number };
  readonly #parts: AccountParts;
  readonly #seats = new Map<string, Seat>();
  readonly #batches = new Map<number, { seat: Seat; form: BucketForm; rows: number }>();
  #model: MemoryModel | undefined;

  constructor(
    prefix: string,
    file: { readonly digest: string; readonly bytes: number },
    parts: AccountParts,
  ) {
    this.#prefix = prefix;
    this.#file = file;
    this.#parts = parts;
    this.#model = parts.models.get(file.digest);
  }

  /** Measures what requests take in the first process, and plans for the others. */
  async learn(
    slot: string,
    { path, session, batched }: { path: string; session: ChildSession; batched: boolean },
  ): Promise<void> {
    const { ledger, clock } = this.#parts;
    const seat = this.#seats.get(slot);
    if (seat === undefined || this.#model !== undefined) return;
    // Half of the code of a server, for analysis: it is live before that is there.
    const { RunPlanner } = await import("./admission/planned.ts");
    const { loadModel } = await import("../onnx/read.ts");
    // The graph alone is kept; weights are views of the file, and go with it.
    const planner = new RunPlanner((await loadModel(path)).graph, batched);
    const subject = {
      session,
      memory: () => session.memory(),
      resetPeak: () => session.resetPeak(),
    };
    const budgetBytes = ledger.room(seat.id).nowBytes;
    const calibration = await calibrate(subject, planner, { clock, budgetBytes });
    this.#model = memoryModelOf(planner, calibration);
    this.#parts.models.set(this.#file.digest, this.#model);
    this.#look(seat, true);
  }

  /**
   * Waits until there is room to load a process.
   *
   * @throws SkipwayError `environment` where there never is.
   */
  async open(slot: string, signal: AbortSignal): Promise<void> {
    const { ledger, clock } = this.#parts;
    const seat: Seat = { id: this.#freeSeat(), session: undefined, lookedMs: 0 };
    const residentBytes = this.#model?.residentBytes ?? BASE_BYTES + HELD_FACTOR * this.#file.bytes;
    const loadBytes = Math.max(residentBytes, BASE_BYTES + LOAD_FACTOR * this.#file.bytes);
    this.#seats.set(slot, seat);
    for (;;) {
      if (signal.aborted) {
        this.#seats.delete(slot);
        ledger.close(seat.id);
        throw signal.reason;
      }
      const fit = ledger.open(seat.id, { loadBytes, residentBytes }, clock.monotonicMs());
      if (fit === "fits") return;
      if (fit === "never") {
        this.#seats.delete(slot);
        throw noRoom(loadBytes, ledger.availableBytes);
      }
      this.#parts.wanted();
      await new Promise((resolve) => setTimeout(resolve, ASK_MS));
    }
  }

  /** A process is loaded. */
  loaded(slot: string, session: ChildSession): void {
    const seat = this.#seats.get(slot);
    if (seat === undefined) return;
    seat.session = session;
    const reset = session.resetPeak();
    const now = memoryOf(session.pid);
    if (now === undefined) return;
    this.#parts.ledger.loaded(
      seat.id,
      now.residentBytes,
      reset ? now.residentBytes : now.peakResidentBytes,
    );
  }

  /** A process has been measured by running it: its mark is what the system says. */
  measured(slot: string): void {
    const seat = this.#seats.get(slot);
    if (seat !== undefined) this.#look(seat, true);
  }

  /** A process is gone. */
  gone(slot: string): void {
    const seat = this.#seats.get(slot);
    if (seat === undefined) return;
    this.#seats.delete(slot);
    this.#parts.ledger.ended(seat.id, this.#parts.clock.monotonicMs());
  }

  /** No process comes any more. */
  close(): void {
    for (const { id } of this.#seats.values()) this.#parts.ledger.close(id);
    this.#seats.clear();
    for (const id of this.#names()) this.#parts.ledger.close(id);
    this.#parts.forget();
  }

  fits(form: BucketForm, rows: number, slot: string | undefined): MemoryFit {
    const seat = this.#seatFor(slot);
    const bytes = this.#bytesOf(form, rows);
    if (seat === undefined || bytes === undefined) return "fits";
    const { ledger, clock } = this.#parts;
    const fit = ledger.fits(seat.id, bytes);
    // Asked without a slot, nothing waits yet.
    if (fit === "later" && slot !== undefined) {
      ledger.claim(seat.id, bytes, clock.monotonicMs());
      this.#parts.wanted();
    }
    return fit;
  }

  begin(batch: number, form: BucketForm, rows: number, slot: string): void {
    const seat = this.#seats.get(slot);
    const bytes = this.#bytesOf(form, rows);
    if (seat === undefined || bytes === undefined) return;
    this.#parts.ledger.begin(seat.id, bytes);
    this.#batches.set(batch, { seat, form, rows });
  }

  end(batch: number): void {
    const ended = this.#batches.get(batch);
    if (ended === undefined) return;
    this.#batches.delete(batch);
    const { ledger, clock } = this.#parts;
    const { seat, form, rows } = ended;
    ledger.end(seat.id, clock.monotonicMs());
    const mark = this.#look(seat, false);
    if (mark !== undefined) this.#model?.observed(shapesOf(form, rows), mark);
    const account = ledger.accounts().find(({ id }) => id === seat.id);
    if (account?.reclaiming === "settle" && account.running === 0) this.#settle(seat);
  }

  /** Carries out what the ledger asks for. */
  letGo({ kind, process }: Reclaim): void {
    const seat = [...this.#seats.values()].find(({ id }) => id === process);
    if (seat === undefined) return;
    if (kind === "recycle") {
      this.#parts.recycle("its memory is wanted by others");
      return;
    }
    const account = this.#parts.ledger.accounts().find(({ id }) => id === process);
    if (account?.running === 0) this.#settle(seat);
  }

  /** What was freed has gone back to the system: the mark starts anew from what is held. */
  #settle(seat: Seat): void {
    const { ledger } = this.#parts;
    const { session } = seat;
    const now = session?.resetPeak() === true ? memoryOf(session.pid) : undefined;
    if (now === undefined) ledger.notSettled(seat.id);
    else ledger.settled(seat.id, now.residentBytes);
    this.#parts.wanted();
  }

  #look(seat: Seat, always: boolean): number | undefined {
    const now = this.#parts.clock.monotonicMs();
    if (seat.session === undefined || (!always && now - seat.lookedMs < LOOK_MS)) return undefined;
    seat.lookedMs = now;
    const mark = memoryOf(seat.session.pid)?.peakResidentBytes;
    if (mark !== undefined) this.#parts.ledger.observed(seat.id, mark);
    return mark;
  }

  #bytesOf(form: BucketForm, rows: number): number | undefined {
    return this.#model?.estimate(shapesOf(form, rows)).admittedBytes;
  }

  #seatFor(slot: string | undefined): Seat | undefined {
    if (slot !== undefined) return this.#seats.get(slot);
    return [...this.#seats.values()].find(({ session }) => session !== undefined);
  }

  /** The ledger knows seats, not processes: how long ago one was exchanged is a matter of the seat. */
  #freeSeat(): string {
    const taken = new Set([...this.#seats.values()].map(({ id }) => id));
    return this.#names().find((name) => !taken.has(name)) ?? `${this.#prefix}/${taken.size}`;
  }

  #names(): string[] {
    return [`${this.#prefix}/0`, `${this.#prefix}/1`];
  }
}

function shapesOf({ shapes, batchable }: BucketForm, rows: number): BucketForm["shapes"] {
  return batchable ? withRows(shapes, rows) : shapes;
}

function noRoom(wanted: number, available: number): SkipwayError {
  return SkipwayError.fromDiagnostics("environment", [
    diagnostic({
      id: "serve/no-memory",
      severity: "error",
      where: "model process",
      text: `loading it takes ${wanted} bytes, and ${available} are for all models together, others not counted`,
      fix: "Give the server more memory (--memory), or unload other models.",
    }),
  ]);
}
