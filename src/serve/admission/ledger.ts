// Who holds how much memory, and what may begin: the sum of the high-water marks of all processes never
// passes the budget. Decides only; the caller runs, measures, and ends processes. Time is passed in.

import { assert, present } from "../../base/assert.ts";

/** How an account is called: any text that the caller chooses, one for each process. */
export type ProcessId = string;

/**
 * Whether something may begin: now, when others have let go of what they hold, or never while the same
 * models are loaded, whatever has run before.
 */
export type Fit = "fits" | "later" | "never";

/** What the ledger works with. Bytes and milliseconds. */
export interface LedgerOptions {
  /** Of the control group or of the machine, or what the operator gave. */
  readonly budgetBytes: number;
  /** Of the budget, for the server itself: what it holds and the bodies that it may hold. */
  readonly reserveBytes: number;
  /** Between two recyclings of one process. Default 2,000 ms. */
  readonly recyclePauseMs?: number;
  /** How long a claim stands that is not made again: a caller that forgot it must not stop all others. Default 1,000 ms. */
  readonly claimMs?: number;
  /**
   * What a process may keep of its runs for good. It is counted for each process from the start, so that what can
   * never fit does not depend on what ran before; a process that keeps more is worth a new one. Default 12 MiB.
   */
  readonly keptBytes?: number;
}

/** The account of one process. Bytes. */
export interface Account {
  readonly id: ProcessId;
  /** What it holds when it has just been loaded: what recycling brings it back to. */
  readonly baseBytes: number;
  /** The highest that was predicted or measured since it was started, or since its mark was set back. */
  readonly markBytes: number;
  /** Batches that have begun and not ended. */
  readonly running: number;
  /** Asked to be settled or recycled, and not done yet. */
  readonly reclaiming: Reclaim["kind"] | undefined;
}

/**
 * What the caller is to do to a process, once it runs nothing. `settle`: set the system's high-water mark
 * back (memory that was freed is the system's again) and tell `settled`. `recycle`: end it, tell `ended`, and start it again.
 */
export interface Reclaim {
  readonly kind: "settle" | "recycle";
  readonly process: ProcessId;
}

/** What there is room for, in bytes of one process's mark. */
export interface Room {
  /** A batch of so many begins at once. */
  readonly nowBytes: number;
  /** So many fit once all processes have let go of what they do not keep. */
  readonly everBytes: number;
}

interface Entry {
  readonly id: ProcessId;
  baseBytes: number;
  /** What it held when it was last settled, or loaded. */
  restBytes: number;
  markBytes: number;
  running: number;
  reclaiming: Reclaim["kind"] | undefined;
  /** Nobody can ask it for anything yet. */
  loading: boolean;
  /** It ends as soon as it can. */
  leaving: boolean;
  /** Settling it did not bring it to its base: the next time it is recycled. */
  sticky: boolean;
  idleSinceMs: number;
}

/** What starting a process takes. Bytes. */
export interface Start {
  /** At most, while it loads. */
  readonly loadBytes: number;
  /** Once it is loaded. */
  readonly residentBytes: number;
}

interface Claim {
  readonly process: ProcessId;
  bytes: number;
  renewedAtMs: number;
}

/** Measured: 4 to 10 MiB after thousands of runs of all sizes (docs/design/admission.md). */
const KEPT_BYTES = 12_582_912;

/** Books of one server. State is updated in place; the same calls give the same answers. */
export class Ledger {
  readonly #options: Required<LedgerOptions>;
  readonly #entries = new Map<ProcessId, Entry>();
  /** One for each process, the oldest first. */
  readonly #claims = new Map<ProcessId, Claim>();
  /** When each was ended for its memory, of those that are to come back. */
  readonly #recycledAt = new Map<ProcessId, number>();

  constructor(options: LedgerOptions) {
    this.#options = { recyclePauseMs: 2000, claimMs: 1000, keptBytes: KEPT_BYTES, ...options };
  }

