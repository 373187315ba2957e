// The process that trains one twin: its job comes as the first argument, progress and result go to the
// parent as messages. A run blocks its thread, so each twin needs a process; one that is killed leaves
// its last checkpoint.

import { messageOf, SkipwayError } from "../base/errors.ts";
import { endWithParent } from "../base/parent-watch.ts";
import { processMemory } from "../runtime/memory-probe.ts";
import { type StarterJob, trainStarter } from "./starter.ts";
import type { WorkerMessage } from "./worker.ts";

// The terminal's Ctrl-C reaches the whole group: the parent decides what happens.
process.on("SIGINT", () => undefined);
// Without a parent nobody wants the result. The event is seen between two epochs, the watch at once.
endWithParent();
process.on("disconnect", () => process.exit(0));

function send(message: WorkerMessage): void {
  // A write to a parent that has just died fails before the disconnection is noticed.
  process.send?.(message, undefined, undefined, (error) => {
    if (error !== null) process.exit(0);
  });
}

async function main(): Promise<void> {
  // Written by worker.ts from a StarterJob.
  const job = JSON.parse(process.argv[2] ?? "{}") as StarterJob;
  try {
    const { run } = await trainStarter(job, {
      onStep: (progress) => send({ kind: "step", progress }),
    });
    const { model: _model, ...facts } = run;
    const peakRssBytes = processMemory().peakResidentBytes;
    send({ kind: "done", result: { ...facts, peakRssBytes } });
  } catch (error) {
    const known = error instanceof SkipwayError;
    send({
      kind: "failed",
      code: known ? error.code : "internal",
      message: messageOf(error),
      diagnostics: known ? error.diagnostics : [],
    });
  }
  process.disconnect();
}

await main();
