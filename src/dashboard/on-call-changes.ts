// What happened between two looks at the server, as events: a pure function of both.

import type {
  ServingEvent,
  ServingKind,
  ServingStatus,
  SplitStatus,
  VersionStatus,
} from "./api.ts";

/** An event that has no place and time yet. */
export type Change = Omit<ServingEvent, "id" | "atMs">;

/** States of a version that gets requests, or will again by itself. */
const SERVED: ReadonlySet<string> = new Set(["ready", "restarting"]);

/** The events between two looks, in the order of the versions. Refusals are not among them: `refusedOf` counts those. */
export function changesBetween(before: ServingStatus, after: ServingStatus): Change[] {
  const changes: Change[] = serverChanges(before, after);
  const known = new Map(before.models.map((one) => [keyOf(one), one]));
  for (const now of after.models) {
    const was = known.get(keyOf(now));
    known.delete(keyOf(now));
    if (was === undefined) changes.push(of(now, "load", now.reason, `there now: ${now.state}`));
    else changes.push(...versionChanges(was, now));
  }
  for (const gone of known.values()) {
    changes.push(of(gone, "unload", null, `gone: it was ${gone.state}`));
  }
  return [...changes, ...splitChanges(before.splits, after.splits)];
}

/** A version among all. */
export function keyOf({ model, version }: { model: string; version: number }): string {
  return `${model}/${version}`;
}

function serverChanges({ server: was }: ServingStatus, { server: now }: ServingStatus): Change[] {
  const about = { kind: "server", model: null, version: null, cause: null } as const;
  if (now.draining && !was.draining) {
    return [{ ...about, text: "the server is shutting down: what is under way is finished" }];
  }
  if (now.ready === was.ready) return [];
  return [{ ...about, text: now.ready ? "the server is ready" : "the server is not ready" }];
}

function versionChanges(was: VersionStatus, now: VersionStatus): Change[] {
  const changes: Change[] = [];
  const restarted = increases(was.restarts, now.restarts);
  for (const [cause, count] of restarted) {
    changes.push(of(now, "restart", cause, sentence(restartText(count), now.reason)));
  }
  for (const [cause, count] of increases(was.outOfMemory, now.outOfMemory)) {
    changes.push(of(now, "out-of-memory", cause, `memory ran out${times(count)}`));
  }
  if (now.state !== was.state) {
    // The restart has said why.
    const why = restarted.length > 0 ? null : now.reason;
    changes.push(of(now, "state", null, sentence(`${was.state} → ${now.state}`, why)));
  } else if (now.reason !== null && now.reason !== was.reason && restarted.length === 0) {
    changes.push(of(now, "state", null, now.reason));
  }
  if (restarted.length === 0) changes.push(...reloads(was, now));
  return changes;
}

/** Another process without one that was given up: the version was loaded again. */
function reloads(was: VersionStatus, now: VersionStatus): Change[] {
  // One that is being loaded has no digest yet.
  if (now.digest !== was.digest && now.digest !== "" && was.digest !== "") {
    const text = `loaded from another file, ${now.digest.slice(0, 19)}`;
    return [of(now, "load", "new-file", text)];
  }
  const exchanged = was.pid !== null && now.pid !== null && was.pid !== now.pid;
  const served = SERVED.has(was.state) && SERVED.has(now.state);
  if (!exchanged || !served) return [];
  return [of(now, "load", "reload", `loaded again: process ${now.pid} took over from ${was.pid}`)];
}

const SPLIT_CAUSES = { hand: "by-hand", source: "alias", rollout: "rollout" } as const;

function splitChanges(before: readonly SplitStatus[], after: readonly SplitStatus[]): Change[] {
  const known = new Map(before.map((one) => [one.model, one]));
  return after.flatMap((now) => {
    const was = known.get(now.model);
    if (was === undefined || splitText(was) === splitText(now)) return [];
    const cause = SPLIT_CAUSES[now.owner];
    const about = { kind: "split", model: now.model, version: null, cause } as const;
    return [{ ...about, text: `${splitText(was)} → ${splitText(now)}` }];
  });
}

function splitText({ stable, candidate, share, shadow }: SplitStatus): string {
  const percent = (of: number): string => `${Number((100 * of).toFixed(2))} %`;
  const split =
    candidate === null
      ? `version ${stable}`
      : `${percent(1 - share)} version ${stable}, ${percent(share)} version ${candidate}`;
  return shadow === null ? split : `${split}, copies to version ${shadow}`;
}

/** How many requests of a version were refused, by reason, between two looks. */
export function refusedBetween(
  before: ServingStatus,
  after: ServingStatus,
): { readonly status: VersionStatus; readonly reason: string; readonly count: number }[] {
  const known = new Map(before.models.map((one) => [keyOf(one), one]));
  return after.models.flatMap((status) => {
    const was = known.get(keyOf(status))?.outcomes.refused ?? {};
    return increases(was, status.outcomes.refused).map(([reason, count]) => ({
      status,
      reason,
      count,
    }));
  });
}

/** The event for requests that were refused. */
export function refusal(
  { model, version }: { model: string; version: number },
  reason: string,
  count: number,
): Change {
  const text = `${count} ${count === 1 ? "request was" : "requests were"} refused`;
  return { kind: "refused", model, version, cause: reason, text };
}

/** A version that is loaded anew may count from zero again: less than before is nothing new. */
function increases(
  before: Readonly<Record<string, number>>,
  after: Readonly<Record<string, number>>,
): [string, number][] {
  return Object.entries(after)
    .map(([name, count]): [string, number] => [name, count - (before[name] ?? 0)])
    .filter(([, more]) => more > 0);
}

function restartText(count: number): string {
  return count === 1 ? "its process was given up" : `its process was given up${times(count)}`;
}

function times(count: number): string {
  return count === 1 ? "" : ` ${count} times`;
}

function sentence(text: string, reason: string | null): string {
  return reason === null || reason === "" ? text : `${text}: ${reason}`;
}

function of(
  { model, version }: VersionStatus,
  kind: ServingKind,
  cause: string | null,
  text: string,
): Change {
  return { kind, model, version, cause, text };
}
