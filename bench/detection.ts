// How many requests of a candidate it takes to find a fault, over real HTTP: rollouts one after the other on several
// models of one server, with versions that really differ; and what the server's own way to the decision takes.

import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { BenchOptions } from "./main.ts";
import { follow, type RolloutNews, type Stream } from "./rollout-stream.ts";
import { type Served, skipwayServes, type Task, task } from "./serve-processes.ts";
import { quantile, quantileInterval, rounded } from "./statistics.ts";

type Row = Readonly<Record<string, unknown>>;

/** A candidate and the share that it gets. */
interface Setting {
  readonly fault: "slow x5" | "slow x10" | "nan" | "crash";
  readonly share: number;
  /** The most that the median and 95 % of the releases may need, in requests of the candidate. */
  readonly median?: number;
  readonly p95?: number;
}

/** Version of each candidate; inputs with content below this meet its fault (serve/canary-store.mjs). */
const CANDIDATES = {
  "slow x5": { version: 2, below: 0.05 },
  "slow x10": { version: 3, below: 0.1 },
  nan: { version: 4, below: 1 },
  // As good as stable until its process is killed.
  crash: { version: 2, below: 0 },
} as const;

const SETTINGS: readonly Setting[] = [
  { fault: "slow x5", share: 0.05, median: 300, p95: 650 },
  { fault: "slow x10", share: 0.05, p95: 200 },
  { fault: "slow x5", share: 0.5, median: 750, p95: 1400 },
  { fault: "slow x10", share: 0.5, p95: 450 },
  { fault: "nan", share: 0.05 },
  { fault: "nan", share: 0.5 },
  { fault: "crash", share: 0.05 },
  { fault: "crash", share: 0.5 },
];

/** What is slow burns so long, and is little over the threshold: few requests that wait for it are slow as well. */
const BURN_MS = 30;
const OVER = 0.95;
/**
 * The part of stable's inputs that is slow by itself: with those that wait behind them, one in a hundred requests is
 * over the threshold, which is the question.
 */
const STABLE_SLOW = 0.009;
/** A rollout that needs more than this has missed; it is taken back by hand. */
const REQUESTS_MAX = 6000;
/** Load before the first release: a server that has just begun is slow. */
const WARM_UP_MS = 8000;
/** Between what was told last and the next order: the candidate's process has to go. */
const PAUSE_MS = 50;
/** Answers of the candidate before its process is killed. */
const BEFORE_KILL = 5;

/** One release, as it was found. */
interface Found {
  /** `missed`: not taken back within its requests. */
  readonly cause: string;
  readonly requests: number;
  /** From the answer that decided, as its client had it, or from the fault, to the event on the stream. */
  readonly delayMs: number;
  /** From the first answer with the fault, or from the kill. */
  readonly foundMs: number;
  /** Requests of the candidate that were sent after the rollback was decided. */
  readonly sentLate: number;
  /** As the judge has counted them. */
  readonly slow: { readonly candidate: Counts; readonly stable: Counts };
  readonly failed: number;
  readonly clientRequests: number;
}

interface Counts {
  readonly events: number;
  readonly of: number;
}

const NONE: Counts = { events: 0, of: 0 };

/** The document of a rollout, as far as it is read here (skipway.rollout/1). */
interface RolloutDocument {
  readonly over: boolean;
  readonly reason: { readonly cause: string } | null;
  readonly verdict: {
    readonly candidateRequests: number;
    readonly gates: readonly { gate: string; candidate: Counts; stable: Counts }[];
  } | null;
}

/** What became of a request (serve/canary-lanes.mjs). */
type Answer = readonly [
  sentMs: number,
  endedMs: number,
  status: number,
  version: number,
  content: number,
];

