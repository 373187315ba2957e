// A fleet whose processes do as a test says, and requests to it.

import { expect, onTestFinished } from "vitest";
import { systemClock } from "../base/clock.ts";
import { Random } from "../base/random.ts";
import { float32, float32Values } from "../graph/tensor.ts";
import { Batcher } from "./batcher/batcher.ts";
import { RequestError } from "./errors.ts";
import { Fleet } from "./fleet.ts";
import { HOST_DEFAULTS, type HostSettings, type ServedModel } from "./hosting.ts";
import type { InferenceCall } from "./inference.ts";
import { ServerMetrics } from "./metrics.ts";
import { ScriptedRunner } from "./scripted-runner.test-helper.ts";
import { GivenModels } from "./sources.ts";
import { VersionHost } from "./version-host.ts";

/** A version of a model that a scripted runner can load. */
export function model(version = 1, name = "m"): ServedModel {
  return { name, version, path: `${name}${version}`, digest: `digest-${name}${version}` };
}

/** The batcher that hosts of these tests have. */
export function batcher({ maxBatchRows, queue }: HostSettings): Batcher {
  const { requests, rows, bytes } = queue;
  return new Batcher({
    maxBatchRows,
    queueRequestsMax: requests,
    queueRowsMax: rows,
    queueBytesMax: bytes,
  });
}

/** A fleet with what stands behind it. */
export interface ScriptedFleet {
  readonly runner: ScriptedRunner;
  readonly source: GivenModels;
  readonly fleet: Fleet;
  readonly metrics: ServerMetrics;
  /** What the operator was told. */
  readonly notices: readonly string[];
  /** Gives them to the source, and serves them. */
  serve(...models: ServedModel[]): Promise<void>;
  /** Asks one row of one number, 3 unless another is named. */
  ask(
    options?: Partial<InferenceCall> & { name?: string; version?: string; x?: number },
  ): Promise<{ y: number | undefined; version: number }>;
}

/** Requests that go on until they are stopped. */
export interface Traffic {
  readonly failures: readonly unknown[];
  /** @returns how many were answered. */
  stop(): Promise<number>;
}

/** A fleet over processes that do as they are told; stopped at the end of the test. */
export function setUp(settings: Partial<HostSettings> = {}): ScriptedFleet {
  const runner = new ScriptedRunner();
  const source = new GivenModels();
  const random = new Random(7);
  const metrics = new ServerMetrics(systemClock);
  const notices: string[] = [];
  const fleet = new Fleet({
    source,
    clock: systemClock,
    metrics,
    drainMs: 2000,
    notice: (line) => notices.push(line),
    patienceMs: 30,
    uniform: () => random.uniform(),
    host: (served, around) =>
      new VersionHost(served, {
        ...around,
        runner,
        clock: systemClock,
        settings: { ...HOST_DEFAULTS, probeEveryMs: 20, stuckAfterMs: 18, ...settings },
        decider: batcher,
      }),
  });
  onTestFinished(async () => {
    await fleet.stop();
    expect(runner.alive.length).toBe(0);
  });
  const serve = async (...models: ServedModel[]): Promise<void> => {
    for (const one of models) {
      source.add(one);
      await fleet.add(one);
    }
  };
  const ask: ScriptedFleet["ask"] = async (options = {}) => {
    const { name = "m", version, x = 3, ...call } = options;
    const found = fleet.find(name, version);
    if (found === undefined) throw new RequestError(404, "invalid", "no such model");
    const answer = await found.infer({ inputs: new Map([["x", float32([1, 1], [x])]]), ...call });
    const y = answer.outputs.get("y");
    return { y: y === undefined ? Number.NaN : float32Values(y)[0], version: answer.version };
  };
  return { runner, source, fleet, metrics, notices, serve, ask };
}

/** A fleet that follows a source, which the test changes. */
export function following(versions: Record<string, { stable: number; versions: number[] }>): {
  readonly runner: ScriptedRunner;
  readonly notices: readonly string[];
  readonly fleet: Fleet;
} {
  const runner = new ScriptedRunner();
  const notices: string[] = [];
  const fleet = new Fleet({
    source: {
      names: async () => Object.keys(versions),
      wanted: async (name) => versions[name],
      stamp: async (_name, version) => String(version),
      version: async (name, version) => model(version, name),
    },
    clock: systemClock,
    drainMs: 1000,
    uniform: () => 0,
    notice: (line) => notices.push(line),
    host: (served, around) =>
      new VersionHost(served, {
        ...around,
        runner,
        clock: systemClock,
        settings: HOST_DEFAULTS,
        decider: batcher,
      }),
  });
  onTestFinished(() => fleet.stop());
  return { runner, notices, fleet };
}

/** Waits until it holds. */
export async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 2));
}

/** Requests one after another until it is told to stop; every failure is kept. */
export function traffic(ask: () => Promise<unknown>, at = 4): Traffic {
  const failures: unknown[] = [];
  let answered = 0;
  let on = true;
  const loops = Array.from({ length: at }, async () => {
    while (on) {
      await ask().then(
        () => answered++,
        (error: unknown) => failures.push(error),
      );
      await new Promise((resolve) => setTimeout(resolve, 0));
    }
  });
  return {
    failures,
    stop: async () => {
      on = false;
      await Promise.all(loops);
      return answered;
    },
  };
}
