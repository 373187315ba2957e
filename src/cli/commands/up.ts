// `skipway up`: the main job. A model (the starter, trained now if there is none, or a given file) goes
// through census, check and registration, and is served with its dashboard.

import { basename, resolve } from "node:path";
import type { Command } from "commander";
import type { Census } from "../../analysis/skips/skip.ts";
import { systemClock } from "../../base/clock.ts";
import { formatSeconds } from "../../base/format.ts";
import type { TrainingRecord } from "../../dashboard/api.ts";
import { registerDashboard } from "../../dashboard/routes.ts";
import { codeCommit } from "../../registry/commit.ts";
import type { CheckReport } from "../../registry/gate.ts";
import { damagedVersion, type ModelVersion, Registry } from "../../registry/registry.ts";
import { registrySource } from "../../serve/registry-source.ts";
import { ModelServer } from "../../serve/server.ts";
import { digits } from "../../train/data.ts";
import { STARTER_EPOCHS } from "../../train/starter.ts";
import { type CommonOptions, type Io, quietIo } from "../io.ts";
import { readModelFile } from "../model-file.ts";
import { addObservation, type ObservationOptions, observation } from "../observation.ts";
import { wholeNumber } from "../options.ts";
import {
  addProtection,
  listenOptions,
  openProtection,
  type ProtectionOptions,
} from "../protection.ts";
import { styled } from "../render/style.ts";
import { type OpenedRollouts, openRollouts } from "../rollouts.ts";
import {
  addServing,
  grpcPortOf,
  hostSettings,
  memoryOf,
  type ServingOptions,
  untilStopped,
} from "../serving.ts";
import { type Released, release, showCensus, showRegistered, showReport } from "../up/release.ts";
import { dashboardSource } from "../up/source.ts";
import { trainTwins } from "../up/twins.ts";
import { packageRoot, packageVersion } from "../version.ts";

interface UpOptions extends CommonOptions, ObservationOptions, ProtectionOptions, ServingOptions {
  readonly data: string;
  readonly once?: boolean;
  readonly seed: number;
  readonly epochs: number;
}

/** Between two looks at where `stable` points. */
const FOLLOW_MS = 1000;
/** The starter model's name in the registry. */
const STARTER = "digits";
/** Share of the holdout digits that a starter must get right: any less and the training went wrong. */
const ACCURACY_FLOOR = 0.9;

/** Adds the command. */
export function addUp(program: Command, io: Io): void {
  const command = program
    .command("up")
    .description("the main job: model, census, check, register, serve, dashboard")
    .argument(
      "[model]",
      "an ONNX file; without one the starter model, trained now if there is none",
    )
    .option("--data <dir>", "skipway's own folder", ".skipway");
  addObservation(addServing(addProtection(command)))
    .option("--once", "do all but stay up")
    .option("--seed <number>", "seed of a training", wholeNumber(0, 4_294_967_295), 1)
    .option("--epochs <number>", "epochs of a training", wholeNumber(1, 1000), STARTER_EPOCHS)
    .option("--json", "print one JSON document at the end of --once")
    .option("--quiet", "no progress")
    .addHelpText("after", "\nExample:\n  $ skipway up model.onnx --port 9000\n")
    .action((model: string | undefined, options: UpOptions) => up(io, model, options));
}

/** Runs the main job; resolves when it is done or has been stopped. */
export async function up(given: Io, model: string | undefined, options: UpOptions): Promise<void> {
  const io = options.quiet === true ? quietIo(given) : given;
  const observed = observation(given, options);
  const started = systemClock.monotonicMs();
  const folder = resolve(options.data);
  const port = portOf(options);
  await using protection = await openProtection(io, options, { folder, port });
  await using registry = await Registry.open(folder);
  const ready =
    model === undefined
      ? await starterModel(io, registry, folder, options)
      : await givenModel(io, registry, folder, model);
  const server = new ModelServer({
    version: packageVersion(),
    source: registrySource(registry, { only: [ready.version.model] }),
    settings: hostSettings(options),
    ...memoryOf(options),
    ...protection,
    ...observed,
  });
  let stopped = false;
  const { notice } = observed;
  await using opened = await openRollouts(server, { ...options, registry, folder, notice });
  try {
    const { rollouts } = opened;
    const address = await startServing(io, { registry, server, ready, options, opened });
    await rollouts.resume();
    io.err(`Ready in ${formatSeconds((systemClock.monotonicMs() - started) / 1000)}.\n`);
    if (options.once === true) {
      if (options.json === true) given.out(`${JSON.stringify(document(ready), null, 2)}\n`);
      return;
    }
    io.err(`\n  ${styled("bold", address, io.color)}  dashboard\n`);
    io.err(`  ${address}/v2/models/${ready.version.model}  Open Inference Protocol\n`);
    if (server.grpcPort !== undefined) io.err(`  ${options.host}:${server.grpcPort}  gRPC\n`);
    io.err("\nCtrl-C stops it.\n");
    await untilStopped(io, server, options);
    stopped = true;
  } finally {
    if (!stopped) await server.stop();
  }
}

