// `skipway doctor`: what this installation can do on this machine, and what to do where it cannot.

import { constants } from "node:fs";
import { access, stat } from "node:fs/promises";
import { createServer } from "node:net";
import { availableParallelism } from "node:os";
import { dirname, join, resolve } from "node:path";
import type { Command } from "commander";
import { messageOf, SkipwayError } from "../../base/errors.ts";
import { formatBytes } from "../../base/format.ts";
import { printable } from "../../base/printable.ts";
import { diskRefused } from "../../registry/refused.ts";
import { type ModelVersion, Registry } from "../../registry/registry.ts";
import { memoryLimitBytes } from "../../runtime/memory-probe.ts";
import { runtimeInfo } from "../../runtime/ort.ts";
import type { CommonOptions, Io } from "../io.ts";
import { wholeNumber } from "../options.ts";
import { type Style, styled } from "../render/style.ts";

/** One line of the doctor. */
export interface Finding {
  readonly id: string;
  readonly state: "ok" | "warning" | "error";
  readonly text: string;
  /** What to do, where it is not well. */
  readonly fix?: string;
}

interface DoctorOptions extends CommonOptions {
  readonly data: string;
  readonly port: number;
}

/** What a folder holds that is a store. */
const STORE_FILE = "registry.db";
const NODE_MIN = [20, 19] as const;
/** Below this a training of the starter and its server do not fit side by side. */
const MEMORY_MIN = 1_073_741_824;

/** Adds the command. */
export function addDoctor(program: Command, io: Io): void {
  program
    .command("doctor")
    .description("what this installation can do on this machine")
    .option("--data <dir>", "skipway's own folder", ".skipway")
    .option("--port <number>", "HTTP port to look at", wholeNumber(0, 65_535), 8080)
    .option("--json", "print one JSON document")
    .option("--quiet", "only what is not well")
    .addHelpText("after", "\nExample:\n  $ skipway doctor\n")
    .action((options: DoctorOptions) => run(io, options));
}

async function run(io: Io, options: DoctorOptions): Promise<void> {
  const findings = [
    nodeFinding(process.versions.node),
    await runtimeFinding(),
    coresFinding(availableParallelism()),
    memoryFinding(memoryLimitBytes()),
    ...(await storeFindings(resolve(options.data))),
    await portFinding(options.port),
  ];
  if (options.json === true) {
    io.out(`${JSON.stringify({ schema: "skipway.doctor/1", findings }, null, 2)}\n`);
  } else {
    for (const line of findingLines(findings, options.quiet === true, io.outColor))
      io.out(`${line}\n`);
  }
  if (findings.some((one) => one.state === "error")) {
    throw new SkipwayError("environment", "this installation is not well, see above");
  }
}

/** The lines that are printed. */
export function findingLines(
  findings: readonly Finding[],
  quiet: boolean,
  color: boolean,
): string[] {
  const styles: Record<Finding["state"], Style> = { ok: "green", warning: "yellow", error: "red" };
  return findings
    .filter((one) => !quiet || one.state !== "ok")
    .flatMap(({ id, state, text, fix }) => [
      `${styled(styles[state], state.padEnd(7), color)} ${id.padEnd(8)} ${printable(text)}`,
      ...(fix === undefined ? [] : [`                 ${printable(fix)}`]),
    ]);
}

/** Whether Node.js is recent enough. */
export function nodeFinding(version: string): Finding {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const [needMajor, needMinor] = NODE_MIN;
  const well = major > needMajor || (major === needMajor && minor >= needMinor);
  return {
    id: "node",
    state: well ? "ok" : "error",
    text: `Node.js ${version}`,
    ...(well ? {} : { fix: `Install Node.js ${needMajor}.${needMinor} or later.` }),
  };
}

async function runtimeFinding(): Promise<Finding> {
  try {
    const { version, providers } = await runtimeInfo();
    const text = `ONNX Runtime ${version}, execution providers: ${providers.join(", ")}`;
    return { id: "runtime", state: "ok", text };
  } catch (error) {
    return failure("runtime", "", error);
  }
}

