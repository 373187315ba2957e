// All models by name, each in some versions side by side: loads, exchanges and ends them without a request
// that fails, and says where each request goes. What is to be served comes from a source.

import { present } from "../base/assert.ts";
import { messageOf, SkipwayError } from "../base/errors.ts";
import { Counters } from "./counters.ts";
import { RequestError } from "./errors.ts";
import type { IndexRow } from "./extensions.ts";
import type { FleetParts } from "./fleet-parts.ts";
import {
  allReady,
  emptySlot,
  type FleetEntry,
  HAND,
  ignoredMove,
  refuseHands,
  rowsOfAll,
  type Slot,
  soon,
  unknownModel,
  without,
} from "./fleet-slot.ts";
import { withoutFolders } from "./folders.ts";
import type { ModelStats, ServedModel } from "./hosting.ts";
import type { ServedVersion } from "./inference.ts";
import type { VersionKey } from "./metrics.ts";
import { hostReport, Outcomes } from "./outcomes.ts";
import { roleOf, splitFaults, type TrafficSplit } from "./router.ts";
import type { VersionHost } from "./version-host.ts";

/** Longer than models of usual size take to load, warm up and be measured. */
const PATIENCE_MS = 10_000;

/** Every model of a server. */
export class Fleet {
  /** What becomes of requests, as it happens. */
  readonly outcomes: Outcomes = new Outcomes();
  readonly #parts: FleetParts;
  readonly #slots = new Map<string, Slot>();
  readonly #listeners = new Set<() => void>();
  #looking = false;
  #looked = false;
  #names: readonly string[] | undefined;
  #stopping = false;

  constructor(parts: FleetParts) {
    this.#parts = parts;
  }

