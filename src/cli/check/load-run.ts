// The load run of a release check: the model in the server that would serve it, asked over HTTP.

import { arrivals, segmentsOf } from "../../drill/load/arrivals.ts";
import { sendLoad } from "../../drill/load/load.ts";
import { madeUpQuestion } from "../../drill/load/question.ts";
import { quantileOf } from "../../drill/load/summary.ts";
import type { LoadEvidence } from "../../registry/rules.ts";
import { ModelServer } from "../../serve/server.ts";
import { tensorMetadata } from "../../wire/metadata.ts";
import type { Io } from "../io.ts";
import { bar, LiveArea } from "../render/live.ts";
import { packageVersion } from "../version.ts";

/** A model to load. */
export interface Loaded {
  readonly path: string;
  readonly digest: string;
}

/** How a load run is made. */
export interface LoadRun {
  /** Requests a second; half of what the model answers one after another if left out. */
  readonly rate: number | undefined;
  readonly seconds: number;
  readonly rows: number;
  readonly quantiles: readonly number[];
}

/** Parts of one run; a baseline takes its turns between them, so that both meet the same machine. */
const ROUNDS = 6;
/** Requests that tell how fast the model is, after one that warms it. */
const PROBES = 12;
const RATE_MAX = 1000;
const CONNECTIONS_MAX = 64;
const TIMEOUT_MS = 30_000;

/** Loads each model with the same requests at the same rate, by turns. */
export async function loadRuns(
  io: Io,
  models: readonly Loaded[],
  run: LoadRun,
): Promise<readonly LoadEvidence[]> {
  const served = await Promise.all(models.map(serve));
  try {
    const question = (one: Served) =>
      madeUpQuestion(one.inputs, { sizes: { rows: run.rows, others: 16 }, form: "json", seed: 1 });
    const rate = run.rate ?? (await comfortableRate(served[0], question, io.signal));
    const found = served.map((): { latencies: number[]; failed: number } => ({
      latencies: [],
      failed: 0,
    }));
    const area = new LiveArea(io);
    for (let round = 0; round < ROUNDS; round++) {
      for (const [i, one] of served.entries()) {
        const seconds = run.seconds / ROUNDS;
        const plan = {
          url: one.url,
          question: question(one),
          arrivals: arrivals(segmentsOf({ kind: "steady", rate }, seconds), {
            spread: "poisson",
            seed: round + 1,
          }),
          connectionsMax: CONNECTIONS_MAX,
          timeoutMs: TIMEOUT_MS,
        };
        const done = (round * served.length + i) / (ROUNDS * served.length);
        const result = await sendLoad(plan, {
          signal: io.signal,
          onProgress: ({ sent }) => {
            const share = done + sent / plan.arrivals.length / (ROUNDS * served.length);
            area.set([`${bar(share, 30)} load run, ${Math.round(rate)} requests a second`]);
          },
        });
        io.signal.throwIfAborted();
        const good = result.latencies.filter((_, k) => result.statuses[k] === 200);
        found[i]?.latencies.push(...good);
        if (found[i] !== undefined) found[i].failed += result.sent - good.length;
      }
    }
    area.done();
    return found.map(({ latencies, failed }) => evidenceOf(latencies, failed, rate, run));
  } finally {
    await Promise.all(served.map(({ server }) => server.stop()));
  }
}

interface Served {
  readonly server: ModelServer;
  readonly url: URL;
  readonly inputs: ReturnType<typeof tensorMetadata>;
}

async function serve({ path, digest }: Loaded): Promise<Served> {
  const server = new ModelServer({ version: packageVersion() });
  try {
    const host = await server.serve({ name: "model", version: 1, path, digest });
    const address = await server.listen({ port: 0 });
    return {
      server,
      url: new URL("/v2/models/model/infer", address),
      inputs: tensorMetadata(host.inputs),
    };
  } catch (error) {
    await server.stop();
    throw error;
  }
}

/** A load that leaves no queue to speak of: half of what one request after another reaches. */
async function comfortableRate(
  one: Served | undefined,
  question: (one: Served) => ReturnType<typeof madeUpQuestion>,
  signal: AbortSignal,
): Promise<number> {
  if (one === undefined) return 1;
  const ask = async (count: number): Promise<Float64Array> => {
    const plan = {
      url: one.url,
      question: question(one),
      arrivals: new Float64Array(count),
      connectionsMax: 1,
      timeoutMs: TIMEOUT_MS,
    };
    const { latencies } = await sendLoad(plan, { signal });
    signal.throwIfAborted();
    return latencies;
  };
  await ask(1);
  // All at once over one connection: the last one's latency is the time of all.
  const last = Math.max(...(await ask(PROBES)));
  return Math.min(RATE_MAX, (0.5 * 1000 * PROBES) / last);
}

function evidenceOf(
  latencies: readonly number[],
  failed: number,
  rate: number,
  run: LoadRun,
): LoadEvidence {
  const sorted = Float64Array.from(latencies).sort();
  return {
    rate,
    seconds: run.seconds,
    sent: latencies.length + failed,
    failed,
    latencies: run.quantiles.map((p) => ({ ...quantileOf(sorted, p), n: sorted.length })),
  };
}