/** What an error says, as a line of the doctor. */
function failure(id: string, about: string, error: unknown): Finding {
  const [found] = error instanceof SkipwayError ? error.diagnostics : [];
  return {
    id,
    state: "error",
    text: `${about}${found?.text ?? messageOf(error)}`,
    ...(found?.fix === undefined ? {} : { fix: found.fix }),
  };
}

/** How many cores there are to train and serve with. */
export function coresFinding(cores: number): Finding {
  const few = cores < 2;
  return {
    id: "cores",
    state: few ? "warning" : "ok",
    text: `${cores} ${cores === 1 ? "core" : "cores"}`,
    ...(few
      ? { fix: "Allow two: on one the twins take turns, and the first start takes twice as long." }
      : {}),
  };
}

/** How much memory this process may use. */
export function memoryFinding(bytes: number): Finding {
  const little = bytes < MEMORY_MIN;
  return {
    id: "memory",
    state: little ? "warning" : "ok",
    text: `${formatBytes(bytes)} of memory may be used`,
    ...(little
      ? { fix: `Allow at least ${formatBytes(MEMORY_MIN)}, or training may be killed.` }
      : {}),
  };
}

/** The state of the store. It is only looked at: where there is none, none is made. */
async function storeFindings(folder: string): Promise<Finding[]> {
  if (!(await exists(join(folder, STORE_FILE)))) return [await noStoreFinding(folder)];
  try {
    await using registry = await Registry.open(folder);
    const findings: Finding[] = [];
    const models = await registry.models();
    for (const model of models) findings.push(...(await modelFindings(registry, model)));
    const count = `${models.length} ${models.length === 1 ? "model" : "models"}`;
    return [{ id: "store", state: "ok", text: `${folder}: ${count}` }, ...findings];
  } catch (error) {
    return [failure("store", `${folder}: `, error)];
  }
}

/** Whether a store could be made where there is none. */
async function noStoreFinding(folder: string): Promise<Finding> {
  const parent = await nearestFolder(folder);
  try {
    if (!(await stat(parent)).isDirectory()) throw diskRefused(folder, `${parent} is no folder`);
    await access(parent, constants.W_OK);
    const text = `${folder}: no store yet, the first \`skipway up\` makes it`;
    return { id: "store", state: "ok", text };
  } catch (error) {
    const refused = error instanceof SkipwayError ? error : diskRefused(folder, error);
    return failure("store", `${folder}: `, refused);
  }
}

/** The path itself, or the nearest one above it that there is. */
async function nearestFolder(path: string): Promise<string> {
  let nearest = path;
  while (!(await exists(nearest)) && dirname(nearest) !== nearest) nearest = dirname(nearest);
  return nearest;
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch {
    return false;
  }
}

/** One line for each version that an alias points to. */
async function modelFindings(registry: Registry, model: string): Promise<Finding[]> {
  const aliases = await registry.aliases(model);
  if (aliases.size === 0) return [{ id: "model", state: "ok", text: `${model}: no alias` }];
  const findings: Finding[] = [];
  for (const version of new Set(aliases.values())) {
    const names = [...aliases].filter(([, at]) => at === version).map(([alias]) => alias);
    const stored = await registry.version(model, version);
    const about = `${model} version ${version} (${names.join(", ")}): `;
    findings.push(await versionFinding(registry, stored, about));
  }
  return findings;
}

async function versionFinding(
  registry: Registry,
  version: ModelVersion | undefined,
  about: string,
): Promise<Finding> {
  try {
    if (version === undefined) throw new SkipwayError("input", "there is no such version");
    await registry.modelPath(version);
    return { id: "model", state: "ok", text: `${about}its file is what was registered` };
  } catch (error) {
    return failure("model", about, error);
  }
}

async function portFinding(port: number): Promise<Finding> {
  const free = await new Promise<boolean>((settle) => {
    const probe = createServer();
    probe.once("error", () => settle(false));
    probe.listen(port, "127.0.0.1", () => probe.close(() => settle(true)));
  });
  return {
    id: "port",
    state: free ? "ok" : "warning",
    text: `port ${port} is ${free ? "free" : "in use, perhaps by a skipway that is running"}`,
    ...(free ? {} : { fix: `Choose another with --port, such as ${port + 1}.` }),
  };
}
