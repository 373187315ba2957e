// A server with two scripted versions of one model and its rollouts, asked over real HTTP by clients that count.

import { randomBytes } from "node:crypto";
import { systemClock } from "../base/clock.ts";
import { NO_OBJECTIVES } from "../observe/slo.ts";
import type { AccessStore } from "../registry/access.ts";
import { type Script, ScriptedRunner } from "../serve/scripted-runner.test-helper.ts";
import { ModelServer } from "../serve/server.ts";
import type { ModelSource } from "../serve/sources.ts";
import { type Releases, Rollouts } from "./controller.ts";
import type { RolloutDocument } from "./document.ts";
import { MemoryRecords } from "./memory-records.ts";
import type { Records, RolloutNews } from "./record.ts";
import { registerRollouts } from "./routes.ts";

/** Where `stable` points, and whether it can be moved. */
export interface Alias {
  version: number;
  broken: boolean;
  readonly moves: number[];
}

/** What a test has in hand. */
export interface Served extends AsyncDisposable {
  readonly url: string;
  readonly server: ModelServer;
  readonly runner: ScriptedRunner;
  readonly rollouts: Rollouts;
  readonly alias: Alias;
  readonly news: readonly RolloutNews[];
  /** Answers by version, and how many requests were not answered well. */
  readonly counts: { readonly versions: Map<number, number>; failed: number; asked: number };
  /** Starts to ask, all the time, and gives a function that ends it. */
  load(clients?: number): () => Promise<void>;
  api(method: string, path: string, body?: unknown): Promise<{ status: number; body: unknown }>;
  /** Waits until the rollout of `m` is as wanted. */
  until(holds: (document: RolloutDocument) => boolean): Promise<RolloutDocument>;
}

const DIGEST = "sha256:0123456789abcdef0123";

/** Serves versions 1 and 2 of `m`; what their processes do is said by version. */
export async function served(
  scripts: Readonly<Record<number, Partial<Script>>> = {},
  around: {
    readonly records?: Records;
    readonly alias?: Alias;
    /** Of a row. */
    readonly outputs?: number;
    readonly resumes?: boolean;
    /** Tokens and the audit log. */
    readonly access?: AccessStore;
  } = {},
): Promise<Served> {
  const { records = new MemoryRecords(), alias = { version: 1, broken: false, moves: [] } } =
    around;
  const runner = new ScriptedRunner(around.outputs);
  for (const [version, script] of Object.entries(scripts))
    runner.scripts.set(`v${version}`, script);
  const { access } = around;
  const source = sourceOf(alias);
  const server = new ModelServer({ version: "1", runner, source, ...(access && { access }) });
  const news: RolloutNews[] = [];
  const rollouts = new Rollouts({
    fleet: server.fleet,
    records,
    clock: systemClock,
    releases: releasesOf(alias),
    nodePool: "default",
    webhooks: [],
    build: "1",
    objectives: async () => NO_OBJECTIVES,
  });
  rollouts.onNews((one) => news.push(one));
  registerRollouts(server.app, rollouts);
  await server.follow(0);
  if (around.resumes !== false) await rollouts.resume();
  const url = await server.listen({ port: 0 });
  const counts = { versions: new Map<number, number>(), failed: 0, asked: 0 };
  const api: Served["api"] = async (method, path, body) => {
    const answer = await fetch(`${url}/api/v1/${path}`, {
      method,
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    return { status: answer.status, body: await answer.json() };
  };
  return {
    ...{ url, server, runner, rollouts, alias, news, counts, api },
    load: (clients = 8) => loadOf(url, counts, clients),
    async until(holds) {
      for (;;) {
        const found = await rollouts.last("m");
        if (found !== undefined && holds(found)) return found;
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    },
    [Symbol.asyncDispose]: () => server.stop(),
  };
}

function sourceOf(alias: Alias): ModelSource {
  return {
    names: async () => ["m"],
    wanted: async () => ({ stable: alias.version, versions: [alias.version] }),
    stamp: async (_name, version) => `${version}`,
    version: async (name, version) => ({ name, version, path: `v${version}`, digest: DIGEST }),
  };
}

function releasesOf(alias: Alias): Releases {
  return {
    stable: async () => alias.version,
    version: async (_model, version) =>
      version > 3 ? undefined : { digest: DIGEST, checked: version < 3 },
    move: async (_model, version) => {
      if (alias.broken) throw new Error("the registry is lost");
      alias.version = version;
      alias.moves.push(version);
    },
  };
}

function loadOf(url: string, counts: Served["counts"], clients: number): () => Promise<void> {
  let going = true;
  const ask = async (): Promise<void> => {
    const inputs = [{ name: "x", datatype: "FP32", shape: [1, 1], data: [1] }];
    const body = JSON.stringify({ inputs });
    const headers = { "x-request-id": randomBytes(8).toString("hex") };
    counts.asked++;
    const answer = await fetch(`${url}/v2/models/m/infer`, { method: "POST", body, headers });
    const text = await answer.text();
    const version = Number(/"model_version":"(\d+)"/.exec(text)?.[1]);
    counts.versions.set(version, (counts.versions.get(version) ?? 0) + 1);
    if (!answer.ok) counts.failed++;
  };
  const client = async (): Promise<void> => {
    while (going) {
      await ask();
      // Decisions come with the clock: as many requests as the machine takes would only keep it busy.
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };
  const work = Array.from({ length: clients }, client);
  return async () => {
    going = false;
    await Promise.all(work);
  };
}
