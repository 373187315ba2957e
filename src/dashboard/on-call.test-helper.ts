// A state of a server for tests: one version that is as it should be, and whatever is changed of it.

import type { ServingStatus, VersionStatus } from "./api.ts";

/** Version 1 of `net`, ready. */
export function fakeVersion(change: Partial<VersionStatus> = {}): VersionStatus {
  return {
    ...{ model: "net", version: 1, digest: "sha256:aa", state: "ready", reason: null },
    ...{ role: "stable", share: 1, ratePerSecond: 2, saturation: 0.5, pid: 100 },
    outcomes: { good: 0, failed: {}, refused: {}, client: {} },
    latency: { windowSeconds: 60, n: 120, p50Ms: 4, p99Ms: null },
    batches: { runs: 0, rows: 0 },
    readings: {
      ready: true,
      queue: { requests: 0, rows: 0, bytes: 0, oldestMs: 0 },
      inFlight: 0,
      processes: [{ slot: "serving", residentBytes: 50, peakResidentBytes: 80 }],
    },
    restarts: {},
    outOfMemory: {},
    ...change,
  };
}

/** A server with these versions. */
export function fakeStatus(
  models: readonly VersionStatus[],
  change: Partial<ServingStatus> = {},
): ServingStatus {
  return { server: { ready: true, draining: false }, budget: null, models, splits: [], ...change };
}
