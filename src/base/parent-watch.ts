// A child process whose thread computes does not see that its parent is gone: the end of the pipe waits
// until the run is over, which may be never. A second thread sees it, and ends the process.

import { Worker } from "node:worker_threads";

const INTERVAL_MS = 500;

/**
 * As text, so that it needs no file of its own. The system gives an orphan another parent; on Windows
 * the number stays, but nobody answers to it.
 */
const WATCH = `
  const { workerData } = require("node:worker_threads");
  const alive = () => {
    if (process.ppid !== workerData.parent) return false;
    try {
      process.kill(workerData.parent, 0);
      return true;
    } catch (error) {
      return error.code === "EPERM";
    }
  };
  setInterval(() => {
    if (!alive()) process.kill(process.pid, "SIGKILL");
  }, workerData.interval);
`;

/**
 * Ends this process within a second when its parent is gone, whatever its main thread does.
 *
 * @param parent Its number, as the parent said it: one that dies before it is looked up has another by then.
 */
export function endWithParent(parent: number = process.ppid): void {
  const worker = new Worker(WATCH, {
    eval: true,
    workerData: { parent, interval: INTERVAL_MS },
    // It does next to nothing: a heap like that of the main thread would be 8 MB more for each process.
    resourceLimits: { maxYoungGenerationSizeMb: 1, maxOldGenerationSizeMb: 8 },
  });
  // It must not keep a process alive that has nothing left to do.
  worker.unref();
}
