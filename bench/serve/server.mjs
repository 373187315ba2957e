// Our server with what the command line does not show: how long each refused request took, and the processes of each
// model. server.mjs {"models": {"name": "path"}, "settings": {…}, "otlp": "http://…"}

import { traceSettings } from "../../dist/observe/otlp-options.js";
import { childProcessRunner } from "../../dist/runtime/child-process.js";
import { ModelServer } from "../../dist/serve/server.js";
import { fileSource } from "../../dist/serve/sources.js";
import { answerTasks } from "./tasks.mjs";

const { models, settings, otlp, log = false } = JSON.parse(process.argv[2]);
const refusals = [];
const write = (line) => {
  const { status, reason, tookMs, phasesMs } = JSON.parse(line);
  // Who was refused at the door has not waited in the queue.
  refusals.push({ status, reason, tookMs, queuedMs: phasesMs?.queue });
};
const server = new ModelServer({
  version: "bench",
  source: fileSource(new Map(Object.entries(models))),
  settings,
  runner: childProcessRunner(),
  traces: traceSettings({}, "bench", otlp === undefined ? {} : { otlp }),
  ...(log && { log: { mode: "errors", write } }),
});
const address = await server.listen({ port: 0, grpcPort: 0 });
await server.follow(0);

answerTasks({
  where: () => ({ address, grpc: `127.0.0.1:${server.grpcPort}` }),
  refusals: () => refusals.splice(0),
  processes: () =>
    server.stats().map(({ model, pid, sparePid, state }) => ({ model, pid, sparePid, state })),
});
