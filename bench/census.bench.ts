// How long `skipway census --json` takes from the command line, the start of the process included: a model
// of 5 MB with about 1,000 nodes, and two networks whose structure is well known.

import { execFileSync } from "node:child_process";
import { statSync } from "node:fs";
import { join } from "node:path";
import { median, skipway, withFolder } from "./command.ts";
import type { Bench } from "./main.ts";

const NETWORKS = ["5 MB", "densenet121", "resnet152"] as const;

/** Whole-process time of the census. */
export const census: Bench = {
  async run({ small, log }) {
    const rounds = small ? 3 : 15;
    const rows: Record<string, unknown>[] = [];
    await withFolder(async (folder) => {
      const file = join(folder, "model.onnx");
      for (const name of small ? NETWORKS.slice(0, 1) : NETWORKS) {
        const args = ["bench/census-child.mjs", name, file];
        const made = execFileSync(process.execPath, args, { encoding: "utf8" });
        const facts = JSON.parse(made) as Record<"nodes" | "skips", number>;
        const times: number[] = [];
        for (let round = 0; round < rounds; round++) {
          times.push((await skipway(["census", file, "--json"])).seconds * 1000);
        }
        const medianMs = Math.round(median(times));
        const maxMs = Math.round(Math.max(...times));
        rows.push({
          model: name,
          fileBytes: statSync(file).size,
          ...facts,
          medianMs,
          maxMs,
          n: rounds,
        });
        log(`${name}: ${medianMs} ms`);
      }
    });
    return { settings: { command: "census MODEL --json", rounds }, rows };
  },
};
