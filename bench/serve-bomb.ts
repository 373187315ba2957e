// Requests of all sizes at a server with a small budget, over HTTP: whether all its processes stay within the budget, none is
// killed, and each request is answered that alone would be. `--requests 100000`, `--seed`, `--memory` in MiB.

import { readFileSync } from "node:fs";
import type { Part } from "./serve.bench.ts";
import { type Served, skipwayServes, task } from "./serve-processes.ts";
import { Metrics, quantile, rounded } from "./serve-questions.ts";

type Row = Readonly<Record<string, unknown>>;

/** For the server 1.5 times what it starts with, an eighth for bodies, three processes, and about 200 MiB to run in. */
const MEMORY_MIB = 768;
const MIB = 1_048_576;
const SAMPLE_MS = 10;
/** Of the shapes that were refused for good, asked alone of a fresh server. */
const ALONE_MAX = 200;

/** A model of which a client chooses the rows, and the size of each where it may: powers of two. */
const TARGETS = [
  { model: "wide", rowsPower: 8, sizePowers: [8, 16] },
  { model: "resnet20", rowsPower: 9, sizePowers: [0, 0] },
  { model: "bert", rowsPower: 8, sizePowers: [1, 4] },
];

/** What the client has seen (serve/bomb-client.mjs). */
interface Seen {
  readonly statuses: Readonly<Record<string, number>>;
  readonly times: readonly number[];
  readonly unexpected: readonly string[];
  readonly toldLater: number;
  readonly refused: readonly unknown[];
}

/** The server, its processes and what they hold, told apart from what they were told to hold. */
export async function httpBomb(part: Part): Promise<readonly Row[]> {
  const requests = part.number("requests", part.small ? 200 : 5000);
  const memoryMiB = part.number("memory", MEMORY_MIB);
  const seed = part.number("seed", 1);
  const files = TARGETS.map(({ model }) => part.model(model));
  const serves = () => skipwayServes(files, ["--memory", `${memoryMiB}MiB`]);
  await using client = await task("bomb-client.mjs");
  await using server = await serves();
  const targets = await Promise.all(TARGETS.map((one) => described(server, one)));
  const marks = watchMarks(server.pid, memoryMiB * MIB);
  const from = performance.now();
  const seen = await client.ask<Seen>("bomb", { at: server.at, targets, requests, seed });
  const seconds = (performance.now() - from) / 1000;
  const held = marks();
  const restarts = restartsOf(await Metrics.of(server.at));
  await using fresh = await serves();
  const questions = seen.refused.slice(0, ALONE_MAX);
  const wrong = await client.ask<string[]>("alone", { at: fresh.at, questions });
  const { statuses, times, unexpected, toldLater } = seen;
  const memory = { budgetMB: rounded((memoryMiB * MIB) / 1e6), ...held, restarts };
  return [
    {
      what: "memory bomb over HTTP",
      ...{ requests, ...memory, statuses, unexpected, toldLater },
      answeredP50Ms: rounded(quantile(times, 0.5)),
      answeredP99Ms: rounded(quantile(times, 0.99)),
      refusedShapes: seen.refused.length,
      askedAlone: questions.length,
      refusedThatFit: wrong,
      seconds: rounded(seconds),
    },
  ];
}

/** A model with its inputs, as the server describes them. */
async function described({ at }: Served, target: (typeof TARGETS)[number]): Promise<Row> {
  // The protocol's own document.
  const { inputs } = (await (await fetch(`${at}/v2/models/${target.model}`)).json()) as Row;
  return { ...target, inputs };
}

/** The most that all processes held together, by their own high-water marks, read one after the other in a moment. */
function watchMarks(parent: number, budgetBytes: number) {
  let [most, mostOfModels, mostOfServer, samples, samplesOver] = [0, 0, 0, 0, 0];
  const timer = setInterval(() => {
    const models = childrenOf(parent).reduce((sum, pid) => sum + markOf(pid), 0);
    const server = markOf(parent);
    const all = models + server;
    samples++;
    if (all > budgetBytes) samplesOver++;
    most = Math.max(most, all);
    mostOfModels = Math.max(mostOfModels, models);
    mostOfServer = Math.max(mostOfServer, server);
  }, SAMPLE_MS);
  return () => {
    clearInterval(timer);
    const inMB = (bytes: number): number => rounded(bytes / 1e6);
    const marks = { mostMB: inMB(most), mostOfModelsMB: inMB(mostOfModels) };
    return { ...marks, mostOfServerMB: inMB(mostOfServer), samples, samplesOver };
  };
}

function childrenOf(pid: number): number[] {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, "latin1").trim();
  return text === "" ? [] : text.split(" ").map(Number);
}

/** VmHWM in bytes; 0 for a process that is gone. */
function markOf(pid: number): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, "latin1");
    return 1024 * Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? 0);
  } catch {
    return 0;
  }
}

/** Processes that ended otherwise than on purpose. */
function restartsOf(metrics: Metrics): number {
  const name = "skipway_process_restarts_total";
  return metrics.sum(name) - metrics.sum(name, 'cause="recycled"');
}
