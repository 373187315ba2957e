// What `skipway serve [MODEL…]` does once its options are read: the server for files or for what is registered.

import { resolve } from "node:path";
import { systemClock } from "../../base/clock.ts";
import { diagnostic } from "../../base/diagnostic.ts";
import { SkipwayError } from "../../base/errors.ts";
import { formatSeconds } from "../../base/format.ts";
import { printable } from "../../base/printable.ts";
import { registerDashboard } from "../../dashboard/routes.ts";
import type { Registry } from "../../registry/registry.ts";
import type { SpareRunner } from "../../runtime/child-process.ts";
import type { EarlyServer } from "../../serve/http/early.ts";
import { registrySource } from "../../serve/registry-source.ts";
import { ModelServer } from "../../serve/server.ts";
import { fileSource, type ModelSource } from "../../serve/sources.ts";
import { type Io, quietIo } from "../io.ts";
import { readModelFile } from "../model-file.ts";
import { observation } from "../observation.ts";
import { listenOptions, openProtection } from "../protection.ts";
import { styled } from "../render/style.ts";
import { openRollouts } from "../rollouts.ts";
import { grpcPortOf, hostSettings, memoryOf, untilStopped } from "../serving.ts";
import { openStored } from "../stored.ts";
import { dashboardSource } from "../up/source.ts";
import { packageVersion } from "../version.ts";
import type { ServeOptions } from "./serve-command.ts";

/** What was begun before the server was loaded. */
export interface Begun {
  /** Listens already, and is taken over. */
  readonly early: EarlyServer | undefined;
  /** Has the process of the first model ready, or soon. */
  readonly runner: SpareRunner;
}

/** Serves until it is stopped. */
export async function serve(
  given: Io,
  models: readonly string[],
  options: ServeOptions,
  { early, runner }: Begun,
): Promise<void> {
  const io = options.quiet === true ? quietIo(given) : given;
  const observed = observation(given, options);
  const started = systemClock.monotonicMs();
  const folder = resolve(options.data);
  await using store = models.length > 0 ? undefined : await openStored(folder, "write");
  const source = store === undefined ? await filesOf(models) : storeOf(store, options);
  await using protection = await openProtection(io, options, {
    folder,
    port: options.port,
    listens: early !== undefined,
  });
  const server = new ModelServer({
    version: packageVersion(),
    source,
    runner,
    settings: hostSettings(options),
    ...memoryOf(options),
    ...protection,
    ...observed,
    ...(early && { early }),
  });
  let stopped = false;
  const { notice } = observed;
  const kept = { registry: store, folder, notice };
  await using opened = await openRollouts(server, { ...options, ...kept });
  try {
    // Models take longest, and in other processes: they are loaded while the routes are added.
    const loaded = loadAll(io, server, options);
    // It is waited for below, unless something fails before that, which then is what is told.
    loaded.catch(() => undefined);
    await registerDashboard(
      server.app,
      dashboardSource(store, server, {
        version: packageVersion(),
        startedMs: systemClock.nowMs(),
        folder,
        rollouts: opened,
      }),
    );
    // Live while models are loaded: whoever looks at /v2/health/ready sees how far they are.
    const address = await server.listen({
      ...listenOptions(options, options.port),
      ...grpcPortOf(options),
    });
    await loaded;
    await runner.close();
    await opened.rollouts.resume();
    io.err(`Ready in ${formatSeconds((systemClock.monotonicMs() - started) / 1000)}.\n`);
    io.err(`\n  ${styled("bold", address, io.color)}  Open Inference Protocol\n`);
    if (server.grpcPort !== undefined) io.err(`  ${options.host}:${server.grpcPort}  gRPC\n`);
    io.err("\nCtrl-C stops it.\n");
    if (options.json === true) given.out(`${JSON.stringify(document(server, address), null, 2)}\n`);
    await untilStopped(io, server, options);
    stopped = true;
  } finally {
    if (!stopped) await server.stop();
  }
}

/** @throws SkipwayError of the first that does not load, where none does. */
async function loadAll(io: Io, server: ModelServer, { poll }: ServeOptions): Promise<void> {
  const following = server.follow(1000 * poll);
  const interrupted = new Promise<void>((done) => {
    io.signal.addEventListener("abort", () => done(), { once: true });
  });
  await Promise.race([following, interrupted]);
  for (const { name, version, state, reason } of server.fleet.index()) {
    const what = `${printable(name)} version ${version}`;
    if (state === "READY") io.err(`${styled("bold", "Serve", io.color)}  ${what}\n`);
    // What failed has been told of already, with its reason.
    else if (reason === "unloaded") io.err(`${styled("bold", "Not served", io.color)}  ${what}\n`);
  }
  if (server.fleet.hosts().length > 0 || io.signal.aborted) return;
  const failed = server.fleet.index().find(({ reason }) => reason !== "");
  throw SkipwayError.fromDiagnostics("input", [
    diagnostic({
      id: "serve/nothing-loads",
      severity: "error",
      where: failed === undefined ? "the store" : `${failed.name} version ${failed.version}`,
      text: failed?.reason ?? "there is no model in it",
      fix: "Look at the model with skipway census and skipway lint, or register one: skipway registry push FILE.",
    }),
  ]);
}

function storeOf(registry: Registry, { versions }: ServeOptions): ModelSource {
  return registrySource(registry, { versions });
}

async function filesOf(paths: readonly string[]): Promise<ModelSource> {
  const files = new Map<string, string>();
  for (const path of paths) {
    const { name, absolute } = await readModelFile(path);
    const before = files.get(name);
    if (before !== undefined) throw sameName(name, path);
    files.set(name, absolute);
  }
  return fileSource(files);
}

function sameName(name: string, path: string): SkipwayError {
  return SkipwayError.fromDiagnostics("usage", [
    diagnostic({
      id: "serve/same-name",
      severity: "error",
      where: printable(path),
      text: `another file is served as "${name}" already`,
      fix: "Rename one of the files, or register both as versions of one model.",
    }),
  ]);
}

function document(server: ModelServer, address: string): Record<string, unknown> {
  const { grpcPort } = server;
  return {
    schema: "skipway.serve/1",
    address,
    ...(grpcPort !== undefined && { grpcPort }),
    models: server.fleet
      .hosts()
      .map(({ name, version, digest, batching, invariance, unprobed, untold }) => ({
        name,
        version,
        digest,
        batched: batching !== undefined,
        ...(invariance !== undefined && { batchReason: invariance.reason }),
        ...(unprobed !== undefined && { unprobed }),
        ...(untold !== undefined && { memoryReason: untold }),
      })),
  };
}
