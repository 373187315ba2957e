// Long forms of what the server promises of memory, with processes as in serving: requests of all sizes at a small
// budget, and many loads. `--requests 100000`, `--cycles 200`, `--seed`.

import { execFile } from "node:child_process";
import { promisify } from "node:util";
import type { Part } from "./serve.bench.ts";

type Row = Readonly<Record<string, unknown>>;

/** Requests of all sizes at three models, with 160 MiB for all beyond what they hold when loaded. */
export async function bomb(part: Part): Promise<readonly Row[]> {
  const requests = part.number("requests", part.small ? 200 : 2000);
  const found = await child("bomb", [requests, part.number("seed", 1), 160]);
  return [{ what: "memory bomb", goalOver: 0, goalKills: 0, goalFailed: 0, ...found }];
}

/** What the server's process holds more after many loads, each with a run. */
export async function cycles(part: Part): Promise<readonly Row[]> {
  const found = await child("cycles", [part.number("cycles", part.small ? 5 : 50)]);
  return [{ what: "load, run, unload", goalGrowthBytes: 8 * 1_048_576, ...found }];
}

/** Runs a part; its answer is made by admission-child.mjs beside this file. */
async function child(task: string, args: readonly number[]): Promise<Row> {
  const script = ["--expose-gc", "bench/admission-child.mjs", task, ...args.map(String)];
  const { stdout } = await promisify(execFile)(process.execPath, script);
  return JSON.parse(stdout) as Row;
}
