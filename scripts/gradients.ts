// `npm run test:gradients [-- OP …]`: the whole gradient suite, or the cases of some ops, in a process for
// each of two cores. Prints a line an op and exits 1 on a fault. `--cases N` sets how many cases an op has.
// Without names of ops, random graphs and whole networks too; `--networks` checks those alone.
// `npm run generate:gradients` (`--write`) writes docs/reference/gradients.md from the same run; the page's
// structure is a test (test/reference.test.ts).

import { fork } from "node:child_process";
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import type { Finding } from "../test/gradients/check.ts";
import { CASES, covered, forwardOnly, uncovered } from "../test/gradients/suite.ts";
import { networkTasks, type Outcome, type Task } from "./gradient-tasks.ts";
import { GRADIENTS_PAGE, gradientsPage } from "./gradients-page.ts";

const PROCESSES = 2;
const RANDOM_GRAPHS = 500;
const GRAPHS_A_TASK = 50;

/** Lets processes do the tasks; hands on outcomes in the order of the tasks. */
async function share(
  tasks: readonly Task[],
  take: (outcome: Outcome, task: Task) => void,
): Promise<void> {
  const outcomes = new Map<number, Outcome>();
  let [next, told] = [0, 0];
  const tell = (): void => {
    for (;;) {
      const [outcome, task] = [outcomes.get(told), tasks[told]];
      if (outcome === undefined || task === undefined) return;
      take(outcome, task);
      told++;
    }
  };
  const work = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const worker = fork(fileURLToPath(new URL("./gradients-worker.js", import.meta.url)), {
        serialization: "advanced",
      });
      let mine = -1;
      const give = (): void => {
        mine = next++;
        const task = tasks[mine];
        if (task === undefined) worker.disconnect();
        else worker.send(task);
      };
      worker.on("message", (outcome: Outcome) => {
        outcomes.set(mine, outcome);
        tell();
        give();
      });
      worker.on("exit", (code) => {
        if (code === 0) resolve();
        else reject(new Error(`a process died at ${JSON.stringify(tasks[mine])}`));
      });
      give();
    });
  await Promise.all(Array.from({ length: PROCESSES }, work));
}

function graphTasks(): Task[] {
  return Array.from({ length: RANDOM_GRAPHS / GRAPHS_A_TASK }, (_, i): Task => {
    return { kind: "graphs", from: i * GRAPHS_A_TASK, to: (i + 1) * GRAPHS_A_TASK };
  });
}

function tasksFor(ops: readonly string[], networks: boolean, cases: number): Task[] {
  if (networks) return networkTasks();
  const listed = ops.length > 0 ? ops : [...covered(), ...forwardOnly()];
  const ofOps = listed.map((op): Task => ({ kind: "op", op, cases }));
  return ops.length > 0 ? ofOps : [...ofOps, ...graphTasks(), ...networkTasks()];
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    options: {
      cases: { type: "string", default: String(CASES) },
      networks: { type: "boolean", default: false },
      write: { type: "boolean", default: false },
    },
    allowPositionals: true,
  });
  const write = (text: string): void => void process.stdout.write(`${text}\n`);
  const start = process.hrtime.bigint();
  const head = ["forms", "cases"].map((name) => name.padStart(6)).join("");
  write(`${"op".padEnd(36)}${head}${"float64".padStart(10)}${"float32".padStart(10)}`);
  let [cases, failed] = [0, 0];
  const found = new Map<string, readonly Finding[]>();
  const tasks = tasksFor(positionals, values.networks, Number(values.cases));
  await share(tasks, (outcome, task) => {
    for (const line of outcome.lines) write(line);
    cases += outcome.findings.length;
    failed += outcome.failed;
    if (task.kind === "op") found.set(task.op, outcome.findings);
  });
  const missing = positionals.length > 0 ? [] : uncovered();
  for (const op of missing) write(`${op} has a gradient rule and no cases`);
  const seconds = Number(process.hrtime.bigint() - start) / 1e9;
  write(`${cases} cases, ${failed} faults, in ${seconds.toFixed(0)} s`);
  if (failed > 0 || missing.length > 0) return 1;
  if (values.write) {
    writeFileSync(GRADIENTS_PAGE, gradientsPage(found));
    write(`${GRADIENTS_PAGE} is written`);
  }
  return 0;
}

process.exitCode = await main();
