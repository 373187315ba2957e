// The server's state as the pages are told it.

import type { FailureReason } from "../serve/errors.ts";
import type { IndexRow } from "../serve/extensions.ts";
import type { SplitOwner } from "../serve/fleet-slot.ts";
import { type Role, roleOf, type TrafficSplit } from "../serve/router.ts";
import type { ModelServer } from "../serve/server.ts";
import type { VersionHost } from "../serve/version-host.ts";
import { readingsOf } from "../serve/version-readings.ts";
import type { Outcomes, ServingStatus, SplitStatus, VersionStatus } from "./api.ts";

type Blame = Exclude<keyof Outcomes, "good">;

/** Whose matter a failure is. */
const BLAME: Readonly<Record<FailureReason, Blame>> = {
  "process-died": "failed",
  runtime: "failed",
  "queue-full": "refused",
  "not-ready": "refused",
  deadline: "refused",
  memory: "refused",
  invalid: "client",
  unauthorized: "client",
  canceled: "client",
  withdrawn: "refused",
};

/** How requests ended, from how many were answered and why others were not. */
export function outcomesOf(good: number, failures: ReadonlyMap<FailureReason, number>): Outcomes {
  const counts: Record<Blame, Record<string, number>> = { failed: {}, refused: {}, client: {} };
  for (const [reason, count] of failures) counts[BLAME[reason]][reason] = count;
  return { good, ...counts };
}

/** Everything that a server serves, as it is now. */
export function servingStatus(server: ModelServer): ServingStatus {
  const { fleet } = server;
  const hosts = fleet.hosts();
  const index = fleet.index();
  const names = [...new Set(hosts.map(({ name }) => name))];
  const splits = names.flatMap((name) => {
    const entry = fleet.entry(name);
    return entry === undefined ? [] : [{ model: name, ...entry }];
  });
  const byName = new Map(splits.map(({ model, split }) => [model, split]));
  const served = hosts.map((host) => {
    const row = index.find((one) => one.name === host.name && one.version === `${host.version}`);
    return versionStatus(server, host, { split: byName.get(host.name), row });
  });
  const there = new Set(served.map(({ model, version }) => `${model}/${version}`));
  const others = index.filter(
    ({ name, version }) => version !== "" && !there.has(`${name}/${version}`),
  );
  return {
    server: { ready: server.ready(), draining: server.draining },
    budget: server.budget() ?? null,
    models: [...served, ...others.map(unservedStatus)].sort(inOrder),
    splits: splits.map(splitStatus),
  };
}

/** By name, the newest version first. */
function inOrder(a: VersionStatus, b: VersionStatus): number {
  if (a.model !== b.model) return a.model < b.model ? -1 : 1;
  return b.version - a.version;
}

function versionStatus(
  server: ModelServer,
  host: VersionHost,
  around: { split: TrafficSplit | undefined; row: IndexRow | undefined },
): VersionStatus {
  const { split, row } = around;
  const stats = host.stats();
  const { counters } = host;
  const memory = stats.restartsByCause["out-of-memory"];
  return {
    model: host.name,
    version: host.version,
    digest: host.digest,
    state: stats.state,
    // The index has what became of a load while the version before serves.
    reason: stats.reason ?? (row?.reason || null),
    ...trafficOf(split, host.version),
    outcomes: outcomesOf(stats.requests, counters.failures),
    ratePerSecond: stats.ratePerSecond,
    latency: stats.latency,
    batches: { runs: counters.executions, rows: counters.inferences },
    saturation: server.saturationOf(host),
    readings: readingsOf(host),
    pid: stats.pid ?? null,
    restarts: defined(stats.restartsByCause),
    outOfMemory: memory === undefined ? {} : { "process ended": memory },
  };
}

function trafficOf(
  split: TrafficSplit | undefined,
  version: number,
): { readonly role: Role; readonly share: number } {
  if (split === undefined) return { role: "pinned", share: 0 };
  const role = roleOf(split, version);
  const shares: Partial<Record<Role, number>> = { stable: 1 - split.share, candidate: split.share };
  return { role, share: shares[role] ?? 0 };
}

/** A version without a process that could answer: it is loading, has failed, or finishes what it has. */
function unservedStatus({ name, version, state, reason }: IndexRow): VersionStatus {
  const words = {
    LOADING: "loading",
    UNLOADING: "draining",
    UNAVAILABLE: "failed",
    READY: "ready",
  };
  return {
    model: name,
    version: Number(version),
    digest: "",
    state: words[state],
    reason: reason === "" ? null : reason,
    role: "pinned",
    share: 0,
    outcomes: outcomesOf(0, new Map()),
    ratePerSecond: 0,
    latency: { windowSeconds: 60, n: 0, p50Ms: null, p99Ms: null },
    batches: { runs: 0, rows: 0 },
    saturation: null,
    readings: {
      ready: false,
      queue: { requests: 0, rows: 0, bytes: 0, oldestMs: 0 },
      inFlight: 0,
      processes: [],
    },
    pid: null,
    restarts: {},
    outOfMemory: {},
  };
}

function splitStatus({
  model,
  split,
  owner,
}: {
  readonly model: string;
  readonly split: TrafficSplit;
  readonly owner: SplitOwner;
}): SplitStatus {
  const { stable, candidate, share, shadow } = split;
  const versions = { stable, candidate: candidate ?? null, share, shadow: shadow ?? null };
  return { model, ...versions, byHand: owner === "hand", owner };
}

function defined(
  counts: Readonly<Partial<Record<string, number>>>,
): Readonly<Record<string, number>> {
  const entries = Object.entries(counts).map(([name, count]): [string, number] => [
    name,
    count ?? 0,
  ]);
  return Object.fromEntries(entries);
}
