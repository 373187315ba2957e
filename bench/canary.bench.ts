// What a candidate costs the clients: P99 of the primary while a hung or crashing shadow gets copies of everything,
// and a thousand rollbacks under load, counted by the client. `--only detection`: how soon a bad one is found.

import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { detection } from "./detection.ts";
import type { Bench, BenchOptions } from "./main.ts";
import { type Task, task } from "./serve-processes.ts";
import { quantile, rounded } from "./statistics.ts";

type Row = Readonly<Record<string, unknown>>;

interface Sent {
  readonly latencies: readonly number[];
  readonly answers: readonly (readonly [sentMs: number, status: number, version: number])[];
}

interface Pair {
  readonly server: Task;
  readonly client: Task;
  readonly url: string;
}

const BODY = JSON.stringify({
  inputs: [{ name: "x", shape: [1, 16], datatype: "FP32", data: Array(16).fill(0.5) }],
});
const BOOTSTRAPS = 500;

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Rows for each fault of the shadow, and one for the rollbacks. */
export const canary: Bench = {
  async run(options) {
    if (options.flags.get("only") === "detection") return detection(options);
    const folder = mkdtempSync(join(tmpdir(), "skipway-canary-"));
    try {
      execFileSync(process.execPath, ["bench/serve/models.mjs", folder]);
      await using server = await task("canary-server.mjs", join(folder, "mlp.onnx"));
      await using client = await task("canary-client.mjs");
      const url = `${await server.ask<string>("where")}/v2/models/m/infer`;
      const pair = { server, client, url };
      const only = options.flags.get("only") ?? "shadow,rollbacks";
      const rows: Row[] = [];
      for (const fault of ["hung", "crashing"] as const) {
        if (only.includes("shadow")) rows.push(await shadowed(pair, fault, options));
      }
      if (only.includes("rollbacks")) rows.push(await rollbacks(pair, options));
      return { settings: { model: "mlp", probeEveryMs: 1000 }, rows };
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
};

function numberOf({ flags, small }: BenchOptions, name: string, few: number, many: number): number {
  return Number(flags.get(name) ?? (small ? few : many));
}

async function send({ client, url }: Pair, rate: number, seconds: number, seed: number) {
  await client.ask("start", { url, body: BODY, rate, seconds, seed });
  return client.ask<Sent>("finish");
}

/** Blocks without a shadow and with a faulty one, in turn. */
async function shadowed(
  pair: Pair,
  fault: "hung" | "crashing",
  options: BenchOptions,
): Promise<Row> {
  const { server } = pair;
  const rate = numberOf(options, "rate", 200, 200);
  const blocks = numberOf(options, "blocks", 2, 50);
  const seconds = numberOf(options, "block-seconds", 2, 2);
  const arms: Record<"without" | "with", Sent[]> = { without: [], with: [] };
  await send(pair, rate, seconds, 999);
  for (let i = 0; i < blocks; i++) {
    // Whichever is first has the other's leftovers.
    const order = i % 2 === 0 ? (["without", "with"] as const) : (["with", "without"] as const);
    for (const arm of order) {
      const split = { stable: 1, share: 0, ...(arm === "with" && { shadow: 2 }) };
      await server.ask("split", split);
      const spoiler = arm === "with" ? spoil(server, fault) : undefined;
      arms[arm].push(await send(pair, rate, seconds, i));
      await spoiler?.stop();
    }
    options.log(`${fault} ${i + 1} of ${blocks}`);
  }
  const pairs = arms.without.map(
    ({ latencies }, i): BlockPair => [latencies, arms.with[i]?.latencies ?? []],
  );
  const [plain, shadow] = [0, 1].map((arm) => pairs.flatMap((pair) => pair[arm] ?? []));
  const failed = [...arms.without, ...arms.with].flatMap(({ answers }) =>
    answers.filter(([, status]) => status !== 200),
  );
  const [low, high] = interval(pairs, pooledRatio);
  const [pairedLow, pairedHigh] = interval(pairs, pairedRatio);
  return {
    part: `shadow ${fault}`,
    requestsWithout: plain?.length,
    requestsWith: shadow?.length,
    p99WithoutMs: rounded(quantile(plain ?? [], 0.99)),
    p99WithMs: rounded(quantile(shadow ?? [], 0.99)),
    p99Ratio: rounded(pooledRatio(pairs)),
    ratioLow95: rounded(low),
    ratioHigh95: rounded(high),
    pairedRatio: rounded(pairedRatio(pairs)),
    pairedLow95: rounded(pairedLow),
    pairedHigh95: rounded(pairedHigh),
    failed: failed.length,
  };
}

/** Stops or kills the shadow's process again and again, as soon as there is one. */
function spoil(server: Task, fault: "hung" | "crashing") {
  let on = true;
  let last: number | null = null;
  const loop = (async () => {
    while (on) {
      const pid = await server.ask<number | null>("pid", 2);
      if (pid !== null && pid !== last) {
        last = pid;
        signal(pid, fault === "hung" ? "SIGSTOP" : "SIGKILL");
      }
      await pause(100);
    }
    // It goes on for the next block: the server would end it otherwise.
    if (fault === "hung" && last !== null) signal(last, "SIGCONT");
  })();
  return {
    stop: async () => {
      on = false;
      await loop;
    },
  };
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It is gone already.
  }
}

/** Half of the requests to the candidate, and back; again and again, with all kinds of candidates. */
async function rollbacks(pair: Pair, options: BenchOptions): Promise<Row> {
  const { server, client, url } = pair;
  const count = numberOf(options, "rollbacks", 20, 1000);
  const rate = numberOf(options, "rate", 200, 200);
  const decisions: number[] = [];
  await client.ask("start", { url, body: BODY, rate, seconds: 2 * count + 60, seed: 1 });
  for (let i = 0; i < count; i++) {
    while ((await server.ask<number | null>("pid", 2)) === null) await pause(50);
    await server.ask("split", { stable: 1, candidate: 2, share: 0.5 });
    await pause(80);
    // Some are stopped and some killed before they are taken back.
    const pid = i % 20 === 0 ? await server.ask<number | null>("pid", 2) : null;
    if (pid !== null) signal(pid, i % 40 === 0 ? "SIGSTOP" : "SIGKILL");
    if (pid !== null) await pause(20);
    decisions.push(await server.ask<number>("split", { stable: 1, share: 0 }));
    await pause(60);
    // What a busy server has not read yet would meet the next canary.
    await client.ask("settled");
    if ((i + 1) % 100 === 0) options.log(`rollback ${i + 1} of ${count}`);
  }
  await pause(1000);
  const { answers } = await client.ask<Sent>("stop");
  const late = latestAfter(decisions, answers);
  const failed = answers.filter(([, status]) => status !== 200);
  return {
    part: "rollbacks",
    rollbacks: count,
    requests: answers.length,
    ofCandidate: answers.filter(([, , version]) => version === 2).length,
    failed: failed.length,
    p50Ms: quantile(late, 0.5),
    p99Ms: quantile(late, 0.99),
    maxMs: Math.max(...late),
  };
}

/** From each decision to the last request sent after it, and before the next canary, that the candidate answered. */
function latestAfter(decisions: readonly number[], answers: Sent["answers"]): number[] {
  const sent = answers.filter(([, , version]) => version === 2).map(([sentMs]) => sentMs);
  return decisions.map((atMs) => {
    // So long follows each decision before the candidate is let in again.
    const late = sent.filter((one) => one > atMs && one < atMs + 55);
    return late.length === 0 ? 0 : Math.max(...late) - atMs;
  });
}

/** Latencies of two blocks one after the other, without and with a shadow. */
type BlockPair = readonly [plain: readonly number[], shadowed: readonly number[]];

/** P99 of all requests with a shadow over that of all without. */
function pooledRatio(pairs: readonly BlockPair[]): number {
  return (
    quantile(
      pairs.flatMap(([, b]) => b),
      0.99,
    ) /
    quantile(
      pairs.flatMap(([a]) => a),
      0.99,
    )
  );
}

/** The same of each pair, in the geometric middle: what drifts over the pairs is in both sides of each, and cancels. */
function pairedRatio(pairs: readonly BlockPair[]): number {
  const logs = pairs.map(([a, b]) => Math.log(quantile(b, 0.99) / quantile(a, 0.99)));
  return Math.exp(logs.reduce((sum, one) => sum + one, 0) / logs.length);
}

/** The middle 95 % of a statistic of pairs that are drawn anew (Efron 1979): a pair stays one, for the same noise hit both. */
function interval(
  pairs: readonly BlockPair[],
  statistic: (pairs: readonly BlockPair[]) => number,
): [number, number] {
  const draw = (): BlockPair[] =>
    pairs.flatMap(() => {
      const one = pairs[Math.floor(Math.random() * pairs.length)];
      return one === undefined ? [] : [one];
    });
  const found = Array.from({ length: BOOTSTRAPS }, () => statistic(draw()));
  return [quantile(found, 0.025), quantile(found, 0.975)];
}
