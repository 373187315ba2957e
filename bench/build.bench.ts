// How long it takes to build deep networks, each in a process of its own: the graph alone, the graph with
// initialised weights, the file in memory, the runtime's load, and one run.

import { execFileSync } from "node:child_process";
import { median } from "./command.ts";
import type { Bench } from "./main.ts";

/** What the child measures, in seconds. */
const STEPS = ["structure", "withWeights", "write", "load", "run"] as const;

type Measurement = Readonly<Record<(typeof STEPS)[number] | "nodes" | "megabytes", number>>;

/** Name for people, and what the child is asked: family, depth, size of the input. */
const NETWORKS = [
  ["ResNet-50", "resnet", 50, 224],
  ["ResNet-152", "resnet", 152, 224],
  ["ResNet-1202 for CIFAR", "cifar", 1202, 32],
  ["residual MLP of 1,000 blocks", "mlp", 1000, 64],
] as const;

/** Building, initialising, writing, loading and running; medians over rounds. */
export const build: Bench = {
  async run({ small, log }) {
    const rounds = small ? 1 : 5;
    const rows = NETWORKS.slice(0, small ? 1 : undefined).map(([network, ...args]) => {
      const runs = Array.from({ length: rounds }, () => child(args.map(String)));
      log(network);
      const seconds = STEPS.map((step) => [step, median(runs.map((one) => one[step]))] as const);
      const { nodes, megabytes } = runs[0] ?? {};
      return { network, nodes, megabytes, ...Object.fromEntries(seconds) };
    });
    return { settings: { rounds, batch: 1 }, rows };
  },
};

function child(args: readonly string[]): Measurement {
  const out = execFileSync(process.execPath, ["bench/build-child.mjs", ...args], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  return JSON.parse(out) as Measurement;
}
