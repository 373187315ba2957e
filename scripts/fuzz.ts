// `npm run fuzz -- [--files N] [--seed S] [--fixtures DIR]`: damaged model files. Each must be read or be
// refused with a finding: no crash, no hang above one second, no memory that grows. The canonical form of
// a sample must be its own canonical form. Prints its seed, with which a failure comes again.
// `npm run fuzz -- wire …`: requests in place of files (fuzz-wire.ts); `rollout …` and `rollout-kill …`: rollouts
// (fuzz-rollout.ts).

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { census } from "../src/analysis/census.ts";
import { systemClock } from "../src/base/clock.ts";
import { SkipwayError } from "../src/base/errors.ts";
import { Random } from "../src/base/random.ts";
import { canonicalize } from "../src/canonical/canonical.ts";
import type { Graph } from "../src/graph/graph.ts";
import { starter } from "../src/nn/models/starter.ts";
import { buildNet } from "../src/nn/net.ts";
import { modelOf } from "../src/onnx/onnx-model.ts";
import { readModel } from "../src/onnx/read.ts";
import { encodeModel } from "../src/onnx/write.ts";
import { DAMAGES } from "../test/damage.ts";
import { fuzzKills, fuzzRollouts } from "./fuzz-rollout.ts";
import { fuzzTheWire } from "./fuzz-wire.ts";

const SECONDS_MAX = 1;
const GROWTH_BYTES_MAX = 512 * 1024 * 1024;
/** Larger seeds are mutated too slowly to be worth it. */
const SEED_BYTES_MAX = 400_000;
/** One file of so many is brought into its canonical form twice. */
const SAMPLED = 8;

function main(): number {
  const { values } = parseArgs({
    options: {
      files: { type: "string", default: "200000" },
      seed: { type: "string", default: "1" },
      fixtures: { type: "string" },
    },
  });
  const random = new Random(Number(values.seed));
  const seeds = seedFiles(values.fixtures);
  const kinds = Object.entries(DAMAGES);
  const found = { read: 0, refused: 0 };
  const failures: string[] = [];
  const before = process.memoryUsage().rss;
  let slowest = 0;
  for (let i = 0; i < Number(values.files); i++) {
    const [kind, mutate] = kinds[random.integer(kinds.length)] ?? ["none", (b: Uint8Array) => b];
    const pick = (): Uint8Array => seeds[random.integer(seeds.length)] ?? new Uint8Array();
    const bytes = mutate(pick(), random, pick());
    const from = systemClock.monotonicMs();
    try {
      const { graph } = readModel(bytes);
      census(graph);
      found.read++;
      if (i % SAMPLED === 0 && !isStable(graph)) {
        failures.push(`file ${i} (${kind}): a second canonical form differs from the first`);
      }
    } catch (error) {
      if (error instanceof SkipwayError && error.code === "input") found.refused++;
      else failures.push(`file ${i} (${kind}): ${error instanceof Error ? error.stack : error}`);
    }
    const seconds = (systemClock.monotonicMs() - from) / 1000;
    slowest = Math.max(slowest, seconds);
    if (seconds > SECONDS_MAX) failures.push(`file ${i} (${kind}) took ${seconds.toFixed(1)} s`);
    if (i % 20_000 === 19_999) process.stderr.write(`${i + 1} files\n`);
  }
  const growth = process.memoryUsage().rss - before;
  if (growth > GROWTH_BYTES_MAX) failures.push(`memory grew by ${growth} bytes`);
  const result = {
    seed: Number(values.seed),
    files: Number(values.files),
    seedFiles: seeds.length,
    ...found,
  };
  const more = { slowestSeconds: slowest, growthBytes: growth, failures: failures.slice(0, 20) };
  process.stdout.write(`${JSON.stringify({ ...result, ...more }, null, 2)}\n`);
  return failures.length === 0 ? 0 : 1;
}

/** The second time on a copy, of which nothing is remembered. */
function isStable(graph: Graph): boolean {
  const once = { ...canonicalize(graph) };
  return canonicalize(once) === once;
}

/** Models of our own, and those of a folder. */
function seedFiles(folder: string | undefined): Uint8Array[] {
  const input = { name: "image", shape: [1, 8, 8] };
  const own = buildNet(starter({ skips: true }), { input, output: "y", seed: 1 });
  const files = [encodeModel(modelOf(own))];
  if (folder === undefined) return files;
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || !entry.name.endsWith(".onnx")) continue;
    const bytes = new Uint8Array(readFileSync(join(entry.parentPath, entry.name)));
    if (bytes.length <= SEED_BYTES_MAX) files.push(bytes);
  }
  return files;
}

const [what, ...rest] = process.argv.slice(2);
if (what === "wire") process.exitCode = await fuzzTheWire(rest);
else if (what === "rollout") process.exitCode = fuzzRollouts(rest);
else if (what === "rollout-kill") process.exitCode = await fuzzKills(rest);
else process.exitCode = main();
