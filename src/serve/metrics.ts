// The server's metrics: one call for each event. What is counted as it happens has handles that are
// resolved once; what can be asked (queues, memory) is asked when somebody scrapes.

import type { Clock } from "../base/clock.ts";
import { limits } from "../base/limits.ts";
import { BusyWindow } from "../observe/busy.ts";
import type { Exemplar, Family, Labels } from "../observe/exposition.ts";
import type { OtlpExporter } from "../observe/otlp-exporter.ts";
import { observeProcess, type ProcessWatch } from "../observe/process-metrics.ts";
import type { Counter, Handles, HistogramSeries } from "../observe/registry.ts";
import { MetricRegistry } from "../observe/registry.ts";
import { OTHER } from "../observe/series.ts";
import { type ServerFamilies, serverFamilies } from "./metric-families.ts";
import {
  type BudgetReadings,
  observeBudget,
  observeReadings,
  observeTraces,
  observeWebhooks,
  type ReadingsSnapshot,
  type VersionReadings,
  type WebhookReadings,
} from "./metric-readings.ts";
import type { Role } from "./router.ts";
import { observeTritonNames } from "./triton-metrics.ts";

/** Whose events they are. */
export interface VersionKey {
  /** Of the model. */
  readonly name: string;
  readonly version: number | string;
  readonly digest: string;
  /** Default `stable`. */
  readonly role?: Role | undefined;
}

/** An answered request. Times in seconds. */
export interface Success {
  readonly seconds: number;
  readonly rows: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** Shapes of its inputs without the batch axis; left out where it has none. */
  readonly shape?: string | undefined;
}

/** The phases that have a histogram. */
export type TimedPhase = "queue" | "computeInput" | "computeInfer" | "computeOutput" | "send";

/** A batch that ran, in monotonic milliseconds. */
export interface BatchEvent {
  readonly rows: number;
  readonly startMs: number;
  readonly endMs: number;
  /** Bytes that it was admitted with, where memory is predicted. */
  readonly bytes?: number | undefined;
}

/** What became of a copy of a request for a shadow. */
export type ShadowResult = "compared" | "failed" | "dropped";

/** A version and its state now. */
export interface WatchedVersion {
  readonly key: VersionKey;
  readonly readings: VersionReadings;
}

/** Digits of a digest that tell versions apart in a label. */
const DIGEST_CHARS = 12;

/** Reasons, causes and gates of one version: twice as many as there are of any. */
const LABEL_VALUES_MAX = 64;

/** All metrics of one server. */
export class ServerMetrics {
  readonly registry: MetricRegistry = new MetricRegistry();
  readonly #families: ServerFamilies;
  readonly #clock: Clock;
  readonly #versions = new Map<string, VersionMetrics>();
  #last: { readonly key: VersionKey; readonly metrics: VersionMetrics } | undefined;
  #budget: (() => BudgetReadings) | undefined;
  #watched: () => readonly WatchedVersion[] = () => [];
  #prepare: () => Promise<void> = async () => undefined;
  readonly #snapshot: { versions: ReadingsSnapshot["versions"] } = { versions: [] };

  /** `process`: what is known of the server's own process. */
  constructor(clock: Clock, process?: ProcessWatch) {
    this.#clock = clock;
    if (process !== undefined) observeProcess(this.registry, process);
    this.#families = serverFamilies(this.registry);
    observeReadings(this.registry, this.#snapshot);
    observeTritonNames(this.registry, this.#families, this.#snapshot);
  }

  /** Everything, for a scrape, with what takes a while to read. */
  async scrape(): Promise<readonly Family[]> {
    await this.#prepare();
    return this.collect();
  }

  /** Everything that is known at once. */
  collect(): readonly Family[] {
    this.#snapshot.versions = this.#watched().map(({ key, readings }) => {
      const { labels, saturation } = this.version(key);
      return { labels, saturation, readings };
    });
    return this.registry.collect();
  }

  /** The counters of a version in a role. */
  version(key: VersionKey): VersionMetrics {
    // Asked twice for each request, mostly for the same one.
    if (this.#last === undefined || !isSame(this.#last.key, key)) {
      this.#last = { key, metrics: this.#versionOf(key) };
    }
    return this.#last.metrics;
  }

  #versionOf(key: VersionKey): VersionMetrics {
    // No part but the last can hold a line's end.
    const name = `${key.version}\n${key.digest}\n${key.role ?? "stable"}\n${key.name}`;
    let found = this.#versions.get(name);
    if (found === undefined) {
      found = new VersionMetrics(this.#families, labelValues(key), this.#clock);
      this.#versions.set(name, found);
    }
    return found;
  }

  /** A request that named no model of this server. Names come from clients, so none is a label. */
  unknown(reason: string): void {
    this.#families.failures.with("", "", "", "", reason).add();
  }

  /** Where the state of all versions is asked for at every scrape, and what is to be read before. */
  watch(versions: () => readonly WatchedVersion[], prepare?: () => Promise<void>): void {
    this.#watched = versions;
    if (prepare !== undefined) this.#prepare = prepare;
  }

  /** Asks for the state of the memory budget at every scrape. Once. */
  watchBudget(readings: () => BudgetReadings): void {
    this.#budget = readings;
    observeBudget(this.registry, readings);
  }

  /** The state of the memory budget; undefined where none is kept. */
  budget(): BudgetReadings | undefined {
    return this.#budget?.();
  }

  /** Counts what became of the traces. Once. */
  watchTraces(exporter: Pick<OtlpExporter, "counts"> | undefined): void {
    observeTraces(this.registry, exporter);
  }