  /** What all processes together may hold. */
  get availableBytes(): number {
    return Math.max(0, this.#options.budgetBytes - this.#options.reserveBytes);
  }

  /** What all processes together hold at their highest. */
  get markedBytes(): number {
    return this.#sum(({ markBytes }) => markBytes);
  }

  accounts(): readonly Account[] {
    return [...this.#entries.values()].map(told);
  }

  /** The account of one process. */
  account(id: ProcessId): Account | undefined {
    const entry = this.#entries.get(id);
    return entry && told(entry);
  }

  /**
   * Opens an account for a process that is about to be started. Only with "fits" there is an account; with "later"
   * there is a claim, and the caller asks again.
   */
  open(id: ProcessId, { loadBytes, residentBytes }: Start, nowMs: number): Fit {
    assert(!this.#entries.has(id), `process ${id} has an account already`);
    const fit = this.#fit(id, loadBytes);
    if (fit === "later") this.claim(id, loadBytes, nowMs);
    if (fit !== "fits") return fit;
    this.#claims.delete(id);
    this.#entries.set(id, {
      id,
      baseBytes: residentBytes,
      restBytes: residentBytes,
      markBytes: Math.max(loadBytes, residentBytes),
      running: 0,
      reclaiming: undefined,
      loading: true,
      leaving: false,
      sticky: false,
      idleSinceMs: nowMs,
    });
    return fit;
  }

  /**
   * The process is loaded: what it holds now, and the system's mark, which stands at that unless it could
   * not be set back after loading.
   */
  loaded(id: ProcessId, residentBytes: number, markBytes: number = residentBytes): void {
    const entry = this.#of(id);
    entry.baseBytes = residentBytes;
    entry.restBytes = residentBytes;
    entry.markBytes = Math.max(residentBytes, markBytes);
    entry.loading = false;
  }

  /** The process was told to end, or will be: what it holds is no reason to refuse anything for good. */
  leaves(id: ProcessId): void {
    const entry = this.#entries.get(id);
    if (entry !== undefined) entry.leaving = true;
  }

  /** The process is gone, and none comes in its place. */
  close(id: ProcessId): void {
    this.#entries.delete(id);
    this.#claims.delete(id);
    this.#recycledAt.delete(id);
  }

  /** The process is gone, as it was asked to be or by accident. It is to be opened again. */
  ended(id: ProcessId, nowMs: number): void {
    this.close(id);
    this.#recycledAt.set(id, nowMs);
  }

  /** Whether a batch that brings a process to `bytes` at most may begin. Does not change anything. */
  fits(id: ProcessId, bytes: number): Fit {
    const entry = this.#of(id);
    return entry.reclaiming === undefined ? this.#fit(id, bytes) : this.#orNever(id, bytes);
  }

  /** What there is room for in a process. */
  room(id: ProcessId): Room {
    const entry = this.#entries.get(id);
    const mark = entry?.markBytes ?? 0;
    const free = this.availableBytes - this.#sum(({ markBytes }) => markBytes, id);
    const { keptBytes } = this.#options;
    // What loads may not stay, or be in the place of what leaves: until that is known it is waited for.
    const stays = (one: Entry): boolean => !one.loading && !one.leaving;
    const promised = this.#sum((one) => (stays(one) ? one.baseBytes + keptBytes : 0), id);
    // Of its own, what it keeps already is among the bytes that are asked for.
    const more = entry === undefined ? 0 : keptBytes - keptOf(entry);
    const everBytes = Math.max(mark, this.availableBytes - promised - more);
    const nowBytes = this.#mayRise(id) ? Math.min(free, everBytes) : 0;
    return { nowBytes: Math.max(mark, nowBytes), everBytes };
  }

  /** A batch begins. It must fit. */
  begin(id: ProcessId, bytes: number): void {
    assert(this.fits(id, bytes) === "fits", `${bytes} bytes do not fit into process ${id}`);
    const entry = this.#of(id);
    entry.markBytes = Math.max(entry.markBytes, bytes);
    entry.running++;
    const claim = this.#claims.get(id);
    if (claim !== undefined && claim.bytes <= bytes) this.#claims.delete(id);
  }

  /** A batch is over, well or not. */
  end(id: ProcessId, nowMs: number): void {
    const entry = this.#entries.get(id);
    // Of a process that has been closed since.
    if (entry === undefined || entry.running === 0) return;
    entry.running--;
    entry.idleSinceMs = nowMs;
  }

  /** The high-water mark that the system tells. Higher than predicted, it counts; lower, the prediction stays. */
  observed(id: ProcessId, markBytes: number): void {
    const entry = this.#entries.get(id);
    if (entry !== undefined) entry.markBytes = Math.max(entry.markBytes, markBytes);
  }

  /**
   * A batch of this process waits for memory that others hold. Made again each time that it is found to
   * wait; forgotten when it begins, is withdrawn, or has not been made again for a while.
   */
  claim(id: ProcessId, bytes: number, nowMs: number): void {
    const known = this.#claims.get(id);
    if (known === undefined) {
      this.#claims.set(id, { process: id, bytes, renewedAtMs: nowMs });
    } else {
      known.bytes = bytes;
      known.renewedAtMs = nowMs;
    }
  }

  /** What waited is gone. */
  withdraw(id: ProcessId): void {
    this.#claims.delete(id);
  }

  /**
   * What is to be done so that the oldest claim gets its room, and when to ask again if that is a matter of time.
   * Each action is told once. Asked to let go is only who would free something: idle processes first,
   * of these the fewest, and none if all together would not suffice.
   */
  reclaim(nowMs: number): { readonly actions: readonly Reclaim[]; readonly wakeAtMs?: number } {
    this.#dropStale(nowMs);
    const [claim] = this.#claims.values();
    if (claim === undefined || this.#fit(claim.process, claim.bytes) !== "later") {
      return { actions: [] };
    }
    const missing = this.#missing(claim);
    if (missing <= 0) return { actions: [] };
    const others = [...this.#entries.values()].filter((one) => this.#canYield(one, claim));
    const now = others.filter((one) => this.#readyAtMs(one) <= nowMs);
    const chosen = fewest(now, missing, claim);
    if (chosen.length > 0) return { actions: chosen.map(ask) };
    const later = others.map((one) => this.#readyAtMs(one)).filter((at) => at > nowMs);
    return later.length === 0 ? { actions: [] } : { actions: [], wakeAtMs: Math.min(...later) };
  }

  /**
   * Asks a process to settle though nobody claims what it holds: it takes no batch until it has. Without effect where it
   * was asked for something already.
   */
  askToSettle(id: ProcessId): void {
    const entry = this.#entries.get(id);
    if (entry !== undefined) entry.reclaiming ??= "settle";
  }

  /** A process that was asked to settle holds so much now, and its mark in the system starts there. */
  settled(id: ProcessId, residentBytes: number): void {
    const entry = this.#entries.get(id);
    if (entry === undefined) return;
    assert(entry.running === 0, `process ${id} settles while it runs`);
    entry.markBytes = residentBytes;
    entry.restBytes = residentBytes;
    entry.reclaiming = undefined;
    entry.sticky = keptOf(entry) > this.#options.keptBytes;
  }

  /** A mark cannot be set back here: the next time the process is recycled. */
  notSettled(id: ProcessId): void {
    const entry = this.#entries.get(id);
    if (entry === undefined) return;
    entry.sticky = true;
    entry.reclaiming = undefined;
  }

  #fit(id: ProcessId, bytes: number): Fit {
    const { nowBytes } = this.room(id);
    return bytes <= nowBytes ? "fits" : this.#orNever(id, bytes);
  }

  #orNever(id: ProcessId, bytes: number): Fit {
    return bytes <= this.room(id).everBytes ? "later" : "never";
  }

  /** Nobody takes new room while an older claim waits: else a stream of small batches would starve it. */
  #mayRise(id: ProcessId): boolean {
    const [oldest] = this.#claims.values();
    return oldest === undefined || oldest.process === id;
  }

  #missing({ process, bytes }: Claim): number {
    const free = this.availableBytes - this.#sum(({ markBytes }) => markBytes, process);
    const onTheWay = this.#sum((one) => (one.reclaiming === undefined ? 0 : frees(one, process)));
    return bytes - free - onTheWay;
  }

