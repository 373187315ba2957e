// The state of a version for a scrape and for people: what its queue and its processes say now.

import { memoryOf, proportionalBytesOf } from "../runtime/memory-probe.ts";
import { WINDOW_MS } from "./counters.ts";
import type { ModelStats } from "./hosting.ts";
import type { CauseKind } from "./life.ts";
import type { ProcessReadings, VersionReadings } from "./metric-readings.ts";
import type { VersionHost } from "./version-host.ts";

/**
 * Asks a version.
 *
 * @param proportional bytes of its processes with shared pages divided, by pid, where they have been read: that takes
 * milliseconds.
 */
export function readingsOf(
  host: VersionHost,
  proportional: ReadonlyMap<number, number> = new Map(),
): VersionReadings {
  const { requests, rows, bytes, running } = host.engine.load();
  const processes = new Map<string, ProcessReadings>();
  for (const { pid, serves, predictedBytes } of host.processes()) {
    const slot = serves ? "serving" : "spare";
    const memory = memoryOf(pid);
    // While a process is exchanged there may be two that do not serve: one series can have one value.
    if (memory === undefined || processes.has(slot)) continue;
    const proportionalBytes = proportional.get(pid);
    processes.set(slot, { slot, ...memory, proportionalBytes, predictedBytes });
  }
  return {
    ready: host.ready,
    queue: { requests, rows, bytes, oldestMs: host.engine.oldestWaitMs() },
    inFlight: running,
    processes: [...processes.values()],
  };
}

/** What the processes of all versions hold, shared pages divided, by pid. */
export async function proportionalBytes(
  hosts: readonly VersionHost[],
): Promise<ReadonlyMap<number, number>> {
  const pids = hosts.flatMap((host) => host.processes().map(({ pid }) => pid));
  const found = await Promise.all(
    pids.map(async (pid): Promise<[number, number][]> => {
      const bytes = await proportionalBytesOf(pid);
      return bytes === undefined ? [] : [[pid, bytes]];
    }),
  );
  return new Map(found.flat());
}

/** What it has done and does. */
export function statsOf(host: VersionHost, restarts: ReadonlyMap<CauseKind, number>): ModelStats {
  const { counters, engine } = host;
  const recent = counters.recent.total();
  const quantile = (p: number): number | null => recent.quantile(p).value ?? null;
  const processes = host.processes();
  const pid = processes.find((one) => one.serves)?.pid;
  const load = engine.load();
  return {
    model: host.name,
    version: host.version,
    state: host.phase,
    reason: host.reason,
    requests: counters.durations.count,
    failures: Object.fromEntries(counters.failures),
    ratePerSecond: recent.count / (WINDOW_MS / 1000),
    latency: {
      windowSeconds: WINDOW_MS / 1000,
      n: recent.count,
      p50Ms: quantile(0.5),
      p99Ms: quantile(0.99),
    },
    queued: load.requests,
    inFlight: load.running,
    restarts: [...restarts.values()].reduce((a, b) => a + b, 0),
    restartsByCause: Object.fromEntries(restarts),
    pid,
    sparePid: processes.find((one) => !one.serves)?.pid,
    memory: pid === undefined ? undefined : memoryOf(pid),
  };
}
