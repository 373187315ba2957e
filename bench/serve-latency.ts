// What a request takes beyond an echo on the same libraries and a bare run: one client, alternating blocks.

import { median } from "./command.ts";
import type { Part } from "./serve.bench.ts";
import { skipwayServes, type Task, task } from "./serve-processes.ts";
import {
  type Body,
  binaryBody,
  grpcBody,
  type InputForm,
  jsonBody,
  Metrics,
  quantile,
  rounded,
} from "./serve-questions.ts";

const TINY: InputForm = { name: "x", dtype: "int32", shape: [2, 16] };
const IMAGE: InputForm = { name: "x", dtype: "float32", shape: [1, 3, 224, 224] };

interface Case {
  readonly way: string;
  readonly model: string;
  readonly form: InputForm;
  readonly question: Body;
}

const CASES: readonly Case[] = [
  { way: "REST binary", model: "tiny", form: TINY, question: binaryBody(TINY) },
  { way: "REST JSON", model: "tiny", form: TINY, question: jsonBody(TINY) },
  { way: "gRPC raw", model: "tiny", form: TINY, question: grpcBody("tiny", TINY) },
  { way: "REST binary", model: "image", form: IMAGE, question: binaryBody(IMAGE) },
  { way: "gRPC raw", model: "image", form: IMAGE, question: grpcBody("image", IMAGE) },
];

interface Sides {
  readonly ours: { readonly at: string; readonly grpc: string };
  readonly echo: { readonly address: string; readonly grpc: string };
  readonly echoTask: Task;
  readonly bare: Task;
}

interface Block {
  readonly count: number;
  /** Asked before, and not counted. */
  readonly warm: number;
}

/**
 * Requests to each side before the first block: a server that has been asked a few thousand times has the code that
 * it keeps; before, p50 falls from block to block.
 */
const WARM = 6000;
const WARM_LARGE = 1000;

/** Microseconds added at p50, and p99 beside the echo's: medians over rounds. */
export async function latency(part: Part): Promise<readonly Record<string, unknown>[]> {
  const files = ["tiny", "image"].map(part.model);
  await using ours = await skipwayServes(files);
  await using echoTask = await task("echo.mjs");
  await using bare = await task("bare.mjs");
  const echo = await echoTask.ask<Sides["echo"]>("where");
  const rows: Record<string, unknown>[] = [];
  for (const one of CASES) rows.push(await measured(part, { ours, echo, echoTask, bare }, one));
  return rows;
}

async function measured(part: Part, sides: Sides, one: Case): Promise<Record<string, unknown>> {
  const { small, client } = part;
  const rounds = part.number("rounds", 5);
  const large = one.model === "image";
  const count = large ? (small ? 150 : 400) : small ? 600 : 1500;
  await teachEcho(client, sides, one);
  const ask = {
    ours: { ...askOurs(sides, one) },
    echo: { ...askEcho(sides, one) },
  };
  const run = {
    ours: (block: Block) => client.ask<number[]>("sequence", { ...ask.ours, ...block }),
    echo: (block: Block) => client.ask<number[]>("sequence", { ...ask.echo, ...block }),
    bare: (block: Block) =>
      sides.bare.ask<number[]>("runs", { path: part.model(one.model), input: one.form, ...block }),
  };
  const found: Record<keyof typeof run, number[][]> = { ours: [], echo: [], bare: [] };
  const inside: number[] = [];
  const warm = large ? WARM_LARGE : WARM;
  for (const side of ["ours", "echo", "bare"] as const) await run[side]({ count: 1, warm });
  const block = { count, warm: 50 };
  for (let round = 0; round < rounds; round++) {
    const order = ["ours", "echo", "bare"] as const;
    for (const side of round % 2 === 0 ? order : order.toReversed()) {
      const before = side === "ours" ? await Metrics.of(sides.ours.at) : undefined;
      found[side].push(await run[side](block));
      if (before !== undefined)
        inside.push(meanUs(before, await Metrics.of(sides.ours.at), one.model));
    }
  }
  return rowOf(one, found, inside);
}

function rowOf(
  { way, model }: Case,
  found: Readonly<Record<"ours" | "echo" | "bare", readonly number[][]>>,
  inside: readonly number[],
): Record<string, unknown> {
  const at = (side: keyof typeof found, p: number): number[] =>
    found[side].map((times) => quantile(times, p));
  const addedAt = (p: number): number[] =>
    at("ours", p).map((us, i) => us - (at("echo", p)[i] ?? 0) - (at("bare", p)[i] ?? 0));
  const added = addedAt(0.5);
  const times = at("ours", 0.99).map((us, i) => us / (at("echo", 0.99)[i] ?? 1));
  return {
    way,
    model,
    addedP50Us: Math.round(median(added)),
    addedP50UsRounds: added.map(Math.round),
    // On a machine with other work, what it is when it is alone for a moment.
    addedP10Us: Math.round(median(addedAt(0.1))),
    goalP50Us: model === "image" ? 1500 : 300,
    p99TimesEcho: rounded(median(times)),
    goalTimesEcho: 1.5,
    oursP50Us: Math.round(median(at("ours", 0.5))),
    oursP99Us: Math.round(median(at("ours", 0.99))),
    echoP50Us: Math.round(median(at("echo", 0.5))),
    echoP99Us: Math.round(median(at("echo", 0.99))),
    bareP50Us: Math.round(median(at("bare", 0.5))),
    serverMeanUs: Math.round(median(inside)),
  };
}

/** Mean microseconds of a request, as the server counts it. */
function meanUs(before: Metrics, after: Metrics, model: string): number {
  const name = "skipway_request_duration_seconds";
  const label = `model="${model}"`;
  const since = (what: string): number =>
    after.sum(`${name}_${what}`, label) - before.sum(`${name}_${what}`, label);
  return (since("sum") / since("count")) * 1e6;
}

function askOurs({ ours }: Sides, { way, model, question }: Case) {
  return way.startsWith("gRPC")
    ? { transport: "grpc", url: ours.grpc, ...question }
    : { transport: "http", url: `${ours.at}/v2/models/${model}/infer`, ...question };
}

function askEcho({ echo }: Sides, { way, model, question }: Case) {
  return way.startsWith("gRPC")
    ? { transport: "grpc", url: echo.grpc, ...question }
    : { transport: "http", url: `${echo.address}/${model}${way.replace(" ", "")}`, ...question };
}

/** The echo sends what ours does. */
async function teachEcho(client: Task, sides: Sides, one: Case): Promise<void> {
  const asked = askOurs(sides, one);
  if (asked.transport === "grpc") {
    await sides.echoTask.ask("set", { grpcBody: await client.ask<string>("grpcOnce", asked) });
    return;
  }
  const answer = await client.ask<OnceAnswer>("once", asked);
  if (answer.status !== 200) throw new Error(`${one.way} ${one.model}: status ${answer.status}`);
  await sides.echoTask.ask("set", {
    name: `${one.model}${one.way.replace(" ", "")}`,
    type: answer.headerLength === undefined ? "application/json" : "application/octet-stream",
    headers:
      answer.headerLength === undefined
        ? {}
        : { "inference-header-content-length": answer.headerLength },
    body: answer.body,
  });
}

interface OnceAnswer {
  readonly status: number;
  readonly body: string;
  readonly headerLength?: string;
}
