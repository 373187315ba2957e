// Whether the server counts what happened: every request sent by what became of it, times beside the client's; and what
// counting and tracing cost.

import { execFileSync } from "node:child_process";
import { median } from "./command.ts";
import type { Part } from "./serve.bench.ts";
import { skipwayServes } from "./serve-processes.ts";
import { type InputForm, jsonBody, Metrics, rounded } from "./serve-questions.ts";

const FORM: InputForm = { name: "x", dtype: "float32", shape: [1, 3, 32, 32] };

type Row = Readonly<Record<string, unknown>>;

/** Counts, times and costs. */
export async function metricTruth(part: Part): Promise<readonly Row[]> {
  return [await counts(part), await times(part), ...costs(part)];
}

interface Closed {
  readonly statuses: Readonly<Record<string, number>>;
  readonly times: readonly number[];
}

async function counts({ client, model, small }: Part): Promise<Row> {
  await using server = await skipwayServes([model("resnet20"), model("mlp")], ["--queue", "8"]);
  const at = `${server.at}/v2/models/resnet20/infer`;
  const question = jsonBody(FORM);
  const size = small ? 40 : 400;
  const kinds = [
    { url: at, ...question, connections: 4 },
    // More than may wait.
    { url: at, ...question, connections: 32 },
    { url: at, ...withHeader(question, "x-request-timeout-ms", "1"), connections: 4 },
    { url: at, body: Buffer.from("{").toString("base64"), headers: {}, connections: 2 },
    { url: at, ...jsonBody({ ...FORM, shape: [1, 3, 32, 31] }), connections: 2 },
    { url: `${server.at}/v2/models/nobody/infer`, ...question, connections: 2 },
    { url: at.replace("/infer", "/versions/7/infer"), ...question, connections: 2 },
  ];
  let sent = 0;
  const statuses: Record<string, number> = {};
  const found = await Promise.all(
    kinds.map((kind) => client.ask<Closed>("closed", { ...kind, seconds: 60, requests: size })),
  );
  for (const one of found) {
    for (const [status, count] of Object.entries(one.statuses)) {
      sent += count;
      statuses[status] = (statuses[status] ?? 0) + count;
    }
  }
  await client.ask("cutOff", { url: at, ...question, count: 20 });
  sent += 20;
  await new Promise((resolve) => setTimeout(resolve, 500));
  const metrics = await Metrics.of(server.at);
  const success = metrics.sum("skipway_requests_total");
  const failures = metrics.sum("skipway_request_failures_total");
  return {
    what: "counted / sent",
    sent,
    success,
    failures,
    missing: sent - success - failures,
    goalMissing: 0,
    clientStatuses: statuses,
  };
}

function withHeader(question: ReturnType<typeof jsonBody>, name: string, value: string) {
  return { ...question, headers: { ...question.headers, [name]: value } };
}

async function times({ client, model, small }: Part): Promise<Row> {
  await using server = await skipwayServes([model("slow")]);
  const url = `${server.at}/v2/models/slow/infer`;
  const given = { url, ...jsonBody(FORM), connections: 1, seconds: 600 };
  await client.ask("closed", { ...given, requests: 10 });
  const before = await Metrics.of(server.at);
  const found = await client.ask<Closed>("closed", { ...given, requests: small ? 30 : 400 });
  const after = await Metrics.of(server.at);
  const since = (what: string): number =>
    after.sum(`skipway_request_duration_seconds_${what}`) -
    before.sum(`skipway_request_duration_seconds_${what}`);
  const server_ = (1000 * since("sum")) / since("count");
  const client_ = found.times.reduce((a, b) => a + b, 0) / found.times.length;
  return {
    what: "mean of the server's histogram / the client's",
    n: found.times.length,
    clientMeanMs: rounded(client_),
    serverMeanMs: rounded(server_),
    ratio: rounded(server_ / client_),
    goalWithin: 0.03,
  };
}

interface Units {
  readonly updates: Readonly<Record<string, number>>;
}

interface Loop {
  readonly rates: Readonly<Record<"off" | "on", readonly number[]>>;
}

/** From the benchmark of metrics by itself. */
function costs({ model, small }: Part): readonly Row[] {
  const child = (...args: readonly string[]): unknown =>
    JSON.parse(execFileSync(process.execPath, ["bench/metrics-child.mjs", ...args]).toString());
  const { updates } = child("units") as Units;
  const [seconds, rounds] = small ? ["1", "2"] : ["4", "7"];
  const loops = ["mlp", "resnet20"].map((name) => {
    const { rates } = child("loop", seconds, rounds, model(name)) as Loop;
    const pairs = rates.on.map((on, i) => on / (rates.off[i] ?? Number.NaN));
    return {
      what: "all traces on / off, throughput",
      model: name,
      untracedPerSecond: Math.round(median(rates.off)),
      ratio: rounded(median(pairs)),
      goal: 0.97,
    };
  });
  const { counter, histogram, histogramWithExemplar } = updates;
  const ns = { counter, histogram, histogramWithExemplar };
  return [{ what: "nanoseconds of an update", ...ns, goal: 150 }, ...loops];
}
