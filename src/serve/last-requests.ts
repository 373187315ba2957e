// The last requests that a version answered as stable: which batch each was of, how long it took and whose it was.
// Written with every answer, so three numbers in rings; read when a rollout is planned.

/** So many requests are remembered of a version: 20 bytes each, from the first on. */
const REMEMBERED = 8192;
const NO_KEY = -1;

/** One of them. */
export interface LastRequest {
  readonly batch: number;
  readonly latencyMs: number;
  /** Hash of the key that keeps a client at its version, if it sent one. */
  readonly key: number | undefined;
}

interface Rings {
  readonly batches: Float64Array;
  readonly latencies: Float32Array;
  readonly keys: Float64Array;
}

/** A ring of requests of one version. */
export class LastRequests {
  #rings: Rings | undefined;
  #count = 0;

  /** How many are remembered. */
  get size(): number {
    return Math.min(this.#count, REMEMBERED);
  }

  add(batch: number, latencyMs: number, key: number | undefined): void {
    this.#rings ??= {
      batches: new Float64Array(REMEMBERED),
      latencies: new Float32Array(REMEMBERED),
      keys: new Float64Array(REMEMBERED),
    };
    const at = this.#count++ % REMEMBERED;
    this.#rings.batches[at] = batch;
    this.#rings.latencies[at] = latencyMs;
    this.#rings.keys[at] = key ?? NO_KEY;
  }

  /** In the order in which they ended. */
  *read(): Generator<LastRequest> {
    if (this.#rings === undefined) return;
    const { batches, latencies, keys } = this.#rings;
    for (let i = this.#count - this.size; i < this.#count; i++) {
      const at = i % REMEMBERED;
      const key = keys[at] ?? NO_KEY;
      yield {
        batch: batches[at] ?? 0,
        latencyMs: latencies[at] ?? 0,
        key: key === NO_KEY ? undefined : key,
      };
    }
  }
}
