// The state of a version for a scrape and for people: what its queue and its processes say now.

import { memoryOf, proportionalBytesOf } from "../runtime/memory-probe.ts";
import { WINDOW_MS } from "./counters.ts";
import type { ModelStats } from "./hosting.ts";
import type { CauseKind } from "./life.ts";
import type { ProcessReadings, VersionReadings } from "./metric-readings.ts";
import type { VersionHost } from "./version-host.ts";

/**
 * Asks a version. The proportional share of memory takes milliseconds of a process of a hundred MiB, in which this
 * one does nothing else: who asks each second, or waits for an answer, leaves it out.
 */
export function readingsOf(
  host: VersionHost,
  { proportional }: { readonly proportional: boolean },
): VersionReadings {
  const { requests, rows, bytes, running } = host.engine.load();
  const processes = new Map<string, ProcessReadings>();
  for (const { pid, serves, predictedBytes } of host.processes()) {
    const slot = serves ? "serving" : "spare";
    const memory = memoryOf(pid);
    // While a process is exchanged there may be two that do not serve: one series can have one value.
    if (memory === undefined || processes.has(slot)) continue;
    const proportionalBytes = proportional ? proportionalBytesOf(pid) : undefined;
    processes.set(slot, { slot, ...memory, proportionalBytes, predictedBytes });
  }
  return {
    ready: host.ready,
    queue: { requests, rows, bytes, oldestMs: host.engine.oldestWaitMs() },
    inFlight: running,
    processes: [...processes.values()],
  };
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
