// What a run costs more because the model has a process of its own: the same runs in this process and through
// the socket, in alternating blocks; and what the process costs before it has a model.

import { execFileSync } from "node:child_process";
import { median } from "./command.ts";
import type { Bench } from "./main.ts";

const MODELS = ["tiny", "image"] as const;

type Times = Readonly<Record<"bare" | "child", readonly (readonly number[])[]>>;

/** Added microseconds of a run, as medians over rounds. */
export const hop: Bench = {
  run({ small, log }) {
    const runs = small ? 100 : 1000;
    const rounds = small ? 2 : 7;
    const rows: Record<string, unknown>[] = MODELS.map((model) => {
      const times = childSays(model, runs, rounds) as Times;
      log(`${model}: done`);
      const at = (side: "bare" | "child", p: number) =>
        times[side].map((round) => quantile(round, p));
      const added = (p: number) => {
        const bare = at("bare", p);
        return Math.round(median(at("child", p).map((value, i) => value - (bare[i] ?? 0))));
      };
      return {
        model,
        bareP50Us: Math.round(median(at("bare", 0.5))),
        addedP50Us: added(0.5),
        bareP99Us: Math.round(median(at("bare", 0.99))),
        addedP99Us: added(0.99),
      };
    });
    const starts = childSays("start", small ? 2 : 15, 1) as Readonly<Record<string, number[]>>;
    const medians = Object.entries(starts).map(([name, list]) => [name, Math.round(median(list))]);
    rows.push({ model: "none", ...Object.fromEntries(medians) });
    return Promise.resolve({ settings: { runs, rounds, threads: 1 }, rows });
  },
};

function childSays(name: string, runs: number, rounds: number): unknown {
  const args = ["bench/hop-child.mjs", name, String(runs), String(rounds)];
  return JSON.parse(execFileSync(process.execPath, args, { encoding: "utf8", maxBuffer: 2 ** 28 }));
}

function quantile(values: readonly number[], p: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(p * sorted.length))] ?? Number.NaN;
}
