// Reloads, ends and killed processes with traffic going on: requests that failed, counted by the client.

import { median } from "./command.ts";
import type { Part } from "./serve.bench.ts";
import { skipwayServes, task } from "./serve-processes.ts";
import { type InputForm, jsonBody, quantile, rounded } from "./serve-questions.ts";

type Row = Readonly<Record<string, unknown>>;

const MLP: InputForm = { name: "x", dtype: "float32", shape: [1, 16] };
const RESNET: InputForm = { name: "x", dtype: "float32", shape: [1, 3, 32, 32] };

/** A request that got no answer (status 0) or another than 200; times of day. */
interface Failure {
  readonly begunMs: number;
  readonly atMs: number;
  readonly status: number;
}

interface Traffic {
  readonly statuses: Readonly<Record<string, number>>;
  readonly failedAt: readonly Failure[];
  readonly times: readonly number[];
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
/** The last request is begun so long before the end of the grace, so that it has arrived by then. */
const ARRIVES_MS = 500;
const countOf = ({ statuses }: Traffic): number =>
  Object.values(statuses).reduce((a, b) => a + b, 0);

/** Reloads under load, and SIGTERM with requests to the end of the grace. */
export async function reload(part: Part): Promise<readonly Row[]> {
  return [await reloads(part), await terminations(part)];
}

async function reloads(part: Part): Promise<Row> {
  const { client } = part;
  const count = part.number("reloads", part.small ? 3 : 20);
  await using server = await skipwayServes([part.model("mlp"), part.model("resnet20")]);
  const given = { connections: 4, pauseMs: 1 };
  const models = { mlp: MLP, resnet20: RESNET };
  const start = async (): Promise<void> => {
    for (const [model, form] of Object.entries(models)) {
      const url = `${server.at}/v2/models/${model}/infer`;
      await client.ask("startTraffic", { key: model, url, ...jsonBody(form), ...given });
    }
  };
  const stop = async (): Promise<readonly Traffic[]> => [
    await client.ask<Traffic>("stopTraffic", { key: "mlp" }),
    await client.ask<Traffic>("stopTraffic", { key: "resnet20" }),
  ];
  await start();
  await pause(part.small ? 1000 : 5000);
  const steady = await stop();
  await start();
  const took: number[] = [];
  for (let i = 0; i < count; i++) {
    const model = i % 2 === 0 ? "mlp" : "resnet20";
    const from = performance.now();
    const response = await fetch(`${server.at}/v2/repository/models/${model}/load`, {
      method: "POST",
    });
    if (response.status !== 200) throw new Error(`load: ${await response.text()}`);
    took.push(performance.now() - from);
  }
  const found = await stop();
  const p99 = (one: Traffic | undefined): number => quantile(one?.times ?? [], 0.99);
  return {
    what: "reloads under load",
    n: count,
    requests: found.reduce((sum, one) => sum + countOf(one), 0),
    failed: found.reduce((sum, one) => sum + one.failedAt.length, 0),
    failures: found.flatMap((one) => one.failedAt.map(({ status }) => status)).slice(0, 20),
    reloadMs: Math.round(median(took)),
    p99MsSteady: steady.map((one) => rounded(p99(one))),
    p99MsReloading: found.map((one) => rounded(p99(one))),
  };
}

async function terminations(part: Part): Promise<Row> {
  const { client, small } = part;
  const count = part.number("sigterms", small ? 1 : 3);
  const grace = part.number("grace", small ? 2 : 10);
  let [requests, failed, inGrace] = [0, 0, 0];
  const failures: Row[] = [];
  const codes: (number | null)[] = [];
  for (let i = 0; i < count; i++) {
    await using server = await skipwayServes([part.model("mlp")], ["--grace", String(grace)]);
    const url = `${server.at}/v2/models/mlp/infer`;
    const given = { url, ...jsonBody(MLP), connections: 4, pauseMs: 2 };
    await client.ask("startTraffic", { key: "before", ...given });
    await pause(500);
    const signalledMs = Date.now();
    server.signal("SIGTERM");
    // The client keeps the time: this process may be late on a busy machine.
    const untilMs = signalledMs + 1000 * grace - ARRIVES_MS;
    await client.ask("endTraffic", { key: "before", untilMs });
    // Those who have not seen it yet: they come on connections of their own, until just before the end.
    await pause(200);
    await client.ask("startTraffic", { key: "after", untilMs, ...given });
    await pause(500 * grace);
    const ready = await fetch(`${server.at}/v2/health/ready`).then(({ status }) => status);
    if (ready === 200) throw new Error("ready after SIGTERM");
    await pause(untilMs - Date.now());
    for (const key of ["before", "after"]) {
      const traffic = await client.ask<Traffic>("stopTraffic", { key });
      requests += countOf(traffic);
      failed += traffic.failedAt.length;
      for (const { status, begunMs, atMs } of traffic.failedAt) {
        const [begun, ended] = [begunMs - signalledMs, atMs - signalledMs];
        failures.push({
          status,
          traffic: key,
          begunAfterSignalMs: begun,
          endedAfterSignalMs: ended,
        });
      }
      if (key === "after") inGrace += countOf(traffic);
    }
    codes.push(await server.exited);
    part.log(`SIGTERM ${i + 1} of ${count}`);
  }
  return {
    what: "SIGTERM, requests to the end of the grace",
    n: count,
    graceSeconds: grace,
    requests,
    requestsBegunInGrace: inGrace,
    failed,
    failures: failures.slice(0, 20),
    exitCodes: codes,
  };
}

interface Processes {
  readonly model: string;
  readonly pid?: number;
  readonly sparePid?: number;
}

/** `kill -9` of the victim's processes at random times; the other model must not notice. */
export async function kill(part: Part): Promise<readonly Row[]> {
  const { client } = part;
  const seconds = part.number("seconds", part.small ? 4 : 20);
  const models = { mlp: part.model("mlp"), resnet20: part.model("resnet20") };
  const given = { models, settings: { spare: true } };
  await using server = await task("server.mjs", JSON.stringify(given));
  const { address } = await server.ask<{ address: string }>("where");
  await pause(2000);
  const forms = { mlp: MLP, resnet20: RESNET };
  for (const [model, form] of Object.entries(forms)) {
    const url = `${address}/v2/models/${model}/infer`;
    const load = { url, ...jsonBody(form), connections: 4, pauseMs: 1 };
    await client.ask("startTraffic", { key: model, ...load });
  }
  const kills: number[] = [];
  const until = performance.now() + 1000 * seconds;
  while (performance.now() < until) {
    await pause(1500 + 2000 * Math.random());
    const found = await server.ask<Processes[]>("processes");
    const victim = found.find(({ model }) => model === "resnet20");
    // A spare that died is another's concern: here one is there to take over.
    if (victim?.pid === undefined || victim.sparePid === undefined) continue;
    kills.push(Date.now());
    process.kill(victim.pid, "SIGKILL");
  }
  await pause(1500);
  const other = await client.ask<Traffic>("stopTraffic", { key: "mlp" });
  const victim = await client.ask<Traffic>("stopTraffic", { key: "resnet20" });
  // The last failure after each kill: from then on every request was answered.
  const backMs = kills.map((at, i) => {
    const next = kills[i + 1] ?? Number.POSITIVE_INFINITY;
    const after = victim.failedAt.filter(({ atMs }) => atMs >= at && atMs < next);
    return Math.max(0, ...after.map(({ atMs }) => atMs - at));
  });
  return [
    {
      what: "kill -9 of the serving process, a spare kept",
      seconds,
      kills: kills.length,
      otherRequests: countOf(other),
      otherFailed: other.failedAt.length,
      victimRequests: countOf(victim),
      victimFailed: victim.failedAt.length,
      victimStatuses: victim.statuses,
      failedPerKill: rounded(victim.failedAt.length / Math.max(1, kills.length)),
      lastFailureMsMax: rounded(Math.max(0, ...backMs)),
      longestAnswerMs: rounded(quantile(victim.times, 1)),
      goalBackMs: 500,
    },
  ];
}
