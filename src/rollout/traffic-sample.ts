// The last requests that stable answered, so that a plan knows how many of them count as one: how often batches are
// slow, and how often the same clients are why.

import type { RequestOutcome } from "../serve/outcomes.ts";
import { Suspects } from "./judge/keys.ts";

/** What counts as one, and how often it is slow. */
export interface SampledUnits {
  /** Requests of a batch, on average. */
  readonly rowsPerBatch: number;
  /** Share of batches that are slow. */
  readonly slowRate: number;
  /** Of slow batches, the share that the judge would compare, where clients keep their version. */
  readonly distinct: number;
}

/** So many requests are remembered of a model: 16 bytes each. */
const REMEMBERED = 8192;
/** Slow batches that tell a share. */
const SLOW_MIN = 20;

interface SampledBatch {
  readonly keys: Set<number>;
  readonly slowKeys: Set<number | undefined>;
}

/** A ring of requests of one model. */
export class TrafficSample {
  readonly #batches = new Float64Array(REMEMBERED);
  readonly #latencies = new Float32Array(REMEMBERED);
  /** -1: it had no key. */
  readonly #keys = new Float64Array(REMEMBERED);
  #version = 0;
  #count = 0;

  /** Takes a request, if it is one that stable answered. */
  take({ role, version, latencyMs, batch, key }: RequestOutcome): void {
    if (role !== "stable" || latencyMs === undefined || batch === undefined) return;
    if (version !== this.#version) {
      this.#version = version;
      this.#count = 0;
    }
    const at = this.#count++ % REMEMBERED;
    this.#batches[at] = batch;
    this.#latencies[at] = latencyMs;
    this.#keys[at] = key ?? -1;
  }

  /** What was seen of a version; undefined where that is too little to say. */
  read(version: number, thresholdMs: number): SampledUnits | undefined {
    if (version !== this.#version) return undefined;
    const batches = this.#byBatch(thresholdMs);
    const suspects = new Suspects();
    let [requests, slow, compared] = [0, 0, 0];
    requests = Math.min(this.#count, REMEMBERED);
    for (const { keys, slowKeys } of batches) {
      const isSlow = slowKeys.size > 0;
      const [alone] = slowKeys.size === 1 ? slowKeys : [];
      const admitted = keys.size === 0 || suspects.admits([...keys], isSlow, alone);
      slow += Number(isSlow);
      compared += Number(isSlow && admitted);
    }
    if (slow < SLOW_MIN) return undefined;
    const units = batches.length;
    return { rowsPerBatch: requests / units, slowRate: slow / units, distinct: compared / slow };
  }

  /** In the order in which they ended. */
  #byBatch(thresholdMs: number): readonly SampledBatch[] {
    const found = new Map<number, SampledBatch>();
    for (let i = Math.max(0, this.#count - REMEMBERED); i < this.#count; i++) {
      const at = i % REMEMBERED;
      const number = this.#batches[at] ?? 0;
      let batch = found.get(number);
      if (batch === undefined) {
        batch = { keys: new Set(), slowKeys: new Set() };
        found.set(number, batch);
      }
      const key = this.#keys[at] ?? -1;
      if (key >= 0) batch.keys.add(key);
      if ((this.#latencies[at] ?? 0) > thresholdMs) batch.slowKeys.add(key < 0 ? undefined : key);
    }
    return [...found.values()];
  }
}
