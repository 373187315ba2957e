// What a fleet keeps of one name: its versions, who gets which requests, and what is being changed.

import type { Clock } from "../base/clock.ts";
import type { Counters } from "./counters.ts";
import { RequestError } from "./errors.ts";
import type { IndexRow } from "./extensions.ts";
import type { Invariance } from "./invariance.ts";
import type { Outcomes } from "./outcomes.ts";
import { RoutedModel } from "./routed-model.ts";
import type { TrafficSplit } from "./router.ts";
import { Shadow, type ShadowParts } from "./shadow.ts";
import type { VersionHost } from "./version-host.ts";

/**
 * Who wrote a split last. `source`: it follows the source's alias. `hand`: it stands until a hand changes it.
 * `rollout`: only the rollout changes it.
 */
export type SplitOwner = "source" | "hand" | "rollout";

/** One name. */
export interface FleetEntry {
  readonly name: string;
  /** Versions that requests can go to. */
  readonly hosts: Map<number, VersionHost>;
  split: TrafficSplit;
  owner: SplitOwner;
  readonly shadow: Shadow;
}

/** One name with what is under way. */
export interface Slot extends FleetEntry {
  readonly routed: RoutedModel;
  /** Hosts that are being loaded, and hosts that finish what they have. */
  readonly loading: Set<VersionHost>;
  readonly retiring: Set<VersionHost>;
  /** Versions that are served beside those that the source wants. */
  readonly brought: Set<number>;
  /** Why a version that is wanted is not served. */
  readonly failed: Map<number, string>;
  /** Of the files that were tried last: what failed is not tried again until it changes. */
  readonly stamps: Map<number, string | undefined>;
  /** They go on counting when a version is loaded again. */
  readonly counters: Map<number, Counters>;
  /** Whether requests may share runs, by the digest of the file. */
  readonly invariance: Map<string, Invariance>;
  /** Taken out of service by hand: they stay away until the model is loaded by hand. */
  readonly drained: Set<number>;
  /** The end of the last change: changes of one name come one after another. */
  turn: Promise<unknown>;
  /** Ends the load that is under way. */
  abort: AbortController;
  /** A load that has not begun: those who ask meanwhile share it. */
  next: Promise<void> | undefined;
  /** The alias that was told to be passed over last, since the split was set by hand. */
  ignored: number | undefined;
  /** Whether a look at the source has brought it to what is wanted, or could not. */
  tried: boolean;
  unloaded: boolean;
  /** How often it was unloaded: what was asked for before an unload does not begin after it. */
  unloads: number;
}

/** Who writes a split where nothing is said. */
export const HAND = { by: "hand" } as const;

/** @throws RequestError 409 while a rollout owns the split. */
export function refuseHands({ name, owner }: Slot): void {
  if (owner !== "rollout") return;
  const text = `a rollout of ${name} is under way and sets its split; abort it first, or wait for its end`;
  throw new RequestError(409, "invalid", text);
}

/** 404. */
export function unknownModel(name: string): RequestError {
  return new RequestError(404, "invalid", `there is no model "${name.slice(0, 128)}" here`);
}

/** A name without versions. */
export function emptySlot(
  name: string,
  parts: ShadowParts & {
    readonly clock: Clock;
    readonly outcomes: Outcomes;
    uniform(): number;
  },
): Slot {
  const hosts = new Map<number, VersionHost>();
  const shadow = new Shadow(parts);
  const slot: Slot = {
    name,
    hosts,
    split: { stable: 0, share: 0 },
    owner: "source",
    shadow,
    routed: new RoutedModel({
      name,
      hosts,
      shadow,
      outcomes: parts.outcomes,
      clock: parts.clock,
      split: () => slot.split,
      uniform: () => parts.uniform(),
    }),
    loading: new Set(),
    retiring: new Set(),
    brought: new Set(),
    failed: new Map(),
    stamps: new Map(),
    drained: new Set(),
    counters: new Map(),
    invariance: new Map(),
    turn: Promise.resolve(),
    abort: new AbortController(),
    next: undefined,
    ignored: undefined,
    tried: false,
    unloads: 0,
    unloaded: false,
  };
  return slot;
}

/** A split without one version: what it got by the split goes to stable. */
export function without(
  { candidate, shadow, ...split }: TrafficSplit,
  version: number,
): TrafficSplit {
  const stays = candidate !== undefined && candidate !== version;
  return {
    ...split,
    ...(stays ? { candidate } : { share: 0 }),
    ...(shadow !== undefined && shadow !== version && { shadow }),
  };
}

/** What to tell the operator of an alias that a split set by hand does not follow; once for each move. */
export function ignoredMove(slot: Slot, stable: number): string | undefined {
  const { name, owner, split, ignored } = slot;
  slot.ignored = owner === "hand" && split.stable !== stable ? stable : undefined;
  if (slot.ignored === undefined || ignored === stable) return undefined;
  return `${name}: stable is version ${stable} in the registry, and the split that was set by hand keeps version ${split.stable}; DELETE /api/v1/models/${name}/split lets it follow again`;
}

/** How all stand, those that were unloaded by hand too. */
export function rowsOfAll(slots: readonly Slot[], names: readonly string[]): IndexRow[] {
  const rows = slots.flatMap(rowsOf);
  for (const name of names) {
    if (rows.some((row) => row.name === name)) continue;
    rows.push({ name, version: "", state: "UNAVAILABLE", reason: "unloaded" });
  }
  return rows;
}

/** How its versions stand, for the repository extension. */
function rowsOf(slot: Slot): IndexRow[] {
  const { name } = slot;
  const rows: IndexRow[] = [];
  const add = (version: number, state: IndexRow["state"], reason: string): void => {
    if (rows.some((row) => row.version === String(version))) return;
    rows.push({ name, version: String(version), state, reason });
  };
  for (const [version, host] of slot.hosts) {
    const failed = slot.failed.get(version);
    const kept =
      failed === undefined
        ? [host.unprobed, host.untold].filter((text) => text !== undefined).join("; ")
        : `the last load failed, the one before serves: ${failed}`;
    if (host.ready) add(version, "READY", kept);
    else add(version, "UNAVAILABLE", host.reason ?? host.phase);
  }
  for (const { version } of slot.loading) add(version, "LOADING", "");
  for (const [version, reason] of slot.failed) add(version, "UNAVAILABLE", reason);
  for (const { version } of slot.retiring) add(version, "UNLOADING", "");
  return rows.sort((a, b) => Number(a.version) - Number(b.version));
}

/** Every version, as if it answered. */
export function allReady(hosts: ReadonlyMap<number, VersionHost>): Map<number, { ready: true }> {
  return new Map([...hosts.keys()].map((version) => [version, { ready: true }]));
}

/** Waits for the work, but not longer than this. */
export async function soon(work: Promise<void>, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const pause = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  await Promise.race([work, pause]);
  clearTimeout(timer);
}
