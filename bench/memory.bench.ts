// How well the memory of a run is predicted: networks of the zoo with 64 MB of activations or more, as the
// runtime rewrites them, each run three times in a fresh process, and graphs with control flow, run once. One thread, no arena, no memory pattern,
// and freed memory given back at once, as in serving.

import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { median, withFolder } from "./command.ts";
import type { Bench } from "./main.ts";

/** Name, batch, and length of sequences where there are any. */
const NETWORKS = [
  ["squeezenet-1.1", 16, 1],
  ["resnet18", 20, 1],
  ["resnet50", 12, 1],
  ["resnext50-32x4d", 12, 1],
  ["densenet121", 10, 1],
  ["mobilenet-v2", 12, 1],
  ["shufflenet-v2", 40, 1],
  ["efficientnet-b0", 12, 1],
  ["convnext-tiny", 12, 1],
  ["googlenet", 16, 1],
  ["inception-v3", 8, 1],
  ["unet", 3, 1],
  ["unet-attention", 2, 1],
  ["linknet", 10, 1],
  ["tcn", 250, 1],
  ["vit-b-16", 16, 1],
  ["bert-base", 16, 256],
] as const;

const RUNS = 3;

/** In memory-control.mjs; their outputs are too large to guess when JavaScript collects those of earlier runs. */
const CONTROL = ["if", "loop", "loop-rows", "scan-2", "scan-4", "scan-4-rows", "outputs"];

interface Facts {
  readonly nodes: number;
  readonly livenessBytes: number;
  readonly runtimeBytes: number;
  readonly outputBytes: number;
}

/** Predicted against measured memory of a run. */
export const memory: Bench = {
  async run({ small, log }) {
    const rows: Record<string, unknown>[] = [];
    const errors: number[] = [];
    await withFolder(async (folder) => {
      const file = join(folder, "optimized.onnx");
      const all = [
        ...NETWORKS.map((network) => ({ network, runs: RUNS })),
        ...CONTROL.map((name) => ({ network: [name, 1, 1] as const, runs: 1 })),
      ];
      for (const { network, runs } of small ? all.slice(0, 1) : all) {
        const [name, batch, length] = network;
        const sizes = [String(batch), String(length)];
        const made = JSON.parse(child("make", [name, ...sizes, file])) as Facts;
        const { measuredBytes } = JSON.parse(child("run", [file, ...sizes, String(runs)])) as {
          measuredBytes: number;
        };
        // JavaScript holds copies of the earlier answers: it has no reason to collect them so soon.
        const predictedBytes = made.runtimeBytes + (runs - 1) * made.outputBytes;
        const error = Math.abs(predictedBytes / measuredBytes - 1);
        errors.push(error);
        rows.push({
          model: name,
          batch,
          runs,
          ...made,
          predictedBytes,
          measuredBytes,
          error: percent(error),
        });
        log(`${name}: ${percent(error)}`);
      }
    });
    const ordered = errors.toSorted((a, b) => a - b);
    const p95 = ordered[Math.ceil(0.95 * ordered.length) - 1] ?? Number.NaN;
    const settings = { threads: 1, arena: false, memoryPattern: false };
    const found = { medianError: percent(median(errors)), p95Error: percent(p95) };
    return { settings: { ...settings, ...found, n: errors.length }, rows };
  },
};

function child(task: string, args: readonly string[]): string {
  return execFileSync(process.execPath, ["bench/memory-child.mjs", task, ...args], {
    encoding: "utf8",
    env: { ...process.env, MALLOC_TRIM_THRESHOLD_: "131072" },
  });
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}
