// Steps of training a residual network for small images, beside PyTorch on the same processor: each measured in a
// process of its own, in turn, round after round, for other work on the machine touches all alike.
// `PYTHON=/path/to/python` with torch brings the peer in; `--compare` has both go the same twelve steps. `PEERS=/folder`
// with @tensorflow/tfjs installed brings two steps of its CPU backend in: minutes each, so `--batch 8`. `--recompute` adds
// steps that keep what goes into blocks alone.

import { execFileSync } from "node:child_process";
import { median, withFolder } from "./command.ts";
import { encoder } from "./encoder.bench.ts";
import type { Bench, BenchOptions } from "./main.ts";

/** What a process tells of its steps. */
interface Steps {
  readonly stepMs: number;
  /** On a machine with other work, what the step takes when it is alone for a moment. */
  readonly fastestMs: number;
  readonly peakRssBytes: number;
  readonly losses: readonly number[];
}

interface Ours extends Steps {
  readonly blocked: boolean;
  readonly nodes: number;
  readonly graphMs: number;
  /** Of going in and out of the runtime with what a step goes in and out with. */
  readonly overheadMs: number;
}

interface Settings {
  readonly width: number;
  readonly blocks: number;
  readonly batch: number;
  readonly steps: number;
  readonly threads: number;
  readonly size: number;
  readonly rate: number;
}

const PEERS = ["eager", "channels_last"] as const;

/** Median milliseconds of a step, images a second, peak memory. */
export const train: Bench = {
  async run(options) {
    if (options.flags.has("encoder")) return encoder(options);
    const settings = settingsOf(options);
    const python = process.env["PYTHON"];
    if (options.flags.has("compare")) return compared(settings, python);
    const rounds = number(options, "rounds", options.small ? 1 : 3);
    const rows: Record<string, unknown>[] = [];
    const ratios: Record<string, number[]> = Object.fromEntries(
      ["auto", "plain"].flatMap((lowering) => [
        [`${lowering} stepMs`, []],
        [`${lowering} fastestMs`, []],
      ]),
    );
    for (let round = 1; round <= rounds; round++) {
      const ours = (["auto", "plain"] as const).map((lowering) => {
        const found = child(settings, { lowering });
        rows.push(rowOf(round, `skipway ${lowering}`, settings, found));
        return [lowering, found] as const;
      });
      for (const lowering of options.flags.has("recompute") ? ["auto", "plain"] : []) {
        const found = child(settings, { lowering, recompute: true });
        rows.push(rowOf(round, `skipway ${lowering}, blocks computed twice`, settings, found));
      }
      const peers =
        python === undefined
          ? []
          : PEERS.map((format) => [format, peer(python, settings, { format })] as const);
      for (const [format, found] of peers)
        rows.push(rowOf(round, `torch ${format}`, settings, found));
      for (const [lowering, found] of ours) {
        for (const measure of ["stepMs", "fastestMs"] as const) {
          const best = Math.min(...peers.map(([, peer]) => peer[measure]));
          ratios[`${lowering} ${measure}`]?.push(best / found[measure]);
        }
      }
      options.log(`round ${round} of ${rounds} done`);
    }
    const tfjs = process.env["PEERS"] === undefined ? undefined : tfjsSteps(settings);
    if (tfjs !== undefined) rows.push(rowOf(1, "tfjs cpu", settings, tfjs));
    const timesTheBetterPeer = Object.fromEntries(
      Object.entries(ratios).map(([name, values]) => [
        name,
        { median: rounded(median(values)), rounds: values.map(rounded) },
      ]),
    );
    return {
      settings: { ...settings, rounds, ...(python && { timesTheBetterPeer }), ...timesTfjs(rows) },
      rows,
    };
  },
};

