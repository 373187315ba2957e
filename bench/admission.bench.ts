// What the process of a model takes against what is said of it, with the settings of serving. One thread.
// `--only NAME` measures one network.

import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { median } from "./command.ts";
import type { Bench } from "./main.ts";

/** Name, length of sequences where there are any, and rows: from about 16 MB beyond a loaded process to 150 MB. */
const NETWORKS: readonly (readonly [string, number, readonly number[]])[] = [
  ["cifar-resnet20", 1, [96, 160, 256, 384, 512]],
  ["squeezenet-1.1", 1, [4, 8, 12, 20, 30]],
  ["mobilenet-v2", 1, [3, 4, 7, 12, 20]],
  ["shufflenet-v2", 1, [8, 16, 24, 40, 60]],
  ["resnet18", 1, [4, 8, 13, 20, 32]],
  ["resnet50", 1, [2, 4, 6, 8, 12]],
  ["densenet121", 1, [2, 3, 4, 6, 10]],
  ["efficientnet-b0", 1, [2, 3, 5, 8, 12]],
  ["googlenet", 1, [4, 8, 12, 16, 24]],
  ["linknet", 1, [3, 4, 6, 8, 12]],
  ["unet", 1, [1, 2, 3, 4, 5]],
  ["tcn", 1, [48, 80, 130, 200, 300]],
  ["bert-base", 64, [4, 6, 10, 16, 24]],
  ["vit-b-16", 1, [2, 3, 4, 6, 10]],
];

interface Found {
  readonly rows: number;
  readonly measuredBytes: number;
  readonly likelyBytes: number;
  readonly admittedBytes: number;
  readonly planMs: number;
}

interface Prediction {
  readonly residentBytes: number;
  readonly calibratedMs: number;
  readonly found: readonly Found[];
}

/** Predicted against measured marks. */
export const admission: Bench = {
  async run({ small, log, flags }) {
    const rows: Record<string, unknown>[] = [];
    const errors: number[] = [];
    let violations = 0;
    const only = flags.get("only");
    const networks = only === undefined ? NETWORKS : NETWORKS.filter(([name]) => name === only);
    for (const [name, length, counts] of small ? networks.slice(0, 2) : networks) {
      const args = [name, String(length), "3", ...counts.map(String)];
      const { found, residentBytes, calibratedMs }: Prediction = await child(args);
      for (const one of found) {
        const error = one.likelyBytes / one.measuredBytes - 1;
        errors.push(Math.abs(error));
        if (one.admittedBytes < one.measuredBytes) violations++;
        rows.push({ model: name, residentBytes, calibratedMs, ...one, error: percent(error) });
      }
      log(
        `${name}: ${found.map((one) => percent(one.likelyBytes / one.measuredBytes - 1)).join(" ")}`,
      );
    }
    const ordered = errors.toSorted((a, b) => a - b);
    const p95 = ordered[Math.ceil(0.95 * ordered.length) - 1] ?? Number.NaN;
    const settings = { threads: 1, arena: false, memoryPattern: true, n: errors.length };
    const result = { medianError: percent(median(errors)), p95Error: percent(p95), violations };
    return { settings: { ...settings, ...result }, rows };
  },
};

/** Runs a part; its answer is made by admission-child.mjs beside this file. */
async function child<T>(args: readonly string[]): Promise<T> {
  const { stdout } = await promisify(execFile)(process.execPath, [
    "--expose-gc",
    "bench/admission-child.mjs",
    "predict",
    ...args,
  ]);
  return JSON.parse(stdout) as T;
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}
