// Memory admission of a whole server: keeps the ledger of all processes, and has those that hold more than they need
// let go of it when others wait, so that what alone would fit is answered in the end.

import type { Clock } from "../base/clock.ts";
import type { Budget } from "./admission/budget.ts";
import { Ledger } from "./admission/ledger.ts";
import type { MemoryModel } from "./admission/memory-model.ts";
import type { ServedModel } from "./hosting.ts";
import { type OpenedFile, PlanWorker } from "./plan-worker.ts";
import { type Recycler, VersionMemory } from "./version-memory.ts";

/** What the graph of a file says of its outputs. */
export type OutputFacts = Pick<OpenedFile, "ties" | "gates">;

/** What was measured of a file, and is not measured again. */
export interface Learned {
  readonly model: MemoryModel;
  readonly outputs: OutputFacts;
}

/** Files whose measurements are kept; what is loaded keeps its own. */
const LEARNED_MAX = 64;
/** A process that waits for room looks so often, should nobody say that some became free. */
const ASK_MS = 50;

/** The ledger of a server, and one account for each version. */
export class MemoryKeeper {
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly worker: PlanWorker = new PlanWorker();
  readonly #accounts = new Map<string, VersionMemory>();
  readonly #learned = new Map<string, Learned>();
  readonly #waiters = new Set<() => void>();
  #next = 1;
  #due: NodeJS.Immediate | undefined;
  #timer: NodeJS.Timeout | undefined;

  /** @param budget what this process and those of the models may hold together. */
  constructor(clock: Clock, { budgetBytes, reserveBytes }: Budget) {
    this.clock = clock;
    this.ledger = new Ledger({ budgetBytes, reserveBytes });
  }

  /** What the processes may hold together, and what they hold at their highest. */
  readings(): { readonly budgetBytes: number; readonly usedBytes: number } {
    const { availableBytes, markedBytes } = this.ledger;
    return { budgetBytes: availableBytes, usedBytes: markedBytes };
  }

  /** The account of a version. */
  account(model: ServedModel, host: Recycler): VersionMemory {
    const prefix = String(this.#next++);
    const account = new VersionMemory(prefix, model, host, this);
    this.#accounts.set(prefix, account);
    return account;
  }

  forget(prefix: string): void {
    this.#accounts.delete(prefix);
    this.changed();
  }

  /** As it was calibrated: what requests taught a version is forgotten when it is loaded again. */
  learned(digest: string): Learned | undefined {
    const known = this.#learned.get(digest);
    return known && { ...known, model: known.model.fresh() };
  }

  learn(digest: string, learned: Learned): void {
    this.#learned.set(digest, learned);
    const [oldest] = this.#learned.keys();
    if (this.#learned.size > LEARNED_MAX && oldest !== undefined) this.#learned.delete(oldest);
  }

  /**
   * Memory was freed, or is wanted: those who wait look again, and those who hold too much are asked. Not at once: a
   * queue that asks is in the middle of its own step.
   */
  changed(): void {
    this.#due ??= setImmediate(() => {
      this.#due = undefined;
      for (const look of [...this.#waiters]) look();
      for (const account of this.#accounts.values()) account.look();
      this.#reclaim();
    });
  }

  /** Resolves when memory has been freed, or after a while. */
  freed(): Promise<void> {
    return new Promise((resolve) => {
      const look = (): void => {
        clearTimeout(timer);
        this.#waiters.delete(look);
        resolve();
      };
      const timer = setTimeout(look, ASK_MS);
      this.#waiters.add(look);
    });
  }

  /** Ends what goes on by itself. */
  close(): void {
    clearTimeout(this.#timer);
    this.worker.close();
  }

  #reclaim(): void {
    clearTimeout(this.#timer);
    const now = this.clock.monotonicMs();
    const { actions, wakeAtMs } = this.ledger.reclaim(now);
    for (const action of actions) {
      this.#accounts.get(action.process.split("/")[0] ?? "")?.letGo(action);
    }
    if (wakeAtMs === undefined) return;
    this.#timer = setTimeout(() => this.#reclaim(), Math.max(0, wakeAtMs - now)).unref();
  }
}
