// `npm run bench -- NAME [--json] [--small]`: runs a benchmark and prints one document. Speed is
// reported here and asserted nowhere.

import { cpus, totalmem } from "node:os";
import { admission } from "./admission.bench.ts";
import { build } from "./build.bench.ts";
import { canary } from "./canary.bench.ts";
import { census } from "./census.bench.ts";
import { conditional } from "./conditional.bench.ts";
import { hop } from "./hop.bench.ts";
import { judge } from "./judge.bench.ts";
import { memory } from "./memory.bench.ts";
import { metrics } from "./metrics.bench.ts";
import { picture } from "./picture.bench.ts";
import { pixel } from "./pixel.bench.ts";
import { read } from "./read.bench.ts";
import { serve } from "./serve.bench.ts";
import { startup } from "./startup.bench.ts";
import { train } from "./train.bench.ts";
import { twins } from "./twins.bench.ts";

/** What a benchmark is told. */
export interface BenchOptions {
  readonly small: boolean;
  readonly log: (text: string) => void;
  /** Options of its own, such as `--width 64`; `--compare` is there with an empty text. */
  readonly flags: ReadonlyMap<string, string>;
}

/** A benchmark: its settings and rows. `small` is a size that a test can afford. */
export interface Bench {
  run(options: BenchOptions): Promise<{
    readonly settings: Readonly<Record<string, unknown>>;
    readonly rows: readonly Readonly<Record<string, unknown>>[];
  }>;
}

const BENCHES: Readonly<Record<string, Bench>> = {
  admission,
  build,
  canary,
  census,
  conditional,
  hop,
  judge,
  memory,
  metrics,
  picture,
  pixel,
  read,
  serve,
  startup,
  train,
  twins,
};

async function main(): Promise<number> {
  const args = process.argv.slice(2);
  const name = args[0] ?? "";
  const bench = BENCHES[name];
  const log = (text: string): void => void process.stderr.write(`${text}\n`);
  if (bench === undefined) {
    log(
      `usage: npm run bench -- ${Object.keys(BENCHES).join("|")} [--json] [--small] [--OPTION VALUE …]`,
    );
    return 2;
  }
  const found = await bench.run({ small: args.includes("--small"), log, flags: flagsOf(args) });
  if (args.includes("--json")) {
    const machine = {
      cpu: cpus()[0]?.model ?? "unknown",
      cores: cpus().length,
      memoryBytes: totalmem(),
      node: process.versions.node,
      platform: `${process.platform} ${process.arch}`,
    };
    process.stdout.write(`${JSON.stringify({ bench: name, machine, ...found }, null, 2)}\n`);
  } else {
    for (const row of found.rows) {
      const cells = Object.entries(row).map(([key, value]) => `${key} ${String(value)}`);
      process.stdout.write(`${cells.join("  ")}\n`);
    }
  }
  return 0;
}

function flagsOf(args: readonly string[]): ReadonlyMap<string, string> {
  const flags = new Map<string, string>();
  for (const [i, arg] of args.entries()) {
    const value = args[i + 1] ?? "--";
    if (arg.startsWith("--")) flags.set(arg.slice(2), value.startsWith("--") ? "" : value);
  }
  return flags;
}

process.exitCode = await main();
