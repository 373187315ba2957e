// `npm run fuzz -- wire [--count N] [--seed S]`: nearly right requests against a real server over real
// sockets. No crash, no hang above one second, no answer 500, no memory that grows, and a right request in
// between is answered right.

import { parseArgs } from "node:util";
import { Random } from "../src/base/random.ts";
import { fuzzWire } from "../test/hostile/fuzz.ts";
import { startTarget } from "../test/hostile/harness.ts";

const GROWTH_BYTES_MAX = 256 * 1024 * 1024;
const ROUND = 10_000;
/** Requests after which the heap has the size that it keeps. */
const WARM = 2000;

/** Runs it; gives the exit code. */
export async function fuzzTheWire(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      count: { type: "string", default: "1000000" },
      seed: { type: "string", default: "1" },
    },
  });
  const random = new Random(Number(values.seed));
  await using target = await startTarget();
  await fuzzWire(target, WARM, random);
  const before = process.memoryUsage().rss;
  const statuses: Record<string, number> = {};
  const failures: string[] = [];
  let [count, slowestMs] = [0, 0];
  while (count < Number(values.count) && failures.length === 0) {
    const round = await fuzzWire(target, Math.min(ROUND, Number(values.count) - count), random);
    count += round.count;
    slowestMs = Math.max(slowestMs, round.slowestMs);
    failures.push(...round.failures);
    for (const [status, n] of Object.entries(round.statuses)) {
      statuses[status] = (statuses[status] ?? 0) + n;
    }
    process.stderr.write(`${count} requests\n`);
  }
  const growthBytes = process.memoryUsage().rss - before;
  if (growthBytes > GROWTH_BYTES_MAX) failures.push(`memory grew by ${growthBytes} bytes`);
  const result = { seed: Number(values.seed), count, statuses, slowestMs, growthBytes, failures };
  process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
  return failures.length === 0 ? 0 : 1;
}