interface Ready extends Released {
  readonly training: (TrainingRecord & { readonly seconds: number }) | undefined;
}

async function starterModel(
  io: Io,
  registry: Registry,
  folder: string,
  { seed, epochs }: Pick<UpOptions, "seed" | "epochs">,
): Promise<Ready> {
  const stored = await registry.resolve(STARTER, "stable");
  // A file of somebody's own may have been registered under this name.
  if (stored?.attachments["training"] !== undefined) return storedModel(io, registry, stored);
  const twins = await trainTwins(io, { folder: resolve(folder, "training"), seed, epochs });
  const { residual, plain } = twins.record;
  const commit = await codeCommit(packageRoot());
  const data = await digits();
  const released = await release(
    io,
    registry,
    {
      name: STARTER,
      file: twins.file,
      path: resolve(folder, "training", `residual-${seed}.onnx`),
      metadata: {
        createdBy: "skipway up",
        dataDigest: twins.dataDigest,
        seed,
        ...(commit === undefined ? {} : { commit }),
        metrics: {
          loss: residual.losses.at(-1) ?? Number.NaN,
          accuracy: residual.accuracy.right / residual.accuracy.count,
          plainLoss: plain.losses.at(-1) ?? Number.NaN,
          plainAccuracy: plain.accuracy.right / plain.accuracy.count,
        },
      },
      training: twins.record,
      holdout: { data, floor: ACCURACY_FLOOR },
    },
    folder,
  );
  return { ...released, training: { ...twins.record, seconds: twins.seconds } };
}

/** A version that went through all this before: its file is checked against its digest, no more. */
async function storedModel(io: Io, registry: Registry, version: ModelVersion): Promise<Ready> {
  const json = async (role: string): Promise<unknown> => {
    const bytes = await registry.attachment(version, role);
    if (bytes === undefined) throw damagedVersion(version, `it has no ${role}`);
    return JSON.parse(Buffer.from(bytes).toString("utf8"));
  };
  await registry.modelPath(version);
  // Written by `release` from these types.
  const census = (await json("census")) as Census;
  const report = (await json("check")) as CheckReport;
  showRegistered(io, version, false);
  showCensus(io, census);
  showReport(io, report);
  return { version, created: false, census, report, training: undefined };
}

async function givenModel(
  io: Io,
  registry: Registry,
  folder: string,
  path: string,
): Promise<Ready> {
  const { name, file, absolute } = await readModelFile(path);
  io.err(`${styled("bold", "Model", io.color)}  ${path}\n`);
  const released = await release(
    io,
    registry,
    {
      name,
      file,
      path: absolute,
      metadata: { createdBy: "skipway up", metrics: {}, notes: [`from ${basename(path)}`] },
    },
    folder,
  );
  return { ...released, training: undefined };
}

async function startServing(
  io: Io,
  parts: {
    registry: Registry;
    server: ModelServer;
    ready: Ready;
    options: UpOptions;
    opened: OpenedRollouts;
  },
): Promise<string> {
  const { registry, server, ready, options, opened } = parts;
  const { version } = ready;
  io.err(
    `${styled("bold", "Serve", io.color)}  ${version.model} version ${version.version} in a process of its own\n`,
  );
  await server.fleet.load(version.model);
  await registerDashboard(
    server.app,
    dashboardSource(registry, server, {
      version: packageVersion(),
      startedMs: systemClock.nowMs(),
      folder: resolve(options.data),
      rollouts: opened,
    }),
  );
  const { once = false } = options;
  if (!once) await server.follow(FOLLOW_MS);
  return server.listen({
    ...listenOptions(options, portOf(options)),
    ...(!once && grpcPortOf(options)),
  });
}

/** A run that does not stay up needs no particular port. */
function portOf({ port, once = false }: UpOptions): number {
  return once ? 0 : port;
}

function document(ready: Ready): Record<string, unknown> {
  const { version, census, report, training } = ready;
  const twin = (one: TrainingRecord["residual"]): Record<string, number> => ({
    loss: one.losses.at(-1) ?? Number.NaN,
    accuracy: one.accuracy.right / one.accuracy.count,
    gradientRatio: one.gradientRatio,
  });
  return {
    schema: "skipway.up/1",
    model: {
      name: version.model,
      version: version.version,
      digest: version.digest,
      alias: "stable",
    },
    ...(training === undefined
      ? {}
      : {
          training: {
            seconds: training.seconds,
            residual: twin(training.residual),
            plain: twin(training.plain),
          },
        }),
    census: { counts: census.counts },
    check: report,
  };
}
