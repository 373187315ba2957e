// Which version answers a request: a pure function of the split, the request, and what is ready. The
// split is one value; who writes it is not this file's matter.

import { hashName, mix32 } from "../base/random.ts";

/** How the requests of a model that name no version are shared among its versions. */
export interface TrafficSplit {
  readonly stable: number;
  readonly candidate?: number;
  /** Share of the candidate, 0 to 1. */
  readonly share: number;
  /** 32 bits that turn the places of all keys into others; default 0. */
  readonly salt?: number;
  /** Gets copies whose answers nobody waits for. */
  readonly shadow?: number;
  /** How far the shadow's numbers may be off to agree; without one scores agree by the largest (agreement.ts). */
  readonly tolerance?: number;
}

/** What a version is to the requests that it gets. Label of the metrics. */
export type Role = "stable" | "candidate" | "shadow" | "pinned";

/** What of a request decides where it goes. */
export interface RoutedRequest {
  /** The version that the request names. */
  readonly version?: number | undefined;
  /** Requests of one key go to one version, as long as the split stands. */
  readonly key?: string | undefined;
  /** Uniform in [0, 1): decides where there is no key. */
  readonly uniform: number;
}

/** Where a request goes, and whether a copy does. */
export interface Route {
  readonly version: number;
  readonly role: Role;
  readonly shadow: number | undefined;
  /** Chance that it had of going to the candidate. */
  readonly share: number;
}

/** Longest key that is read: a user's id, not a document. */
const KEY_CHARS_MAX = 256;

/** What is told of a key in its place: 32 bits. */
export function hashOfKey(key: string): number {
  return hashName(key.slice(0, KEY_CHARS_MAX));
}

/** The place of a key in [0, 1): for one salt the same for all servers and times, for another one a new draw. */
export function placeOf(key: string, salt = 0): number {
  return mix32(hashOfKey(key), salt) / 4_294_967_296;
}

/**
 * Where a request goes. Never to a candidate that is not ready: stable takes its share. Stable itself is
 * given even where it is not ready: its queue holds requests while its process is exchanged, and says why not
 * otherwise.
 */
export function chooseRoute(
  split: TrafficSplit,
  request: RoutedRequest,
  ready: (version: number) => boolean,
): Route {
  const { stable, candidate } = split;
  const { version } = request;
  if (version !== undefined) {
    // A request that names its version is not copied: it is no sample of the traffic.
    const role = version === stable ? "stable" : "pinned";
    return { version, role, shadow: undefined, share: 0 };
  }
  const shadow = split.shadow !== undefined && ready(split.shadow) ? split.shadow : undefined;
  if (candidate === undefined || split.share === 0 || !ready(candidate)) {
    return { version: stable, role: "stable", shadow, share: 0 };
  }
  const { share } = split;
  const place = request.key === undefined ? request.uniform : placeOf(request.key, split.salt);
  if (place >= share) return { version: stable, role: "stable", shadow, share };
  // Its own answers are no news to it.
  const other = shadow === candidate ? undefined : shadow;
  return { version: candidate, role: "candidate", shadow: other, share };
}

/** What a version is to the requests that name none. */
export function roleOf({ stable, candidate, shadow }: TrafficSplit, version: number): Role {
  if (version === stable) return "stable";
  if (version === candidate) return "candidate";
  return version === shadow ? "shadow" : "pinned";
}

/** Everything that is wrong with a split, each as a sentence; nothing if it can be used. */
export function splitFaults(
  split: TrafficSplit,
  versions: ReadonlyMap<number, { readonly ready: boolean }>,
): string[] {
  const faults: string[] = [];
  const known = [...versions.keys()].join(", ") || "none";
  for (const role of ["stable", "candidate", "shadow"] as const) {
    const version = split[role];
    if (version === undefined) continue;
    const found = versions.get(version);
    if (found === undefined) faults.push(`${role} ${version} is not loaded; loaded are ${known}`);
    else if (!found.ready) faults.push(`${role} ${version} is not ready`);
  }
  if (!(split.share >= 0 && split.share <= 1)) faults.push("share is a number from 0 to 1");
  if (split.share > 0 && split.candidate === undefined) {
    faults.push("share is above 0 and there is no candidate");
  }
  if (split.tolerance !== undefined && !(split.tolerance >= 0)) {
    faults.push("tolerance is a number of at least 0");
  }
  if (split.candidate === split.stable) faults.push("candidate is the stable version itself");
  if (split.shadow !== undefined && split.shadow === split.stable) {
    faults.push("shadow is the stable version itself");
  }
  return faults;
}