/** Who asks whom. */
interface Site {
  readonly server: Served;
  readonly stream: Stream;
  readonly client: Task;
  /** Each has its own rollouts. */
  readonly models: readonly string[];
  readonly thresholdMs: number;
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** A row for each candidate and share. */
export async function detection(options: BenchOptions): Promise<{ settings: Row; rows: Row[] }> {
  const runs = numberOf(options, "runs", options.small ? 2 : 60);
  const models = numberOf(options, "models", 20);
  const rate = numberOf(options, "rate", 20);
  const stableSlow = numberOf(options, "stable-slow", STABLE_SLOW);
  const { flags } = options;
  // `--fault "slow x5" --share 0.5`: a part of the table.
  const settings = SETTINGS.filter(
    ({ fault, share }) =>
      fault.startsWith(flags.get("fault") ?? "") && share === Number(flags.get("share") ?? share),
  );
  const folder = mkdtempSync(join(tmpdir(), "skipway-detection-"));
  try {
    const store = [folder, models, BURN_MS, stableSlow].map(String);
    execFileSync(process.execPath, ["bench/serve/canary-store.mjs", ...store]);
    // All versions are loaded, so that the start of one process is no matter of the releases of the other models.
    await using server = await skipwayServes(
      [],
      ["--data", folder, "--no-grpc", "--versions", "all"],
    );
    await using stream = await follow(server.at);
    await using client = await task("canary-lanes.mjs");
    const names = Array.from({ length: models }, (_, i) => `m${i + 1}`);
    const times = await calibrate(client, urlOf(server, "m1"));
    options.log(JSON.stringify(times));
    const site = { server, stream, client, models: names, thresholdMs: times.thresholdMs };
    for (const [i, model] of names.entries()) {
      await client.ask("start", { model, url: urlOf(server, model), rate, seed: 100 + i });
    }
    await pause(WARM_UP_MS);
    const rows: Row[] = [];
    for (const setting of settings) {
      rows.push(await measure(site, setting, runs, options.log));
    }
    await client.ask("stop");
    const load = { models, ratePerModel: rate, stableSlow };
    return { settings: { runs, ...load, alpha: 0.001, ...times }, rows };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function numberOf({ flags }: BenchOptions, name: string, usual: number): number {
  return Number(flags.get(name) ?? usual);
}

/** How long slow and other requests take here and now; the threshold is a little below the slow ones. */
async function calibrate(client: Task, url: string) {
  const times = await client.ask<{ slowMs: number; slowMedianMs: number; fastMs: number }>(
    "calibrate",
    { url },
  );
  return { ...times, thresholdMs: rounded(OVER * times.slowMs) };
}

function urlOf({ at }: Served, model: string): string {
  return `${at}/v2/models/${model}/infer`;
}

/** So many releases of one kind, as many at a time as there are models. */
async function measure(
  site: Site,
  setting: Setting,
  runs: number,
  log: BenchOptions["log"],
): Promise<Row> {
  const found: Found[] = [];
  let begun = 0;
  const work = site.models.map(async (model) => {
    while (begun++ < runs) {
      const one = await release(site, model, setting);
      found.push(one);
      const { cause, requests, delayMs, slow } = one;
      const what = `${setting.fault} at ${100 * setting.share} %, ${found.length} of ${runs}`;
      const rates = `slow ${percent(slow.candidate)} %, stable ${percent(slow.stable)} %`;
      log(`${what}: ${cause}, ${requests} requests, ${rates}, ${delayMs} ms`);
    }
  });
  // Who fails ends alone: the others ask until they are done.
  const failed = (await Promise.allSettled(work)).find(({ status }) => status === "rejected");
  if (failed?.status === "rejected") throw failed.reason;
  return rowOf(setting, found);
}

/** One release from its order to its end. */
async function release(site: Site, model: string, setting: Setting): Promise<Found> {
  const { fault, share } = setting;
  const { version, below } = CANDIDATES[fault];
  await site.client.ask("answers", { model });
  const heard = site.stream.rollout(model);
  await order(site, model, version, share);
  const killedMs = fault === "crash" ? await kill(site, model, version) : undefined;
  const ended = await endOf(site, model, heard);
  const document = await over(site, model);
  const answers = await site.client.ask<Answer[]>("answers", { model });
  const candidate = answers.filter(([, , , by]) => by === version);
  // Also one that waited for another is slow.
  const faulty = candidate.filter(
    ([sentMs, endedMs, , , content]) =>
      content < below || (fault !== "nan" && endedMs - sentMs > site.thresholdMs),
  );
  const before = faulty.map(([, endedMs]) => endedMs).filter((ms) => ms <= ended.seenMs);
  const fromMs = killedMs ?? Math.min(...before);
  const slow = document.verdict?.gates.find(({ gate }) => gate === "slow");
  return {
    cause: ended.cause ?? ended.kind,
    requests: document.verdict?.candidateRequests ?? 0,
    delayMs: rounded(ended.seenMs - (killedMs ?? Math.max(...before))),
    foundMs: rounded(ended.seenMs - fromMs),
    sentLate: candidate.filter(([sentMs]) => sentMs > ended.atMs).length,
    slow: { candidate: slow?.candidate ?? NONE, stable: slow?.stable ?? NONE },
    failed: answers.filter(([, , status]) => status !== 200).length,
    clientRequests: answers.length,
  };
}

/** Orders a rollout with one step that holds until something is found. */
async function order({ server, thresholdMs }: Site, model: string, to: number, share: number) {
  const steps = [{ share, seconds: 1, requests: 100_000 }];
  const policy = { shadow: null, copies: false, steps, thresholdMs };
  const body = JSON.stringify({ to, policy, override: "a measurement", reason: "a measurement" });
  const answer = await fetch(rolloutAt(server, model), { method: "POST", body });
  if (!answer.ok) throw new Error(`the order is answered with ${await answer.text()}`);
}

function rolloutAt({ at }: Served, model: string): string {
  return `${at}/api/v1/models/${model}/rollout`;
}

/** How it ends, by itself or by hand once it has had its requests. */
async function endOf(site: Site, model: string, heard: Promise<RolloutNews>): Promise<RolloutNews> {
  let done = false;
  let tell: (news: RolloutNews) => void = () => undefined;
  const missed = new Promise<RolloutNews>((resolve) => {
    tell = resolve;
  });
  const ended = Promise.race([heard, missed]).finally(() => {
    done = true;
  });
  const watch = (async () => {
    while (!done) {
      await pause(1000);
      const { verdict, over, reason } = await read(site, model);
      if (over && !done) {
        // The stream was cut off in that moment.
        const atMs = Date.now();
        const kind = reason === null ? "promoted" : "rolled-back";
        tell({ model, kind, cause: reason?.cause ?? null, atMs, seenMs: atMs });
      }
      if (done || (verdict?.candidateRequests ?? 0) < REQUESTS_MAX) continue;
      const body = JSON.stringify({ reason: "missed" });
      await fetch(`${rolloutAt(site.server, model)}/abort`, { method: "POST", body });
      return;
    }
  })();
  const [news] = await Promise.all([ended, watch]);
  return news.kind === "rolled-back" ? news : { ...news, cause: `missed: ${news.kind}` };
}

async function read({ server }: Site, model: string): Promise<RolloutDocument> {
  // The server's own document.
  return (await (await fetch(rolloutAt(server, model))).json()) as RolloutDocument;
}

/** Waits until nothing of it remains to be done. */
async function over(site: Site, model: string): Promise<RolloutDocument> {
  for (;;) {
    await pause(PAUSE_MS);
    const document = await read(site, model);
    if (document.over) return document;
  }
}

/** Kills the candidate's process once it answers; gives the time. */
async function kill(site: Site, model: string, version: number): Promise<number> {
  let answered = 0;
  while (answered < BEFORE_KILL) {
    await pause(PAUSE_MS);
    const answers = await site.client.ask<Answer[]>("answers", { model });
    answered += answers.filter(([, , , by]) => by === version).length;
  }
  const document = (await (await fetch(`${site.server.at}/api/v1/on-call`)).json()) as {
    // The server's own document (skipway.on-call/1).
    status: { models: { model: string; version: number; pid: number | null }[] };
  };
  const { models } = document.status;
  const pid = models.find((one) => one.model === model && one.version === version)?.pid;
  if (typeof pid !== "number") throw new Error("the candidate has no process");
  process.kill(pid, "SIGKILL");
  return Date.now();
}

function percent({ events, of }: Counts): number {
  return rounded((100 * events) / of);
}

function rowOf({ fault, share, median, p95 }: Setting, found: readonly Found[]): Row {
  // What was not found needs more than any other.
  const requests = found.map((one) => (one.cause.startsWith("missed") ? Infinity : one.requests));
  const delays = found.map(({ delayMs }) => delayMs);
  const times = found.map(({ foundMs }) => foundMs);
  const rate = (arm: "candidate" | "stable"): number => {
    const sum = (name: keyof Counts) => found.reduce((all, { slow }) => all + slow[arm][name], 0);
    return percent({ events: sum("events"), of: sum("of") });
  };
  const causes = new Map<string, number>();
  for (const { cause } of found) causes.set(cause, (causes.get(cause) ?? 0) + 1);
  return {
    part: `${fault} at ${100 * share} %`,
    n: found.length,
    causes: [...causes].map(([cause, count]) => `${cause} ${count}`).join(", "),
    median: quantile(requests, 0.5),
    median95: quantileInterval(requests, 0.5).join(" to "),
    medianGoal: median ?? null,
    p95: quantile(requests, 0.95),
    p9595: quantileInterval(requests, 0.95).join(" to "),
    p95Goal: p95 ?? null,
    stableSlowPercent: rate("stable"),
    candidateSlowPercent: rate("candidate"),
    delayP50Ms: quantile(delays, 0.5),
    delayP99Ms: quantile(delays, 0.99),
    foundP50Ms: quantile(times, 0.5),
    foundMaxMs: Math.max(...times),
    sentLate: found.reduce((sum, one) => sum + one.sentLate, 0),
    clientRequests: found.reduce((sum, one) => sum + one.clientRequests, 0),
    failed: found.reduce((sum, one) => sum + one.failed, 0),
  };
}