  /** Asks at every scrape how the receivers of events do. Once. */
  watchWebhooks(readings: () => readonly WebhookReadings[]): void {
    observeWebhooks(this.registry, this.#clock, readings);
  }

  /** A version is gone: its series stay until others need their place. */
  retire(model: string, version: number | string): void {
    const match = { model, version: String(version) };
    this.registry.retire(match);
    for (const [name, { labels }] of this.#versions) {
      if (labels["model"] === match.model && labels["version"] === match.version) {
        this.#versions.delete(name);
      }
    }
    this.#last = undefined;
  }
}

/** Counters of one version in one role, each resolved at its first event. */
export class VersionMetrics {
  readonly labels: Labels;
  readonly #families: ServerFamilies;
  readonly #values: readonly string[];
  readonly #counters = new Map<Handles<Counter>, Counter>();
  readonly #histograms = new Map<Handles<HistogramSeries>, HistogramSeries>();
  readonly #byLabel = new Map<Handles<Counter>, Map<string, Counter>>();
  readonly #busy: BusyWindow;

  constructor(families: ServerFamilies, values: readonly string[], clock: Clock) {
    const [model = "", version = "", digest = "", role = ""] = values;
    this.labels = { model, version, digest, role };
    this.#families = families;
    this.#values = values;
    this.#busy = new BusyWindow(clock);
  }

  /** Share of the last 15 seconds in which a batch ran, 0 to 1. */
  get saturation(): number {
    return this.#busy.share();
  }

  /** A request was answered. */
  succeeded(request: Success, exemplar?: Exemplar): void {
    const all = this.#families;
    this.#counter(all.requests).add(1, exemplar);
    this.#histogram(all.duration).record(request.seconds, exemplar);
    this.#counter(all.rows).add(request.rows);
    this.#counter(all.bytesIn).add(request.bytesIn);
    this.#counter(all.bytesOut).add(request.bytesOut);
    if (request.shape !== undefined) {
      this.#labelled(all.shapes, request.shape, limits.metricShapesMax).add();
    }
  }

  /** How long one of its phases took. */
  phase(phase: TimedPhase, seconds: number, exemplar?: Exemplar): void {
    this.#histogram(this.#families[phase]).record(seconds, exemplar);
  }

  /** A request was not answered by the model. `refused`: the server did not take it on. */
  failed(reason: string, refused: boolean, exemplar?: Exemplar): void {
    this.#labelled(this.#families.failures, reason).add(1, exemplar);
    if (refused) this.#labelled(this.#families.refusals, reason).add();
  }

  /** A request that this version failed was asked of stable again; it is counted there. */
  retried(reason: string): void {
    this.#labelled(this.#families.retried, reason).add();
  }

  /** A request's deadline passed before it had an answer. */
  deadlineMissed(): void {
    this.#counter(this.#families.deadlineMisses).add();
  }

  /** A batch ran. */
  batch({ rows, startMs, endMs, bytes }: BatchEvent): void {
    const all = this.#families;
    this.#histogram(all.batchRows).record(rows);
    this.#counter(all.busySeconds).add(Math.max(0, endMs - startMs) / 1000);
    this.#busy.add(startMs, endMs);
    if (bytes !== undefined && rows > 0) {
      this.#histogram(all.memoryPerInference).record(bytes / rows);
    }
  }

  /** Memory ran out: the name of how it showed, such as `killed` or `allocation`. */
  outOfMemory(cause: string): void {
    this.#labelled(this.#families.outOfMemory, cause).add();
  }

  /** A process was given up. */
  restarted(cause: string): void {
    this.#labelled(this.#families.restarts, cause).add();
  }

  /** A shadow's answer was compared, or was not. */
  shadowed(result: ShadowResult): void {
    this.#labelled(this.#families.shadows, result).add();
  }

  /** A batch passed a gate: whether the block behind it was left out. */
  gated(gate: string, rows: number, skipped: boolean): void {
    this.#labelled(this.#families.gatedRows, gate).add(rows);
    this.#labelled(this.#families.skipsTaken, gate).add(skipped ? rows : 0);
  }

  #counter(family: Handles<Counter>): Counter {
    let found = this.#counters.get(family);
    if (found === undefined) {
      found = family.with(...this.#values);
      this.#counters.set(family, found);
    }
    return found;
  }

  #histogram(family: Handles<HistogramSeries>): HistogramSeries {
    let found = this.#histograms.get(family);
    if (found === undefined) {
      found = family.with(...this.#values);
      this.#histograms.set(family, found);
    }
    return found;
  }

  /** The last label's values are few, or come from clients: beyond so many they are one. */
  #labelled(family: Handles<Counter>, value: string, max: number = LABEL_VALUES_MAX): Counter {
    let known = this.#byLabel.get(family);
    if (known === undefined) {
      known = new Map();
      this.#byLabel.set(family, known);
    }
    const name = known.has(value) || known.size < max ? value : OTHER;
    let found = known.get(name);
    if (found === undefined) {
      found = family.with(...this.#values, name);
      known.set(name, found);
    }
    return found;
  }
}

function isSame(a: VersionKey, b: VersionKey): boolean {
  return a.version === b.version && a.role === b.role && a.name === b.name && a.digest === b.digest;
}

function labelValues({ name, version, digest, role = "stable" }: VersionKey): readonly string[] {
  return [name, String(version), digest.replace(/^sha256:/, "").slice(0, DIGEST_CHARS), role];
}
