// What the last requests that stable answered say to a plan: how many of them count as one, how often batches are
// slow, and how often the same clients are why.

import type { LastRequests } from "../serve/last-requests.ts";
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

/** Slow batches that tell a share. */
const SLOW_MIN = 20;

interface SampledBatch {
  readonly keys: Set<number>;
  readonly slowKeys: Set<number | undefined>;
}

/** What was seen of a version; undefined where that is too little to say. */
export function sampledUnits(
  requests: LastRequests,
  thresholdMs: number,
): SampledUnits | undefined {
  const batches = byBatch(requests, thresholdMs);
  const suspects = new Suspects();
  let [slow, compared] = [0, 0];
  for (const { keys, slowKeys } of batches) {
    const isSlow = slowKeys.size > 0;
    const [alone] = slowKeys.size === 1 ? slowKeys : [];
    const admitted = keys.size === 0 || suspects.admits([...keys], isSlow, alone);
    slow += Number(isSlow);
    compared += Number(isSlow && admitted);
  }
  if (slow < SLOW_MIN) return undefined;
  const units = batches.length;
  return { rowsPerBatch: requests.size / units, slowRate: slow / units, distinct: compared / slow };
}

/** In the order in which they ended. */
function byBatch(requests: LastRequests, thresholdMs: number): readonly SampledBatch[] {
  const found = new Map<number, SampledBatch>();
  for (const { batch: number, latencyMs, key } of requests.read()) {
    let batch = found.get(number);
    if (batch === undefined) {
      batch = { keys: new Set(), slowKeys: new Set() };
      found.set(number, batch);
    }
    if (key !== undefined) batch.keys.add(key);
    if (latencyMs > thresholdMs) batch.slowKeys.add(key);
  }
  return [...found.values()];
}