  /** Calls back whenever the state of a version changes; gives a function that ends it. */
  onState(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** A version of a model; where none is named, whatever the split says for each request. */
  find(name: string, version?: string): ServedVersion | undefined {
    const slot = this.#slots.get(name);
    if (slot === undefined || slot.unloaded) return undefined;
    if (version === undefined) return slot.hosts.size > 0 ? slot.routed : undefined;
    const number = /^[1-9]\d{0,14}$/.test(version) ? Number(version) : 0;
    return slot.hosts.has(number) ? slot.routed.pinned(number) : undefined;
  }

  /** Whether what `find` does not find may be there soon: whether the source has it, or its first load, is not known. */
  awaits(name: string): boolean {
    if (this.#names === undefined) return this.#looking;
    const slot = this.#slots.get(name);
    return this.#names.includes(name) && (slot === undefined || !(slot.tried || slot.unloaded));
  }

  /** Versions that are served under a name. */
  versionsOf(name: string): readonly number[] {
    return [...(this.#slots.get(name)?.hosts.keys() ?? [])].sort((a, b) => a - b);
  }

  /** Every version that is served. */
  hosts(): readonly VersionHost[] {
    return [...this.#slots.values()].flatMap((slot) => [...slot.hosts.values()]);
  }

  /** One name with its versions and its split. */
  entry(name: string): FleetEntry | undefined {
    const slot = this.#slots.get(name);
    return slot === undefined || slot.unloaded ? undefined : slot;
  }

  /** A version with what it is to the traffic now. */
  keyOf({ name, version, digest }: Pick<ServedModel, "name" | "version" | "digest">): VersionKey {
    const split = this.#slots.get(name)?.split;
    return { name, version, digest, role: split && roleOf(split, version) };
  }

  stats(): readonly ModelStats[] {
    return this.hosts().map((host) => host.stats());
  }

  /**
   * Whether every model answers. Once the first look at the source is over, one that nobody asked for by name and that
   * has never answered does not count, nor at any time a version that failed to load beside one that serves: neither
   * may take the others out of service.
   */
  ready(): boolean {
    const all = !this.#looked || this.#parts.source.asked === true;
    const counts = ({ hosts, unloaded }: Slot) => !unloaded && (all || hosts.size > 0);
    const slots = [...this.#slots.values()].filter(counts);
    const answers = (slot: Slot): boolean => slot.hosts.get(slot.split.stable)?.ready === true;
    return !this.#stopping && slots.length > 0 && slots.every(answers);
  }

  /** What there is and how it stands, for the repository extension. */
  index(): readonly IndexRow[] {
    return rowsOfAll([...this.#slots.values()], this.#names ?? []);
  }

  /** Looks at the source: loads what is new, exchanges what changed, ends what is wanted no more. */
  async sync(): Promise<void> {
    this.#looking = true;
    this.#names = await this.#parts.source.names();
    const brought: Promise<void>[] = [];
    for (const name of this.#names) {
      // Who unloaded a model by hand loads it by hand.
      if (this.#slots.get(name)?.unloaded === true) continue;
      const slot = this.#slot(name);
      const one = this.#inTurn(slot, () => this.#bring(slot, false))
        .catch(() => undefined)
        .finally(() => {
          slot.tried = true;
        });
      brought.push(one);
      // One after another, since side by side they would slow down what is measured of them. But a model that
      // hangs holds nobody up.
      await soon(one, this.#parts.patienceMs ?? PATIENCE_MS);
    }
    await Promise.all(brought);
    this.#looked = true;
  }

  /**
   * Loads a model, or loads it again: new processes are loaded, warmed and asked before they get requests, and
   * the old ones finish theirs.
   *
   * @throws SkipwayError when a version does not load; what was served goes on.
   * @throws RequestError 404 for a name that the source does not have.
   */
  async load(name: string): Promise<void> {
    // Names that nobody has leave nothing behind.
    if (!this.#slots.has(name) && (await this.#parts.source.wanted(name)) === undefined) {
      throw unknownModel(name);
    }
    const slot = this.#slot(name);
    slot.next ??= this.#inTurn(slot, (one) => {
      one.next = undefined;
      one.unloaded = false;
      return this.#bring(one, true);
    });
    return slot.next;
  }

  /**
   * Loads one version beside the others, and makes it the one that answers where none is named.
   *
   * @throws SkipwayError when it does not load.
   */
  add(model: ServedModel): Promise<VersionHost> {
    return this.#inTurn(this.#slot(model.name), async (slot) => {
      slot.unloaded = false;
      const host = await this.#start(slot, model).catch((error: unknown) => {
        // A name that nothing stands behind is none.
        slot.unloaded = slot.hosts.size === 0;
        throw error;
      });
      this.#put(slot, host);
      const newest = Math.max(...slot.hosts.keys());
      if (slot.owner === "source") slot.split = { stable: newest, share: 0 };
      this.#notify();
      return host;
    });
  }

  /**
   * Takes a model out of service: no request reaches it any more, those under way finish. Loads that are under
   * way or wait for their turn end.
   *
   * @throws RequestError 404 for a name that is not served.
   */
  async unload(name: string): Promise<void> {
    const slot = this.#slots.get(name);
    if (slot === undefined) throw unknownModel(name);
    slot.abort.abort();
    // Loads that wait for their turn would be served after all, or hang as the one before did.
    slot.unloads++;
    slot.next = undefined;
    await this.#inTurn(slot, async () => {
      slot.unloaded = true;
      slot.owner = "source";
      slot.failed.clear();
      slot.drained.clear();
      slot.brought.clear();
      await Promise.all([...slot.hosts.values()].map((host) => this.#retire(slot, host)));
    });
  }

  /**
   * Takes one version out of service: no request reaches it any more, those under way finish. What it got by the
   * split goes to the stable version.
   *
   * @throws RequestError 404 for a version that is not served, 409 for the stable one.
   */
  async drain(name: string, version: number): Promise<void> {
    const slot = this.#slots.get(name);
    if (slot === undefined || slot.unloaded) throw unknownModel(name);
    await this.#inTurn(slot, async () => {
      const host = slot.hosts.get(version);
      if (host === undefined) {
        throw new RequestError(404, "invalid", `version ${version} of ${name} is not served`);
      }
      if (version === slot.split.stable) {
        const text = `version ${version} is stable: make another one stable first, or unload the model`;
        throw new RequestError(409, "invalid", text);
      }
      if (slot.brought.has(version)) refuseHands(slot);
      slot.drained.add(version);
      slot.split = without(slot.split, version);
      await this.#retire(slot, host);
    });
  }

  /**
   * Sets who gets which requests, from the next one on. What waits for a candidate that is one no more is asked of
   * stable.
   *
   * @param by a rollout owns the split until `release`, and sets it whoever is ready: what is not gets nothing.
   * @throws RequestError 404 for an unknown model, 400 for a split that cannot be, 409 for hands while a rollout
   * owns it.
   */
  setSplit(name: string, split: TrafficSplit, { by }: { by: "hand" | "rollout" } = HAND): void {
    const slot = this.#slots.get(name);
    if (slot === undefined || slot.unloaded) throw unknownModel(name);
    if (by === "hand") refuseHands(slot);
    const versions = by === "hand" ? slot.hosts : allReady(slot.hosts);
    const faults = splitFaults(split, versions);
    if (faults.length > 0) throw new RequestError(400, "invalid", faults.join("; "));
    const { candidate } = slot.split;
    slot.split = split;
    slot.owner = by;
    const stays = candidate === split.stable || (candidate === split.candidate && split.share > 0);
    if (candidate !== undefined && !stays) slot.hosts.get(candidate)?.engine.withdraw();
    slot.shadow.forget(split.shadow);
    this.#notify();
  }

  /**
   * Lets a split that was set by hand follow the source's alias again.
   *
   * @throws RequestError 404 for a name that is not served, 409 while a rollout owns the split.
   */
  async follow(name: string): Promise<void> {
    const slot = this.#slots.get(name);
    if (slot === undefined || slot.unloaded) throw unknownModel(name);
    refuseHands(slot);
    slot.owner = "source";
    await this.#inTurn(slot, () => this.#bring(slot, false));
  }

  /**
   * Ends a rollout's hold of a split. Where the source's alias says the same, or was moved by people meanwhile
   * (`follows`), it is followed again, else the split stands: what was rolled back does not come back as the newest.
   */
  async release(name: string, follows = false): Promise<void> {
    const slot = this.#slots.get(name);
    if (slot?.owner !== "rollout") return;
    slot.owner = "hand";
    const { split } = slot;
    const wanted = await this.#parts.source.wanted(name).catch(() => undefined);
    if (slot.split === split && (follows || wanted?.stable === split.stable)) slot.owner = "source";
    this.#notify();
  }

  /**
   * Loads a version beside the others without a request for it, and keeps it though the source does not want it.
   * One that serves already is kept as it is.
   *
   * @param signal ends the load, or its turn before it came: one that hangs would hold up the next.
   * @throws SkipwayError when it does not load.
   * @throws RequestError 404 for a name or a version that the source does not have.
   */
  async bring(name: string, version: number, signal?: AbortSignal): Promise<VersionHost> {
    const known = this.#slots.get(name);
    if (known === undefined || known.unloaded) throw unknownModel(name);
    return this.#inTurn(known, async (slot) => {
      if (signal?.aborted) {
        throw new SkipwayError("interrupted", `${name} version ${version} is not wanted any more`);
      }
      slot.brought.add(version);
      slot.drained.delete(version);
      const found = slot.hosts.get(version);
      if (found?.ready === true) return found;
      const { abort } = slot;
      const stop = (): void => abort.abort();
      signal?.addEventListener("abort", stop, { once: true });
      try {
        await this.#bringVersion(slot, version, true);
      } catch (error) {
        slot.brought.delete(version);
        throw error;
      } finally {
        signal?.removeEventListener("abort", stop);
      }
      this.#notify();
      return present(slot.hosts.get(version), "it has been loaded");
    });
  }

