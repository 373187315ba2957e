// How long a picture takes: facts, layout and drawing of a graph of 5,000 nodes in a fresh process, and from
// the request to the drawn page of DenseNet-121 in Chromium, where that is installed.

import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { median, withFolder } from "./command.ts";
import type { Bench } from "./main.ts";

type Measured = Readonly<Record<string, number>>;

/** Laying out, drawing and opening pictures. */
export const picture: Bench = {
  async run({ small, log }) {
    const [nodes, rounds] = small ? [1000, 3] : [5000, 9];
    const rows: Record<string, unknown>[] = [];
    const add = (what: string, runs: readonly Measured[]): void => {
      const [first = {}] = runs;
      const medians = Object.keys(first).map((key) => {
        return [key, Number(median(runs.map((one) => one[key] ?? Number.NaN)).toFixed(1))] as const;
      });
      rows.push({ what, n: runs.length, ...Object.fromEntries(medians) });
      log(what);
    };
    for (const shape of ["blocks", "tangled"]) {
      const runs = Array.from({ length: rounds }, () => child("draw", shape, String(nodes)));
      add(`${nodes} nodes, ${shape}`, runs);
    }
    await withFolder(async (folder) => {
      const page = join(folder, "densenet121.html");
      try {
        add("DenseNet-121 opened in Chromium", [child("open", page, String(rounds))]);
      } catch {
        rows.push({ what: "DenseNet-121 opened in Chromium", result: "not installed" });
      }
    });
    return { settings: { nodes, rounds }, rows };
  },
};

function child(...args: readonly string[]): Measured {
  const out = execFileSync(process.execPath, ["bench/picture-child.mjs", ...args], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  return JSON.parse(out) as Measured;
}
