// Steps of training a transformer encoder, beside PyTorch on the same processor (`train --encoder`): each in a process
// of its own, in turn, round after round, from the same weights on the same batches, so that losses are compared too.

import { execFileSync } from "node:child_process";
import { median, withFolder } from "./command.ts";
import type { BenchOptions } from "./main.ts";

interface Steps {
  readonly stepMs: number;
  /** Where other work takes turns on the processor, the nearest to what an idle machine would take. */
  readonly fastestMs: number;
  /** Of all threads, also while they wait for each other; with one, what an idle machine would take. */
  readonly cpuMs: number;
  readonly peakRssBytes: number;
  readonly losses: readonly number[];
}

interface Ours extends Steps {
  readonly nodes: number;
  readonly graphMs: number;
  readonly overheadMs: number;
}

type Result = Awaited<ReturnType<import("./main.ts").Bench["run"]>>;

const FULL = {
  ...{ width: 256, units: 1024, heads: 4, blocks: 4, length: 128, batch: 16 },
  ...{ steps: 12, threads: 2, rate: 0.01, rounds: 3 },
};
const SMALL: typeof FULL = {
  ...FULL,
  ...{ width: 16, units: 32, blocks: 1, length: 8, batch: 2, steps: 3, rounds: 1 },
};

/** Median milliseconds of a step, sequences a second, peak memory; `PYTHON` with torch brings the peer in. */
export async function encoder(options: BenchOptions): Promise<Result> {
  const base = options.small ? SMALL : FULL;
  const settings = Object.fromEntries(
    Object.entries(base).map(([name, fallback]) => [
      name,
      Number(options.flags.get(name) ?? fallback),
    ]),
  ) as typeof FULL;
  const python = process.env["PYTHON"];
  const rows: Record<string, unknown>[] = [];
  const ratios: number[] = [];
  const ratiosOfFastest: number[] = [];
  const ratiosOfCpu: number[] = [];
  const apart: number[] = [];
  for (let round = 1; round <= settings.rounds; round++) {
    await withFolder(async (share) => {
      const given = python === undefined ? settings : { ...settings, share };
      const theirs =
        python === undefined ? undefined : run<Steps>(python, "encoder-peer.py", given);
      const ours = run<Ours>(process.execPath, "encoder-child.mjs", given);
      rows.push(rowOf(round, "skipway", settings.batch, ours));
      if (theirs === undefined) return;
      rows.push(rowOf(round, "torch eager", settings.batch, theirs));
      ratios.push(theirs.stepMs / ours.stepMs);
      ratiosOfFastest.push(theirs.fastestMs / ours.fastestMs);
      ratiosOfCpu.push(theirs.cpuMs / ours.cpuMs);
      apart.push(...ours.losses.map((loss, i) => Math.abs(loss - (theirs.losses[i] ?? NaN))));
    });
    options.log(`round ${round} of ${settings.rounds} done`);
  }
  const compared = {
    timesEager: ratio(ratios),
    timesEagerByFastest: ratio(ratiosOfFastest),
    timesEagerByCpu: ratio(ratiosOfCpu),
    lossesApart: rounded(Math.max(...apart)),
  };
  if (ratios.length > 0) options.log(JSON.stringify(compared));
  return { settings: { ...settings, ...(ratios.length > 0 && compared) }, rows };
}

function run<Found extends Steps>(program: string, script: string, given: object): Found {
  const out = execFileSync(program, [`bench/${script}`, JSON.stringify(given)], {
    encoding: "utf8",
  });
  return JSON.parse(out) as Found;
}

function rowOf(round: number, engine: string, batch: number, found: Steps & Partial<Ours>) {
  const { stepMs, fastestMs, cpuMs, peakRssBytes, nodes, graphMs, overheadMs } = found;
  return {
    round,
    engine,
    stepMs: rounded(stepMs),
    fastestMs: rounded(fastestMs),
    cpuMs: rounded(cpuMs),
    sequencesPerSecond: rounded((1000 * batch) / stepMs),
    peakRssBytes,
    ...(nodes !== undefined && { nodes, graphMs: Math.round(graphMs ?? 0) }),
    ...(overheadMs !== undefined && {
      overheadMs: rounded(overheadMs),
      overheadShare: rounded(overheadMs / fastestMs),
    }),
  };
}

function ratio(values: readonly number[]) {
  return { median: rounded(median(values)), rounds: values.map(rounded) };
}

function rounded(value: number): number {
  return Number(value.toPrecision(4));
}
