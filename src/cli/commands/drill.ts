// `skipway drill NAME|all`: rollouts of candidates that are bad in a known way, on a server of their own.

import { spawn } from "node:child_process";
import { constants } from "node:fs";
import { access, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { type Command, InvalidArgumentError } from "commander";
import { diagnostic } from "../../base/diagnostic.ts";
import { messageOf, SkipwayError } from "../../base/errors.ts";
import { printable } from "../../base/printable.ts";
import { runDrill } from "../../drill/scenario/drill.ts";
import { prepare } from "../../drill/scenario/material.ts";
import { type DrillDocument, drillDocument, drillMarkdown } from "../../drill/scenario/report.ts";
import { DRILLS, type DrillName, type Scenario } from "../../drill/scenario/scenario.ts";
import { SCENARIOS } from "../../drill/scenario/scenarios.ts";
import { makeFolder } from "../../registry/data-folder.ts";
import { type CommonOptions, type Io, quietIo } from "../io.ts";
import { drillLines } from "../render/drill.ts";
import { styled } from "../render/style.ts";

interface DrillOptions extends CommonOptions {
  readonly out?: string;
}

/** Adds the command. */
export function addDrill(program: Command, io: Io): void {
  program
    .command("drill")
    .description("rolls out a candidate that is bad in a known way, and sees that it is taken back")
    .argument("<name>", `${DRILLS.join(", ")}, or all`, readName)
    .option("--out <dir>", "writes a report of each drill as Markdown and JSON")
    .option("--json", "print one JSON document")
    .option("--quiet", "no progress")
    .addHelpText(
      "after",
      "\nA drill trains a small model, starts a server in a temporary folder and touches nothing else.\nThe exit code is 1 where one did not end as it stated.\n\nExample:\n  $ skipway drill latency-x3 --out drills\n",
    )
    .action((name: DrillName | "all", options: DrillOptions) => run(io, name, options));
}

async function run(given: Io, name: DrillName | "all", options: DrillOptions): Promise<void> {
  const io = options.quiet === true ? quietIo(given) : given;
  if (options.out !== undefined) await prepareReports(options.out);
  const chosen = SCENARIOS.filter((one) => name === "all" || one.name === name);
  io.err("Training a small model of digits, and its successor\n");
  const material = await prepare(io.signal);
  const drills: DrillDocument[] = [];
  const notRun: string[] = [];
  for (const scenario of chosen) {
    const record = await runOne(io, scenario, material).catch((error: unknown) => {
      // A server that was sent the signal too has failed for that reason alone.
      if (io.signal.aborted) throw io.signal.reason;
      if (chosen.length === 1 || !(error instanceof SkipwayError)) throw error;
      // The others tell something all the same.
      io.err(`MISSED  ${scenario.name}: it could not be run: ${printable(error.message)}\n`);
      notRun.push(scenario.name);
    });
    if (record === undefined) continue;
    const drill = drillDocument(record);
    drills.push(drill);
    if (options.out !== undefined) await report(options.out, drill);
    if (options.json !== true) given.out(`${drillLines(drill, given.outColumns).join("\n")}\n`);
  }
  if (options.json === true) {
    const held = notRun.length === 0 && drills.every((drill) => drill.held);
    given.out(`${JSON.stringify({ schema: "skipway.drills/1", held, drills }, null, 2)}\n`);
  }
  const missed = [...drills.filter((drill) => !drill.held).map(({ name }) => name), ...notRun];
  if (missed.length === 0) return;
  const which = missed.join(", ");
  throw new SkipwayError(
    "check",
    `${missed.length} of ${chosen.length} drills did not end as stated: ${which}`,
  );
}

function runOne(
  io: Io,
  scenario: Scenario,
  material: Awaited<ReturnType<typeof prepare>>,
): ReturnType<typeof runDrill> {
  io.err(`${styled("bold", scenario.name, io.color)}  ${scenario.title}\n`);
  io.err(`  stated: ${scenario.hypothesis.text}\n`);
  return runDrill(scenario, {
    material,
    launch,
    signal: io.signal,
    onProgress: (text) => io.err(`  ${text}\n`),
  });
}

/** This skipway once more. */
function launch(args: readonly string[]): ReturnType<typeof spawn> {
  const [, script = ""] = process.argv;
  const all = [...process.execArgv, script, ...args];
  // The channel tells it when this process is gone, however that ends.
  return spawn(process.execPath, all, { stdio: ["ignore", "pipe", "pipe", "ipc"] });
}

/** Before anything runs for minutes: whether reports can be written. @throws SkipwayError `environment` */
async function prepareReports(folder: string): Promise<void> {
  try {
    await makeFolder(resolve(folder));
    await access(folder, constants.W_OK);
  } catch (cause) {
    throw unwritable(folder, cause);
  }
}

async function report(folder: string, drill: DrillDocument): Promise<void> {
  const path = join(folder, drill.name);
  try {
    await writeFile(`${path}.md`, drillMarkdown(drill));
    await writeFile(`${path}.json`, `${JSON.stringify(drill, null, 2)}\n`);
  } catch (cause) {
    throw unwritable(path, cause);
  }
}

function unwritable(path: string, cause: unknown): SkipwayError {
  return SkipwayError.fromDiagnostics("environment", [
    diagnostic({
      id: "drill/unwritable",
      severity: "error",
      where: printable(path),
      text: `reports cannot be written there: ${printable(messageOf(cause))}`,
      fix: "Name a folder that can be written with --out DIR.",
    }),
  ]);
}

function readName(text: string): DrillName | "all" {
  const found = DRILLS.find((name) => name === text);
  if (found !== undefined) return found;
  if (text === "all") return text;
  throw new InvalidArgumentError(`the drills are ${DRILLS.join(", ")}, or all`);
}
