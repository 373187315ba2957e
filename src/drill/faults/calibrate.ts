// How many iterations of a burning loop make a run take so long, here and now: measured, since processors differ.

import type { Clock } from "../../base/clock.ts";
import type { Model } from "../../onnx/model.ts";
import { encodeModel } from "../../onnx/write.ts";
import type { Runner, Tensors } from "../../runtime/runner.ts";
import { slow } from "./model-faults.ts";

/** Enough to be seen beside the model itself. */
const PROBE_ITERATIONS = 64;
const ROUNDS = 3;

/** How long a run of a model takes, in milliseconds. */
export type Measure = (model: Model) => Promise<number>;

/**
 * Iterations with which a run of `slow(model)` takes about `runMs`; at least 1.
 *
 * @param measure of one model, as steadily as it can.
 */
export async function iterationsFor(
  model: Model,
  runMs: number,
  measure: Measure,
): Promise<number> {
  let iterations = PROBE_ITERATIONS;
  for (let round = 0; round < ROUNDS; round++) {
    const [plainMs, slowMs] = [await measure(model), await measure(slow(model, { iterations }))];
    // A burst on the machine may make the slower one faster: it says nothing then.
    if (slowMs <= plainMs) continue;
    const eachMs = (slowMs - plainMs) / iterations;
    iterations = Math.max(1, Math.round((runMs - plainMs) / eachMs));
  }
  return iterations;
}

/** The middle of so many runs, after a few that are not counted. */
export function medianRunMs(
  inputs: Tensors,
  { runner, clock, runs = 30 }: { runner: Runner; clock: Clock; runs?: number },
): Measure {
  return async (model) => {
    await using session = await runner.load({ bytes: encodeModel(model) });
    const times: number[] = [];
    for (let i = 0; i < runs + 5; i++) {
      const fromMs = clock.monotonicMs();
      await session.run(inputs);
      times.push(clock.monotonicMs() - fromMs);
    }
    const counted = times.slice(5).sort((a, b) => a - b);
    return counted[Math.floor(counted.length / 2)] ?? 0;
  };
}
