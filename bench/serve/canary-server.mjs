// Our server with two versions of one model, whose split is set here, as a rollout sets it: canary-server.mjs PATH.
// One task sets it, and gives the time at which that was done.

import { childProcessRunner } from "../../dist/runtime/child-process.js";
import { ModelServer } from "../../dist/serve/server.js";
import { answerTasks } from "./tasks.mjs";

const [, , path] = process.argv;
const server = new ModelServer({
  version: "bench",
  runner: childProcessRunner(),
  settings: { probeEveryMs: 1000, stuckAfterMs: 900 },
});
const address = await server.listen({ port: 0 });
for (const version of [1, 2]) {
  await server.serve({ name: "m", version, path, digest: `bench-${version}` });
}
// Who judges listens all the time.
let told = 0;
server.outcomes.subscribe(() => told++);

answerTasks({
  where: () => address,
  split: (split) => {
    server.fleet.setSplit("m", split, { by: "rollout" });
    return Date.now();
  },
  /** The process of a version that answers now; null where none does. */
  pid: (version) => server.stats().find((one) => one.version === version)?.pid ?? null,
  shadow: () => server.fleet.entry("m").shadow.report(),
  told: () => told,
});
