// `skipway doctor`: what this installation can do on this machine, and what to do where it cannot.

import { createServer } from "node:net";
import { availableParallelism } from "node:os";
import { resolve } from "node:path";
import type { Command } from "commander";
import { messageOf, SkipwayError } from "../../base/errors.ts";
import { formatBytes } from "../../base/format.ts";
import { Registry } from "../../registry/registry.ts";
import { memoryLimitBytes } from "../../runtime/memory-probe.ts";
import { runtimeInfo } from "../../runtime/ort.ts";
import type { CommonOptions, Io } from "../io.ts";
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
  readonly port: string;
}

const NODE_MIN = [20, 19] as const;
/** Below this a training of the starter and its server do not fit side by side. */
const MEMORY_MIN = 1_073_741_824;

/** Adds the command. */
export function addDoctor(program: Command, io: Io): void {
  program
    .command("doctor")
    .description("what this installation can do on this machine")
    .option("--data <dir>", "skipway's own folder", ".skipway")
    .option("--port <number>", "HTTP port to look at", "8080")
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
    await portFinding(Number(options.port)),
  ];
  if (options.json === true) {
    io.out(`${JSON.stringify({ schema: "skipway.doctor/1", findings }, null, 2)}\n`);
  } else {
    for (const line of findingLines(findings, options.quiet === true, io.color))
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
      `${styled(styles[state], state.padEnd(7), color)} ${id.padEnd(8)} ${text}`,
      ...(fix === undefined ? [] : [`                 ${fix}`]),
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
    const [found] = error instanceof SkipwayError ? error.diagnostics : [];
    return {
      id: "runtime",
      state: "error",
      text: found?.text ?? messageOf(error),
      ...(found?.fix === undefined ? {} : { fix: found.fix }),
    };
  }
}

/** How many cores there are to train and serve with. */
export function coresFinding(cores: number): Finding {
  const few = cores < 2;
  return {
    id: "cores",
    state: few ? "warning" : "ok",
    text: `${cores} ${cores === 1 ? "core" : "cores"}`,
    ...(few
      ? { fix: "The twins train one after the other's turns: the first start takes twice as long." }
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

async function storeFindings(folder: string): Promise<Finding[]> {
  try {
    await using registry = await Registry.open(folder);
    const models = await registry.models();
    const findings: Finding[] = [
      { id: "store", state: "ok", text: `${folder}: ${models.length} models` },
    ];
    for (const model of models) findings.push(await modelFinding(registry, model));
    return findings;
  } catch (error) {
    const [found] = error instanceof SkipwayError ? error.diagnostics : [];
    const fix = found?.fix;
    const text = `${folder}: ${found?.text ?? messageOf(error)}`;
    return [{ id: "store", state: "error", text, ...(fix === undefined ? {} : { fix }) }];
  }
}

async function modelFinding(registry: Registry, model: string): Promise<Finding> {
  const stable = await registry.resolve(model, "stable");
  if (stable === undefined) return { id: "model", state: "ok", text: `${model}: no alias stable` };
  const name = `${model} version ${stable.version} (stable)`;
  try {
    await registry.modelPath(stable);
    return { id: "model", state: "ok", text: `${name}: its file is what was registered` };
  } catch (error) {
    const [found] = error instanceof SkipwayError ? error.diagnostics : [];
    const fix = found?.fix;
    const text = `${name}: ${found?.text ?? messageOf(error)}`;
    return { id: "model", state: "error", text, ...(fix === undefined ? {} : { fix }) };
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
