// The server beside an echo on the same libraries, a bare loop and other servers, over real HTTP and gRPC: what it adds,
// what it carries, and whether it keeps its word under overload, reloads and killed processes.
// `--only latency,throughput,overload,reload,kill,metrics,footprint,shapes,bomb,http-bomb,cycles`, `--seconds`, `--rounds`;
// `PYTHON=/path/to/python` with mlserver and onnxruntime brings that peer in.

import { loadavg } from "node:os";
import { withFolder } from "./command.ts";
import type { Bench, BenchOptions } from "./main.ts";
import { httpBomb } from "./serve-bomb.ts";
import { footprint } from "./serve-footprint.ts";
import { latency } from "./serve-latency.ts";
import { kill, reload } from "./serve-life.ts";
import { metricTruth } from "./serve-metrics.ts";
import { overload } from "./serve-overload.ts";
import { type Task, task, writeModels } from "./serve-processes.ts";
import { shapes } from "./serve-shapes.ts";
import { bomb, cycles } from "./serve-soak.ts";
import { throughput } from "./serve-throughput.ts";

/** What a part is given. */
export interface Part extends BenchOptions {
  readonly client: Task;
  readonly folder: string;
  model(name: string): string;
  /** A flag that is a number. */
  number(name: string, fallback: number): number;
}

type Row = Readonly<Record<string, unknown>>;

const PARTS: Readonly<Record<string, (part: Part) => Promise<readonly Row[]>>> = {
  latency,
  throughput,
  overload,
  reload,
  kill,
  metrics: metricTruth,
  footprint,
  shapes,
  bomb,
  "http-bomb": httpBomb,
  cycles,
};

/** One document of all parts. */
export const serve: Bench = {
  run: (options) =>
    withFolder(async (folder) => {
      const model = writeModels(folder);
      const wanted = options.flags.get("only")?.split(",") ?? Object.keys(PARTS);
      const rows: Row[] = [];
      await using client = await task("client.mjs");
      const number = (name: string, fallback: number): number => {
        const value = Number(options.flags.get(name) ?? fallback);
        if (!(value > 0)) throw new Error(`--${name} must be a number above 0`);
        return value;
      };
      const load = loadavg().map((value) => Number(value.toFixed(1)));
      for (const name of wanted) {
        const part = PARTS[name];
        if (part === undefined) throw new Error(`--only knows ${Object.keys(PARTS).join(", ")}`);
        const found = await part({ ...options, client, folder, model, number });
        for (const row of found) rows.push({ part: name, ...row });
        options.log(`${name}: done`);
      }
      const after = loadavg().map((value) => Number(value.toFixed(1)));
      return {
        settings: { small: options.small, parts: wanted, loadBefore: load, loadAfter: after },
        rows,
      };
    }),
};
