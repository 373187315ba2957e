// The state of a version for a scrape: what its queue and its processes say now.

import { memoryOf, proportionalBytesOf } from "../runtime/memory-probe.ts";
import type { ProcessReadings, VersionReadings } from "./metric-readings.ts";
import type { VersionHost } from "./version-host.ts";

/** Asks a version. */
export function readingsOf(host: VersionHost): VersionReadings {
  const { requests, rows, bytes, running } = host.engine.load();
  const processes = new Map<string, ProcessReadings>();
  for (const { pid, serves, predictedBytes } of host.processes()) {
    const slot = serves ? "serving" : "spare";
    const memory = memoryOf(pid);
    // While a process is exchanged there may be two that do not serve: one series can have one value.
    if (memory === undefined || processes.has(slot)) continue;
    const proportionalBytes = proportionalBytesOf(pid);
    processes.set(slot, { slot, ...memory, proportionalBytes, predictedBytes });
  }
  return {
    ready: host.ready,
    queue: { requests, rows, bytes, oldestMs: host.engine.oldestWaitMs() },
    inFlight: running,
    processes: [...processes.values()],
  };
}
