// A parent that starts a model's process, says its pid, and waits to be killed: parent.mjs MODEL WORK.

import { float32 } from "../../dist/graph/tensor.js";
import { childProcessRunner } from "../../dist/runtime/child-process.js";
import { ModelProcess } from "../../dist/runtime/model-process.js";

const [path, work] = process.argv.slice(2);

async function started() {
  if (work === "loading" || work === "spare") {
    const child = new ModelProcess();
    await child.ask({ kind: "prepare" });
    if (work === "loading") child.ask({ kind: "load", path }).catch(() => undefined);
    return child.pid;
  }
  const session = await childProcessRunner().load({ path });
  const run = () => session.run(new Map([["x", float32([1], [1])]])).catch(() => undefined);
  if (work !== "idle") void run();
  return session.pid;
}

process.stdout.write(`${await started()}\n`);
// Where the answer is to stay in the socket, nobody reads it.
if (work === "full") Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
setInterval(() => undefined, 1000);