/** How many times as long as ours a step of tfjs takes, by the fastest step of each. */
function timesTfjs(rows: readonly Record<string, unknown>[]): Record<string, number> {
  const fastest = (engine: string): number =>
    Math.min(
      ...rows.filter((row) => row["engine"] === engine).map((row) => Number(row["fastestMs"])),
    );
  const times = fastest("tfjs cpu") / fastest("skipway auto");
  return Number.isFinite(times) ? { timesTfjs: rounded(times) } : {};
}

function settingsOf(options: BenchOptions): Settings {
  const { small } = options;
  return {
    width: number(options, "width", 16),
    blocks: number(options, "blocks", small ? 1 : 3),
    batch: number(options, "batch", small ? 16 : 64),
    steps: number(options, "steps", small ? 3 : 12),
    threads: number(options, "threads", 2),
    size: number(options, "size", small ? 16 : 32),
    // Compared at a rate at which rounding stays small over twelve steps.
    rate: number(options, "rate", options.flags.has("compare") ? 0.002 : 0.1),
  };
}

function number({ flags }: BenchOptions, name: string, fallback: number): number {
  const value = Number(flags.get(name) ?? fallback);
  if (!(value > 0)) throw new Error(`--${name} must be a number above 0`);
  return value;
}

function child(
  settings: Settings,
  more: { lowering: string; share?: string; recompute?: boolean },
): Ours {
  const given = JSON.stringify({ ...settings, ...more });
  const out = execFileSync(process.execPath, ["bench/train-child.mjs", given], {
    encoding: "utf8",
    maxBuffer: 2 ** 26,
  });
  return JSON.parse(out) as Ours;
}

function peer(python: string, settings: Settings, more: { format: string; share?: string }): Steps {
  const given = JSON.stringify({ ...settings, ...more });
  return JSON.parse(
    execFileSync(python, ["bench/train-peer.py", given], { encoding: "utf8" }),
  ) as Steps;
}

function tfjsSteps(settings: Settings): Steps {
  const given = JSON.stringify({ ...settings, steps: 2 });
  const out = execFileSync(process.execPath, ["bench/train-tfjs.mjs", given], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  return JSON.parse(out) as Steps;
}

function rowOf(round: number, engine: string, { batch }: Settings, found: Steps & Partial<Ours>) {
  const { stepMs, fastestMs, peakRssBytes, blocked, nodes, graphMs, overheadMs } = found;
  return {
    round,
    engine,
    stepMs: rounded(stepMs),
    fastestMs: rounded(fastestMs),
    imagesPerSecond: Math.round((1000 * batch) / stepMs),
    peakRssBytes,
    ...(nodes !== undefined && { blocked, nodes, graphMs: Math.round(graphMs ?? 0) }),
    ...(overheadMs !== undefined && {
      overheadMs: rounded(overheadMs),
      overheadShare: rounded(overheadMs / fastestMs),
    }),
  };
}

/**
 * Losses of the same steps from PyTorch's weights on PyTorch's batches, each beside those of PyTorch in float64: at a
 * high rate rounding grows from step to step in any engine, and PyTorch's own two formats show by how much.
 */
async function compared(settings: Settings, python: string | undefined) {
  if (python === undefined) throw new Error("--compare needs PYTHON=/path/to/python with torch");
  return withFolder(async (share) => {
    const exact = peer(python, settings, { format: "float64", share });
    const apart = ({ losses }: Steps): number =>
      Math.max(...losses.map((loss, i) => Math.abs(loss - (exact.losses[i] ?? Number.NaN))));
    const rows: Record<string, unknown>[] = [];
    const add = (engine: string, found: Steps): void => {
      rows.push({ engine, fromFloat64: rounded(apart(found)), losses: found.losses });
    };
    for (const lowering of ["auto", "plain"]) {
      add(`skipway ${lowering}`, child(settings, { lowering, share }));
    }
    for (const format of PEERS) add(`torch ${format}`, peer(python, settings, { format, share }));
    return {
      settings: { ...settings },
      rows: [...rows, { engine: "torch float64", losses: exact.losses }],
    };
  });
}

function rounded(value: number): number {
  return Number(value.toPrecision(4));
}
