// How long it takes to read and write models, and what that takes in memory, each in a process of its own.
// Beside us, where they are installed: onnx of Python (PYTHON), and onnx-proto, the decoder of npm.

import { execFileSync } from "node:child_process";
import { statSync } from "node:fs";
import { join } from "node:path";
import { median, withFolder } from "./command.ts";
import type { Bench } from "./main.ts";

interface Measurement {
  readonly seconds: number;
  readonly peakBytes?: number;
}

type Row = Record<string, unknown>;

const PYTHON = process.env["PYTHON"] ?? "python3";

/** Reads with the onnx package of Python: seconds and peak memory above the base, as ours. */
const PYTHON_READ = `
import json, resource, sys, time
import onnx
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
base, start = peak(), time.perf_counter()
model = onnx.load(sys.argv[1])
print(json.dumps({"seconds": time.perf_counter() - start, "peakBytes": peak() - base}))
`;

/** Reading, writing, and passes that have nothing to do. */
export const read: Bench = {
  async run({ small, log }) {
    const [megabytes, nodes, rounds] = small ? [10, 2000, 3] : [100, 20_000, 5];
    const rows: Row[] = [];
    await withFolder(async (folder) => {
      const weights = join(folder, "weights.onnx");
      const graph = join(folder, "nodes.onnx");
      child("makeWeights", weights, String(megabytes));
      child("makeNodes", graph, String(nodes));
      for (const [what, path] of [
        [`${megabytes} MB of weights`, weights],
        [`${nodes} nodes`, graph],
      ] as const) {
        const fileBytes = statSync(path).size;
        for (const [who, once] of readers(path)) {
          const runs = attempt(rounds, once);
          rows.push(row(`read ${what}`, { who, runs, fileBytes }));
          log(`read ${what}: ${who}`);
        }
      }
      const written = attempt(rounds, () => child("write", weights));
      const fileBytes = statSync(weights).size;
      rows.push(
        row(`write ${megabytes} MB of weights`, { who: "skipway", runs: written, fileBytes }),
      );
      for (const pass of ["mapTensors", "inferShapes", "canonicalize"]) {
        const runs = attempt(rounds, () => child("pass", graph, pass));
        rows.push(row(`${pass} with nothing to do, ${nodes} nodes`, { who: "skipway", runs }));
      }
    });
    return { settings: { megabytes, nodes, rounds }, rows };
  },
};

function readers(path: string): readonly (readonly [string, () => Measurement])[] {
  return [
    ["skipway", () => child("read", path)],
    ["onnx-proto", () => child("peer:onnx-proto", path)],
    ["onnx (Python)", () => python(path)],
  ];
}

/** Several runs; none for a peer that is not installed. */
function attempt(rounds: number, once: () => Measurement): readonly Measurement[] {
  try {
    return Array.from({ length: rounds }, once);
  } catch {
    return [];
  }
}

function row(
  what: string,
  { who, runs, fileBytes }: { who: string; runs: readonly Measurement[]; fileBytes?: number },
): Row {
  if (runs.length === 0) return { what, who, result: "not installed" };
  const seconds = Number(median(runs.map((one) => one.seconds)).toFixed(4));
  const peak = median(runs.map((one) => one.peakBytes ?? Number.NaN));
  const memory = Number((peak / (fileBytes ?? Number.NaN)).toFixed(2));
  return { what, who, seconds, ...(Number.isNaN(memory) ? {} : { peakOverFile: memory }) };
}

function child(...args: readonly string[]): Measurement {
  const out = execFileSync(process.execPath, ["bench/read-child.mjs", ...args], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  return JSON.parse(out) as Measurement;
}

function python(path: string): Measurement {
  const out = execFileSync(PYTHON, ["-c", PYTHON_READ, path], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  return JSON.parse(out) as Measurement;
}
