// What servers carry: closed loops of 16 connections with JSON for one row each, all servers in turns; then ours at
// saturation beside a bare loop at its best batch size and beside itself without batching.

import { readFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { median } from "./command.ts";
import type { Part } from "./serve.bench.ts";
import { mlserverServes, skipwayServes, type Task, task } from "./serve-processes.ts";
import {
  binaryBody,
  type InputForm,
  jsonBody,
  Metrics,
  quantile,
  rounded,
} from "./serve-questions.ts";

const FORMS: Readonly<Record<"mlp" | "resnet20", InputForm>> = {
  mlp: { name: "x", dtype: "float32", shape: [1, 16] },
  resnet20: { name: "x", dtype: "float32", shape: [1, 3, 32, 32] },
};

interface Closed {
  readonly statuses: Readonly<Record<string, number>>;
  readonly seconds: number;
  readonly times: readonly number[];
}

type Row = Readonly<Record<string, unknown>>;

/** Requests a second, and the goals' ratios. */
export async function throughput(part: Part): Promise<readonly Row[]> {
  const rows: Row[] = [];
  for (const model of ["mlp", "resnet20"] as const) rows.push(...(await peers(part, model)));
  rows.push(await saturation(part, "resnet20"));
  return rows;
}

interface Contender {
  readonly name: string;
  readonly url: string;
  readonly pid: number;
}

/** Before the first round: what a server in JavaScript carries grows for some ten thousand requests. */
const WARM_SECONDS = 6;
/** Servers tell how late their event loop was in the last 15 to 30 seconds: no longer in their start, then. */
const STARTED_SECONDS = 31;

async function peers(part: Part, model: keyof typeof FORMS): Promise<readonly Row[]> {
  const { client, small } = part;
  const [rounds, seconds] = [part.number("rounds", 2), part.number("seconds", small ? 2 : 8)];
  await using started = new Started();
  const contenders = await startAll(part, started, model);
  const rates = new Map(contenders.map(({ name }) => [name, [] as number[]]));
  const p99 = new Map(contenders.map(({ name }) => [name, [] as number[]]));
  const processor = new Map(contenders.map(({ name }) => [name, [] as number[]]));
  for (let round = -1; round < rounds; round++) {
    for (const { name, url, pid } of round % 2 === 0 ? contenders : contenders.toReversed()) {
      const given = { url, ...jsonBody(FORMS[model]), connections: 16 };
      const before = processorUs(pid);
      const found = await client.ask<Closed>("closed", {
        ...given,
        seconds: round < 0 ? Math.max(WARM_SECONDS, seconds) : seconds,
      });
      // The first round warms up.
      if (round < 0) continue;
      rates.get(name)?.push((found.statuses["200"] ?? 0) / found.seconds);
      p99.get(name)?.push(quantile(found.times, 0.99));
      processor.get(name)?.push((processorUs(pid) - before) / (found.statuses["200"] ?? 0));
    }
    part.log(`throughput ${model}: round ${round + 1} of ${rounds}`);
  }
  const ours = rates.get("skipway") ?? [];
  return contenders.map(({ name }) => {
    const own = rates.get(name) ?? [];
    return {
      model,
      server: name,
      perSecond: Math.round(median(own)),
      rounds: own.map(Math.round),
      p99Ms: rounded(median(p99.get(name) ?? [])),
      // What else runs takes turns, and this little of it: time of all processes of the server.
      processorUsPerRequest: Math.round(median(processor.get(name) ?? [])),
      oursTimesThis: rounded(median(own.map((rate, i) => (ours[i] ?? 0) / rate))),
    };
  });
}

/** What was started, ended together. */
class Started implements AsyncDisposable {
  readonly #all: AsyncDisposable[] = [];

  use<T extends AsyncDisposable>(one: T): T {
    this.#all.push(one);
    return one;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const one of this.#all) await one[Symbol.asyncDispose]();
  }
}

async function startAll(
  part: Part,
  started: Started,
  model: keyof typeof FORMS,
): Promise<readonly Contender[]> {
  const file = part.model(model);
  const ours = started.use(await skipwayServes([file]));
  const naive = started.use(await task("naive.mjs", file));
  const found: Contender[] = [
    { name: "skipway", url: `${ours.at}/v2/models/${model}/infer`, pid: ours.pid },
    {
      name: "node:http and session.run",
      url: `${await naive.ask<string>("where")}/`,
      pid: naive.pid,
    },
  ];
  const python = process.env["PYTHON"];
  if (python === undefined) return found;
  for (const batching of [false, true]) {
    const folder = join(part.folder, `mlserver-${model}-${batching}`);
    await mkdir(folder);
    const peer = started.use(await mlserverServes(python, folder, { file, batching }));
    const name = batching ? "MLServer, adaptive batching" : "MLServer";
    found.push({ name, url: `${peer.at}/v2/models/m/infer`, pid: peer.pid });
  }
  return found;
}

const SIZES = [1, 2, 4, 8, 16, 32];

/** Binary questions on more connections than a batch has rows: what the model's process does then. */
async function saturation(part: Part, model: keyof typeof FORMS): Promise<Row> {
  const { client, small } = part;
  const seconds = part.number("seconds", small ? 2 : 8);
  const rounds = part.number("rounds", small ? 1 : 3);
  await using bare = await task("bare.mjs");
  await using batched = await skipwayServes([part.model(model)]);
  await using single = await skipwayServes([part.model(model)], ["--max-batch", "1"]);
  const given = { ...binaryBody(FORMS[model]), connections: 48 };
  const load = async (at: string, time: number): Promise<number> => {
    const url = `${at}/v2/models/${model}/infer`;
    const found = await client.ask<Closed>("closed", { url, ...given, seconds: time });
    return (found.statuses["200"] ?? 0) / found.seconds;
  };
  await load(single.at, WARM_SECONDS);
  await load(batched.at, STARTED_SECONDS);
  const found: Record<"batched" | "single" | "bare" | "inside" | "rows", number[]> = {
    batched: [],
    single: [],
    bare: [],
    inside: [],
    rows: [],
  };
  let sizes: Readonly<Record<string, number>> = {};
  for (let round = 0; round < rounds; round++) {
    sizes = await bareRates(bare, part.model(model), FORMS[model], seconds / SIZES.length);
    found.bare.push(Math.max(...Object.values(sizes)));
    const before = await runsOf(batched.at, model);
    const from = performance.now();
    found.batched.push(await load(batched.at, seconds));
    const wallMs = performance.now() - from;
    const after = await runsOf(batched.at, model);
    found.inside.push((after.insideMs - before.insideMs) / wallMs);
    found.rows.push((after.rows - before.rows) / (after.runs - before.runs));
    found.single.push(await load(single.at, seconds));
  }
  const { sum } = await lateness(batched.at);
  const ratios = (of: readonly number[], to: readonly number[]): number =>
    rounded(median(of.map((rate, i) => rate / (to[i] ?? Number.NaN))));
  return {
    model,
    server: "skipway, binary, 48 connections",
    perSecond: Math.round(median(found.batched)),
    insideRunShare: rounded(median(found.inside)),
    goalInside: 0.95,
    rowsPerRun: rounded(median(found.rows)),
    timesUnbatched: ratios(found.batched, found.single),
    shareOfBareLoop: ratios(found.batched, found.bare),
    bareRowsPerSecond: Object.fromEntries(
      Object.entries(sizes).map(([size, rate]) => [size, Math.round(rate)]),
    ),
    eventLoopLateP99Ms: rounded(1000 * sum),
    goalLateMs: 10,
  };
}

function bareRates(
  bare: Task,
  path: string,
  input: InputForm,
  seconds: number,
): Promise<Readonly<Record<string, number>>> {
  return bare.ask("rates", { path, input, sizes: SIZES, seconds });
}

async function lateness(at: string): Promise<{ sum: number }> {
  return { sum: (await Metrics.of(at)).sum("nodejs_eventloop_lag_p99_seconds") };
}

interface BatchStats {
  readonly batch_size: number;
  readonly compute_infer: { readonly count: number; readonly ns: number };
}

/** Milliseconds inside of the model's runs, the runs and their rows, from the statistics extension. */
async function runsOf(at: string, model: string) {
  const response = await fetch(`${at}/v2/models/${model}/stats`);
  const document = (await response.json()) as {
    readonly model_stats: readonly { readonly batch_stats: readonly BatchStats[] }[];
  };
  let [insideMs, runs, rows] = [0, 0, 0];
  for (const { batch_size: size, compute_infer: infer } of document.model_stats[0]?.batch_stats ??
    []) {
    insideMs += infer.ns / 1e6;
    runs += infer.count;
    rows += size * infer.count;
  }
  return { insideMs, runs, rows };
}

/** Processor time of a process and its children, of proc(5): its ticks are of 10 ms. */
function processorUs(pid: number): number {
  const [, rest = ""] = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ");
  const fields = rest.split(" ");
  const own = (Number(fields[11]) + Number(fields[12])) * 10_000;
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
  const below = children === "" ? [] : children.split(" ").map(Number);
  return below.reduce((sum, child) => sum + processorUs(child), own);
}
