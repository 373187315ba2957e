// `npm run fuzz -- rollout [--count N]`: every state that rollouts of one model can come into, and whether an
// invariant is broken on the way. `npm run fuzz -- rollout-kill [--count N] [--seed S]`: servers that are killed at
// random points of rollouts.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Random } from "../src/base/random.ts";
import { BOUNDS, explore } from "../src/rollout/explore.test-helper.ts";
import { killOnce } from "../test/rollouts.ts";

/** About what a rollout of the kind that is killed takes: some are killed just after their end. */
const LIFE_MS = 3000;

/** Explores the states; gives the exit code. */
export function fuzzRollouts(args: readonly string[]): number {
  const { values } = parseArgs({
    args: [...args],
    options: { count: { type: "string", default: "1000000" } },
  });
  const { ends, ...found } = explore({ ...BOUNDS, states: Number(values.count) });
  const result = { ...found, ends: Object.fromEntries(ends) };
  process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
  return found.faults.length === 0 ? 0 : 1;
}

/** Kills servers; gives the exit code. */
export async function fuzzKills(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: { count: { type: "string", default: "200" }, seed: { type: "string", default: "1" } },
  });
  const seed = Number(values.seed);
  const random = new Random(seed);
  const folder = await mkdtemp(join(tmpdir(), "skipway-kills-"));
  const phases: Record<string, number> = {};
  const recovered: number[] = [];
  const failures: string[] = [];
  try {
    for (let i = 0; i < Number(values.count); i++) {
      const afterMs = Math.round(random.uniform() * LIFE_MS);
      const { phase, recoveredMs, faults } = await killOnce(join(folder, "data"), afterMs);
      phases[phase] = (phases[phase] ?? 0) + 1;
      recovered.push(recoveredMs);
      failures.push(...faults.map((text) => `kill ${i} after ${afterMs} ms: ${text}`));
      process.stderr.write(`${i + 1} kills, ${failures.length} failures\n`);
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  const sorted = recovered.toSorted((a, b) => a - b);
  const most = { p50Ms: sorted[Math.floor(sorted.length / 2)], maxMs: sorted.at(-1) };
  const result = { seed, kills: recovered.length, phases, recovered: most, failures };
  process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
  return failures.length === 0 ? 0 : 1;
}
