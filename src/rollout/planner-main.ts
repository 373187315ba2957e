// The thread that plans a rollout: half a second of computing that the server's own thread has no time for.

import { parentPort, workerData } from "node:worker_threads";
import { type PlanInput, planRollout } from "./planner.ts";

// What planner-thread.ts hands over.
parentPort?.postMessage(planRollout(workerData as PlanInput));
