// `npm run fuzz -- wire [--grpc] [--count N] [--seed S]`: nearly right requests against a real server over real
// sockets, of HTTP or of gRPC. No crash, no hang above one second, no answer 500, no memory that grows, and a right request in
// between is answered right.

import { parseArgs } from "node:util";
import { Random } from "../src/base/random.ts";
import { type FuzzReport, fuzzWire } from "../test/hostile/fuzz.ts";
import { fuzzGrpc } from "../test/hostile/fuzz-grpc.ts";
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
      grpc: { type: "boolean", default: false },
    },
  });
  const random = new Random(Number(values.seed));
  await using target = await startTarget(values.grpc ? { grpcPort: 0 } : {});
  const fuzz = (count: number): Promise<FuzzReport> =>
    values.grpc
      ? fuzzGrpc(target.server.grpcPort ?? 0, count, random)
      : fuzzWire(target, count, random);
  await fuzz(WARM);
  const before = process.memoryUsage().rss;
  const statuses: Record<string, number> = {};
  const failures: string[] = [];
  let [count, slowestMs] = [0, 0];
  while (count < Number(values.count) && failures.length === 0) {
    const round = await fuzz(Math.min(ROUND, Number(values.count) - count));
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
