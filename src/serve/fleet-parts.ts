// What a fleet needs of its surroundings, and what it gives each of its hosts.

import type { Clock } from "../base/clock.ts";
import type { Counters } from "./counters.ts";
import type { HostReport, ServedModel } from "./hosting.ts";
import type { Invariance } from "./invariance.ts";
import type { ServerMetrics, VersionMetrics } from "./metrics.ts";
import type { ModelSource } from "./sources.ts";
import type { VersionHost } from "./version-host.ts";

/** What a fleet gives each of its hosts. */
export interface HostSurroundings {
  /** Of those before it. */
  readonly counters: Counters;
  /** Found out before, of the same file. */
  readonly invariance: Invariance | undefined;
  readonly metrics: (() => VersionMetrics) | undefined;
  readonly report: HostReport;
  readonly onState: () => void;
  /** Whether no client waits for its answers now. */
  readonly background: () => boolean;
  readonly notice: ((line: string) => void) | undefined;
}

/** What a fleet needs. */
export interface FleetParts {
  readonly source: ModelSource;
  readonly clock: Clock;
  /** Counts what happens to the versions. */
  readonly metrics?: ServerMetrics | undefined;
  /** A host for a version, not started. */
  host(model: ServedModel, around: HostSurroundings): VersionHost;
  /** Uniform in [0, 1). */
  uniform(): number;
  /** How long requests under way may take when their version ends. Milliseconds. */
  readonly drainMs: number;
  /** How long a model may load before the next one begins to. Milliseconds. */
  readonly patienceMs?: number;
  /** Told what an operator ought to know, a line each. Stays on this machine: it may name files. */
  readonly notice?: ((line: string) => void) | undefined;
}
