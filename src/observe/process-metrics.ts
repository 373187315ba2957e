// What a process tells of itself, under the names that Prometheus clients use: processor time, memory,
// files, and how late its event loop is.

import { readdirSync, readFileSync } from "node:fs";
import { type IntervalHistogram, monitorEventLoopDelay, performance } from "node:perf_hooks";
import type { Clock } from "../base/clock.ts";
import type { Sample } from "./exposition.ts";
import type { MetricRegistry } from "./registry.ts";

/** How often the event loop is looked at. */
const RESOLUTION_MS = 10;
/** Lateness is told of the last whole span of this length and what came after. */
const SPAN_MS = 15_000;
const NS = 1e9;

/** Watches the event loop of this process, until it is closed. */
export class ProcessWatch {
  /** When the process began, in seconds since the Unix epoch. */
  readonly startedSeconds: number;
  readonly #loop: IntervalHistogram;
  readonly #timer: NodeJS.Timeout;
  #before: Lateness = { p50: 0, p99: 0, max: 0 };

  constructor(clock: Clock) {
    this.startedSeconds = (clock.nowMs() - process.uptime() * 1000) / 1000;
    this.#loop = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
    this.#loop.enable();
    this.#timer = setInterval(() => {
      this.#before = this.#current();
      this.#loop.reset();
    }, SPAN_MS).unref();
  }

  /** How late the event loop was lately, in seconds. */
  lateness(): Lateness {
    const now = this.#current();
    const worst = (key: keyof Lateness): number => Math.max(now[key], this.#before[key]);
    return { p50: worst("p50"), p99: worst("p99"), max: worst("max") };
  }

  close(): void {
    clearInterval(this.#timer);
    this.#loop.disable();
  }

  #current(): Lateness {
    if (this.#loop.count === 0) return { p50: 0, p99: 0, max: 0 };
    // The histogram has the time between two looks; what is beyond the resolution is late.
    const late = (ns: number): number => Math.max(0, ns / NS - RESOLUTION_MS / 1000);
    const [p50, p99] = [this.#loop.percentile(50), this.#loop.percentile(99)];
    return { p50: late(p50), p99: late(p99), max: late(this.#loop.max) };
  }
}

interface Lateness {
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

/** Declares the families. */
export function observeProcess(registry: MetricRegistry, watch: ProcessWatch): void {
  const family = (type: "counter" | "gauge") => {
    return (name: string, help: string, value: () => number | undefined): void =>
      registry.observe({ name, type, help, labels: [] }, (): Sample[] => {
        const found = value();
        return found === undefined ? [] : [{ labels: {}, value: found }];
      });
  };
  const [counter, gauge] = [family("counter"), family("gauge")];
  counter("process_cpu_seconds", "Processor seconds of the server's own process", () => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1e6;
  });
  gauge(
    "process_start_time_seconds",
    "When the process began, in seconds since the Unix epoch",
    () => watch.startedSeconds,
  );
  gauge("process_resident_memory_bytes", "Resident bytes of the server's own process", () =>
    process.memoryUsage.rss(),
  );
  gauge("process_open_fds", "Open files and connections", openFiles);
  gauge("process_max_fds", "Most files and connections that may be open", filesMax);
  const heap = "nodejs_heap_size";
  gauge(`${heap}_used_bytes`, "Bytes of the JavaScript heap in use", () => memory().heapUsed);
  gauge(`${heap}_total_bytes`, "Bytes of the JavaScript heap", () => memory().heapTotal);
  gauge(
    "nodejs_external_memory_bytes",
    "Bytes outside of the JavaScript heap, buffers included",
    () => memory().external,
  );
  const lag = "nodejs_eventloop_lag";
  const recent = "the event loop was late in the last 15 to 30 seconds";
  gauge(`${lag}_p50_seconds`, `Seconds that ${recent}, median`, () => watch.lateness().p50);
  gauge(`${lag}_p99_seconds`, `Seconds that ${recent}, P99`, () => watch.lateness().p99);
  gauge(`${lag}_max_seconds`, `Seconds that ${recent}, at most`, () => watch.lateness().max);
  counter(
    "nodejs_eventloop_busy_seconds",
    "Seconds in which the event loop did not wait; its rate is its utilisation",
    () => performance.eventLoopUtilization().active / 1000,
  );
}

function memory(): NodeJS.MemoryUsage {
  return process.memoryUsage();
}

/** Of proc(5); undefined where there is none. */
function openFiles(): number | undefined {
  try {
    return readdirSync("/proc/self/fd").length;
  } catch {
    return undefined;
  }
}

function filesMax(): number | undefined {
  try {
    const found = /^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"));
    return found === null ? undefined : Number(found[1]);
  } catch {
    return undefined;
  }
}