  #canYield(entry: Entry, claim: Claim): boolean {
    return entry.reclaiming === undefined && !entry.loading && frees(entry, claim.process) > 0;
  }

  /** Settling costs nothing; a new process costs its load. */
  #readyAtMs(entry: Entry): number {
    const last = this.#recycledAt.get(entry.id);
    const waits = entry.sticky && last !== undefined;
    return waits ? last + this.#options.recyclePauseMs : Number.NEGATIVE_INFINITY;
  }

  #dropStale(nowMs: number): void {
    for (const [id, claim] of this.#claims) {
      if (nowMs - claim.renewedAtMs > this.#options.claimMs) this.#claims.delete(id);
    }
  }

  #of(id: ProcessId): Entry {
    return present(this.#entries.get(id), `process ${id} has an account`);
  }

  #sum(bytes: (entry: Entry) => number, except?: ProcessId): number {
    let total = 0;
    for (const entry of this.#entries.values()) if (entry.id !== except) total += bytes(entry);
    return total;
  }
}

function told({ id, baseBytes, markBytes, running, reclaiming }: Entry): Account {
  return { id, baseBytes, markBytes, running, reclaiming };
}

/** What a process keeps, of what it did not hold when it was loaded. */
function keptOf({ baseBytes, restBytes }: Entry): number {
  return Math.max(0, restBytes - baseBytes);
}

/** What a claim gets from a process that lets go, as far as is known before. */
function frees(entry: Entry, claimant: ProcessId): number {
  // Of its own mark it needs all; a new process keeps nothing, and asks for that much less.
  if (entry.id === claimant) return entry.sticky ? keptOf(entry) : 0;
  return entry.markBytes - (entry.sticky ? entry.baseBytes : entry.restBytes);
}

/** Entries that let go of so many bytes together, idle ones first; none if all do not suffice. */
function fewest(entries: readonly Entry[], missing: number, { process }: Claim): Entry[] {
  const gives = (entry: Entry): number => frees(entry, process);
  const order = [...entries].sort(
    (a, b) =>
      Math.min(a.running, 1) - Math.min(b.running, 1) ||
      gives(b) - gives(a) ||
      a.idleSinceMs - b.idleSinceMs ||
      (a.id < b.id ? -1 : 1),
  );
  let chosen: Entry[] = [];
  let freed = 0;
  for (const entry of order) {
    if (freed >= missing) break;
    chosen.push(entry);
    freed += gives(entry);
  }
  if (freed < missing) return [];
  // The last may free so much that some before it need not be asked.
  for (const entry of chosen) {
    if (freed - gives(entry) < missing) continue;
    freed -= gives(entry);
    chosen = chosen.filter((one) => one !== entry);
  }
  return chosen;
}

function ask(entry: Entry): Reclaim {
  const kind = entry.sticky ? "recycle" : "settle";
  entry.reclaiming = kind;
  return { kind, process: entry.id };
}
