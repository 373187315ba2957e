// What the judge of a release does with simulated ones: how often it takes back an equal candidate and how soon it
// lets one through, when it finds a slow one beside the planner's forecast, and what the usual rules do.

import { execFileSync } from "node:child_process";
import type { Bench } from "./main.ts";

/** Options: `--part null|detection|rules`, `--count N`, `--seed N`. */
export const judge: Bench = {
  async run({ small, log, flags }) {
    const counts = {
      null: small ? 60 : 10_000,
      detection: small ? 20 : 2000,
      rules: small ? 2 : 200,
    };
    const rows: Record<string, unknown>[] = [];
    for (const [part, usual] of Object.entries(counts)) {
      if (flags.has("part") && flags.get("part") !== part) continue;
      const count = flags.get("count") ?? String(usual);
      const began = performance.now();
      for (const row of child([part, count, flags.get("seed") ?? "1"])) rows.push({ part, ...row });
      log(`${part}: ${((performance.now() - began) / 1000).toFixed(0)} s`);
    }
    return { settings: { counts, alpha: 0.001, effect: 2, slowRate: 0.01, power: 0.9 }, rows };
  },
};

function child(args: readonly string[]): Record<string, unknown>[] {
  const out = execFileSync(process.execPath, ["bench/judge-child.mjs", ...args], {
    encoding: "utf8",
    maxBuffer: 64 * 1024 * 1024,
    stdio: ["ignore", "pipe", "inherit"],
  });
  return JSON.parse(out) as Record<string, unknown>[];
}
