// A parent that starts a model's process, says its pid, and waits to be killed.

import { readFile } from "node:fs/promises";
import { float32 } from "../../dist/graph/tensor.js";
import { childProcessRunner } from "../../dist/runtime/child-process.js";

const [model, work] = process.argv.slice(2);
const session = await childProcessRunner().load({ bytes: await readFile(model) });
if (work === "busy") session.run(new Map([["x", float32([1], [1])]])).catch(() => undefined);
process.stdout.write(`${session.pid}\n`);
setInterval(() => undefined, 1000);
