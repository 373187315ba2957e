// Plans a rollout beside the thread that serves.

import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { builtEntry } from "../base/entry.ts";
import { messageOf, SkipwayError } from "../base/errors.ts";
import type { PlanInput, RolloutPlan } from "./planner.ts";

/** Plans take less than a second on a busy machine. */
const LIMIT_MS = 30_000;

/**
 * What each step takes, found in a thread of its own.
 *
 * @throws SkipwayError `environment` where the thread fails or takes too long.
 */
export async function planAside(input: PlanInput): Promise<RolloutPlan> {
  const worker = new Worker(builtEntry(import.meta.url, "./planner-main.js"), {
    execArgv: [],
    env: {},
    workerData: input,
  });
  try {
    const [plan] = await once(worker, "message", { signal: AbortSignal.timeout(LIMIT_MS) });
    // What planner-main.ts answers.
    return plan as RolloutPlan;
  } catch (cause) {
    const text = `the rollout cannot be planned: ${messageOf(cause)}`;
    throw new SkipwayError("environment", text, { cause });
  } finally {
    void worker.terminate();
  }
}
