// `npm run bench -- NAME [--json] [--small]`: runs a benchmark and prints one document. Speed is
// reported here and asserted nowhere.

import { cpus, totalmem } from "node:os";
import { build } from "./build.bench.ts";
import { census } from "./census.bench.ts";
import { conditional } from "./conditional.bench.ts";
import { memory } from "./memory.bench.ts";
import { picture } from "./picture.bench.ts";
import { read } from "./read.bench.ts";
import { startup } from "./startup.bench.ts";
import { twins } from "./twins.bench.ts";

/** A benchmark: its settings and rows. `small` is a size that a test can afford. */
export interface Bench {
  run(options: { small: boolean; log: (text: string) => void }): Promise<{
    readonly settings: Readonly<Record<string, unknown>>;
    readonly rows: readonly Readonly<Record<string, unknown>>[];
  }>;
}

const BENCHES: Readonly<Record<string, Bench>> = {
  build,
  census,
  conditional,
  memory,
  picture,
  read,
  startup,
  twins,
};

async function main(): Promise<number> {
  const args = process.argv.slice(2);
  const name = args.find((arg) => !arg.startsWith("--")) ?? "";
  const bench = BENCHES[name];
  const log = (text: string): void => void process.stderr.write(`${text}\n`);
  if (bench === undefined) {
    log(`usage: npm run bench -- ${Object.keys(BENCHES).join("|")} [--json] [--small]`);
    return 2;
  }
  const found = await bench.run({ small: args.includes("--small"), log });
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

process.exitCode = await main();
