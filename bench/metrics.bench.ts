// What it costs to count and to trace: nanoseconds of an update, milliseconds of a scrape of 50 models, and the
// throughput of a server with all requests traced against one without, in turns (`--model FILE`).

import { execFileSync } from "node:child_process";
import { median } from "./command.ts";
import type { Bench } from "./main.ts";

interface Units {
  readonly updates: Readonly<Record<string, number>>;
  readonly scrape: Readonly<
    Record<string, { readonly milliseconds: number; readonly bytes: number }>
  >;
}

interface Loop {
  readonly rates: Readonly<Record<"off" | "on", readonly number[]>>;
}

/** Costs of one event, of a scrape, and of all traces. */
export const metrics: Bench = {
  async run({ small, log, flags }) {
    const rows: Record<string, unknown>[] = [];
    // The child writes what `Units` and `Loop` say.
    const { updates, scrape } = child("units") as Units;
    for (const [what, ns] of Object.entries(updates))
      rows.push({ what, nanoseconds: Math.round(ns) });
    for (const [format, { milliseconds, bytes }] of Object.entries(scrape)) {
      rows.push({ what: `scrape ${format}`, milliseconds: Number(milliseconds.toFixed(2)), bytes });
    }
    log("updates and scrapes are measured");
    const model = flags.get("model");
    if (model !== undefined) {
      const [seconds, rounds] = small ? ["1", "2"] : ["4", "9"];
      const { rates } = child("loop", seconds, rounds, model) as Loop;
      const pairs = rates.on.map((on, i) => on / (rates.off[i] ?? Number.NaN));
      rows.push({
        what: "closed loop, 16 connections",
        untracedPerSecond: Math.round(median(rates.off)),
        tracedPerSecond: Math.round(median(rates.on)),
        ratio: Number(median(pairs).toFixed(3)),
        rounds: pairs.length,
      });
    }
    return { settings: { models: 50 }, rows };
  },
};

function child(...args: readonly string[]): unknown {
  const script = "bench/metrics-child.mjs";
  return JSON.parse(execFileSync(process.execPath, [script, ...args], { encoding: "utf8" }));
}