  /** Ends what `bring` keeps: the version ends too, unless the split or the source wants it. */
  async letGo(name: string, version: number): Promise<void> {
    const known = this.#slots.get(name);
    if (known?.brought.delete(version) !== true) return;
    await this.#inTurn(known, async (slot) => {
      const wanted = await this.#parts.source.wanted(name);
      if (wanted !== undefined) this.#endUnwanted(slot, wanted.versions);
    });
  }

  /** Ends everything: requests under way finish, for a time. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#notify();
    for (const slot of this.#slots.values()) slot.abort.abort();
    const ends = [...this.#slots.values()].flatMap((slot) => [
      ...[...slot.loading].map((host) => host.stop()),
      ...[...slot.hosts.values()].map((host) => this.#retire(slot, host)),
      ...[...slot.retiring].map((host) => host.drain(this.#parts.drainMs)),
    ]);
    await Promise.all(ends);
  }

  #slot(name: string): Slot {
    const found = this.#slots.get(name);
    if (found !== undefined) return found;
    const { clock, metrics, uniform } = this.#parts;
    const slot = emptySlot(name, {
      clock,
      outcomes: this.outcomes,
      idle: () => this.hosts().every((host) => host.engine.idle),
      count: (host, result) => metrics?.version(this.keyOf(host)).shadowed(result),
      uniform,
    });
    this.#slots.set(name, slot);
    return slot;
  }

  /** Changes of one name wait for each other; those of other names do not. */
  #inTurn<T>(slot: Slot, work: (slot: Slot) => Promise<T>): Promise<T> {
    const { unloads } = slot;
    const turn = slot.turn.then(() => {
      if (this.#stopping) throw new RequestError(503, "not-ready", "the server is shutting down");
      if (slot.unloads !== unloads) {
        throw new RequestError(409, "not-ready", `"${slot.name}" was unloaded meanwhile`);
      }
      slot.abort = new AbortController();
      return work(slot);
    });
    slot.turn = turn.catch(() => undefined);
    return turn;
  }

  /** Brings a name to what the source wants. */
  async #bring(slot: Slot, again: boolean): Promise<void> {
    const { source } = this.#parts;
    const wanted = await source.wanted(slot.name);
    if (wanted === undefined) throw unknownModel(slot.name);
    if (again) slot.drained.clear();
    let failure: unknown;
    for (const version of wanted.versions) {
      if (slot.drained.has(version)) continue;
      await this.#bringVersion(slot, version, again).catch((error: unknown) => {
        failure ??= error;
      });
      if (slot.abort.signal.aborted) break;
    }
    if (slot.owner === "source" && slot.hosts.has(wanted.stable)) {
      slot.split = { stable: wanted.stable, share: 0 };
    }
    const ignored = ignoredMove(slot, wanted.stable);
    if (ignored !== undefined) this.#parts.notice?.(ignored);
    this.#endUnwanted(slot, wanted.versions);
    this.#notify();
    if (failure !== undefined) throw failure;
  }

  /** What nobody wants any more ends, but not before its successor is there. */
  #endUnwanted(slot: Slot, wanted: readonly number[]): void {
    const { stable, candidate, shadow } = slot.split;
    for (const [version, host] of slot.hosts) {
      const used = [stable, candidate, shadow].includes(version) || slot.brought.has(version);
      if (!used && !wanted.includes(version)) void this.#retire(slot, host);
    }
  }

  async #bringVersion(slot: Slot, version: number, again: boolean): Promise<void> {
    const { source } = this.#parts;
    const stamp = await source.stamp(slot.name, version).catch(() => undefined);
    const tried = slot.hosts.has(version) || slot.failed.has(version);
    if (!again && tried && stamp === slot.stamps.get(version)) return;
    slot.stamps.set(version, stamp);
    try {
      const model = await source.version(slot.name, version);
      if (model === undefined) throw unknownModel(slot.name);
      this.#put(slot, await this.#start(slot, model));
      slot.failed.delete(version);
    } catch (error) {
      if (!slot.abort.signal.aborted) this.#failed(slot, version, error);
      this.#notify();
      throw error;
    }
  }

  /** The index goes over the network, without folders; the whole text stays here. */
  #failed(slot: Slot, version: number, error: unknown): void {
    const text = messageOf(error);
    slot.failed.set(version, withoutFolders(text));
    this.#parts.notice?.(`${slot.name} version ${version} is not served: ${text}`);
  }

  async #start(slot: Slot, model: ServedModel): Promise<VersionHost> {
    const counters = slot.counters.get(model.version) ?? new Counters(this.#parts.clock);
    slot.counters.set(model.version, counters);
    const onState = (): void => this.#notify();
    const invariance = slot.invariance.get(model.digest);
    const { metrics: all, clock, notice } = this.#parts;
    const metrics = all && (() => all.version(this.keyOf(model)));
    const role = () => this.keyOf(model).role ?? "stable";
    const report = hostReport(this.outcomes, model, { clock, role });
    const background = () => role() === "shadow";
    const around = { counters, invariance, metrics, report, onState, background, notice };
    const host = this.#parts.host(model, around);
    const { signal } = slot.abort;
    const stop = (): void => void host.stop();
    slot.loading.add(host);
    signal.addEventListener("abort", stop, { once: true });
    try {
      await host.start();
      if (signal.aborted) {
        await host.stop();
        throw new SkipwayError("interrupted", `the load of ${model.name} was stopped`);
      }
      for (const text of [host.unprobed, host.untold]) {
        if (text !== undefined) notice?.(`${model.name} version ${model.version}: ${text}`);
      }
      if (host.invariance !== undefined) slot.invariance.set(model.digest, host.invariance);
      return host;
    } finally {
      signal.removeEventListener("abort", stop);
      slot.loading.delete(host);
    }
  }

  /** The new one gets the requests from now on, the old one finishes its own. */
  #put(slot: Slot, host: VersionHost): void {
    const before = slot.hosts.get(host.version);
    slot.hosts.set(host.version, host);
    if (slot.split.stable === 0) slot.split = { stable: host.version, share: 0 };
    if (before !== undefined) void this.#retire(slot, before);
  }

  async #retire(slot: Slot, host: VersionHost): Promise<void> {
    if (slot.hosts.get(host.version) === host) slot.hosts.delete(host.version);
    slot.retiring.add(host);
    this.#notify();
    try {
      await host.drain(this.#parts.drainMs);
    } finally {
      slot.retiring.delete(host);
      if (!slot.hosts.has(host.version)) this.#parts.metrics?.retire(host.name, host.version);
      this.#notify();
    }
  }

  #notify(): void {
    for (const listener of this.#listeners) listener();
  }
}
