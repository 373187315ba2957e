// `skipway serve [MODEL…]`: its options, and that it is live. Loaded before the server itself, which takes longer than
// an orchestrator's first question (docs/design/serving-speed.md).

import type { Command } from "commander";
import { SkipwayError } from "../../base/errors.ts";
import { printable } from "../../base/printable.ts";
import type { SpareRunner } from "../../runtime/child-process.ts";
import { EarlyServer } from "../../serve/http/early.ts";
import type { VersionPolicy } from "../../serve/registry-source.ts";
import type { CommonOptions, Io } from "../io.ts";
import { addObservation, type ObservationOptions } from "../observation.ts";
import { wholeNumber } from "../options.ts";
import { addProtection, type ProtectionOptions } from "../protection.ts";
import { addServing, type ServingOptions } from "../serving.ts";

/** What the command line says. */
export interface ServeOptions
  extends CommonOptions,
    ObservationOptions,
    ProtectionOptions,
    ServingOptions {
  readonly data: string;
  readonly versions: VersionPolicy;
  readonly poll: number;
}

/** Adds the command. */
export function addServe(program: Command, io: Io): void {
  const command = program
    .command("serve")
    .description("Open Inference Protocol server, REST and gRPC")
    .argument(
      "[model...]",
      "ONNX files, each served as version 1 under its base name; without one, whatever is registered",
    )
    .option("--data <dir>", "skipway's own folder", ".skipway")
    .option("--versions <which>", "of each registered model: stable or all", readPolicy, "stable")
    .option(
      "--poll <seconds>",
      "between two looks at the store or the files; 0: none",
      wholeNumber(0, 3600),
      1,
    );
  addObservation(addServing(addProtection(command)))
    .option("--json", "print one JSON document once it listens")
    .option("--quiet", "no progress")
    .addHelpText("after", "\nExample:\n  $ skipway serve model.onnx --port 9000 --max-batch 16\n")
    .action((models: readonly string[], options: ServeOptions) => begin(io, models, options));
}

async function begin(io: Io, models: readonly string[], options: ServeOptions): Promise<void> {
  await using early = await listenEarly(options);
  const runner = await startRunner();
  try {
    const { serve } = await import("./serve.ts");
    await serve(io, models, options, { early, runner });
  } finally {
    await runner.close();
  }
}

/** Has the process of the first model started at once: it gets ready while this one loads the server. */
async function startRunner(): Promise<SpareRunner> {
  const { childProcessRunner } = await import("../../runtime/child-process.ts");
  const runner = childProcessRunner();
  // Should it not start, the load of the model starts another one, and says why that did not.
  runner.prepare().catch(() => undefined);
  return runner;
}

/** Addresses of this machine alone; `localhost` may be two, which the application finds out. */
const PLAIN_HOSTS: ReadonlySet<string> = new Set(["127.0.0.1", "::1"]);

/** Listens where nothing has to be opened to know who may ask: on loopback, without tokens and TLS. */
async function listenEarly(options: ServeOptions): Promise<EarlyServer | undefined> {
  const { host, port, requireToken, tlsCert, tlsKey, tlsClientCa } = options;
  const tls = [tlsCert, tlsKey, tlsClientCa].some((file) => file !== undefined);
  if (!PLAIN_HOSTS.has(host) || requireToken === true || tls) return undefined;
  return EarlyServer.listen({ host, port });
}

function readPolicy(text: string): VersionPolicy {
  if (text === "stable" || text === "all") return text;
  throw new SkipwayError("usage", `--versions is stable or all, not "${printable(text)}"`);
}
