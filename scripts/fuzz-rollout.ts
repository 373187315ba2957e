// `npm run fuzz -- rollout [--count N]`: every state that rollouts of one model can come into, and whether an
// invariant is broken on the way. `npm run fuzz -- rollout-kill [--count N] [--seed S]`: servers that are killed at
// random points of rollouts, in each of their steps equally often.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { present } from "../src/base/assert.ts";
import { Random } from "../src/base/random.ts";
import { BOUNDS, explore } from "../src/rollout/explore.test-helper.ts";
import { KILL_STEPS, type Killed, killOnce } from "../test/rollouts.ts";

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
  const kills: Killed[] = [];
  const failures: string[] = [];
  try {
    for (let i = 0; i < Number(values.count); i++) {
      const at = present(KILL_STEPS[i % KILL_STEPS.length], "there is one for each remainder");
      const waitMs = Math.round(random.uniform() * at.waitMs);
      const killed = await killOnce(join(folder, "data"), { ...at, waitMs });
      const { phase, faults } = killed;
      phases[phase] = (phases[phase] ?? 0) + 1;
      kills.push(killed);
      failures.push(...faults.map((text) => `kill ${i}, ${phase} after ${waitMs} ms: ${text}`));
      process.stderr.write(`${i + 1} kills, ${failures.length} failures\n`);
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  const result = {
    ...{ seed, kills: kills.length, phases },
    knownMs: spread(kills.map(({ knownMs }) => knownMs)),
    servesMs: spread(kills.map(({ servesMs }) => servesMs)),
    goesOnMs: spread(kills.map(({ goesOnMs }) => goesOnMs)),
    failures,
  };
  process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
  return failures.length === 0 ? 0 : 1;
}

/** Of times since the start of the next server. */
function spread(times: readonly number[]): Record<string, number | undefined> {
  const sorted = times.map(Math.round).sort((a, b) => a - b);
  const at = (share: number): number | undefined => sorted[Math.ceil(share * sorted.length) - 1];
  const within = sorted.filter((ms) => ms <= 1000).length;
  return {
    least: sorted[0],
    p50: at(0.5),
    p95: at(0.95),
    most: sorted.at(-1),
    withinASecond: within,
  };
}
