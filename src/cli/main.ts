#!/usr/bin/env node
// The command line: which commands there are, and what becomes of what they throw.

import { Command, CommanderError } from "commander";
import { addCensus } from "./commands/census.ts";
import { addDoctor } from "./commands/doctor.ts";
import { addUp } from "./commands/up.ts";
import { type Io, processIo } from "./io.ts";
import { EXIT, errorLines, exitCodeOf } from "./render/findings.ts";
import { packageVersion } from "./version.ts";

/** The program with all its commands. */
function buildProgram(io: Io): Command {
  const program = new Command("skipway")
    .description("Sees, trains, checks and serves skip-connected neural networks.")
    .version(packageVersion())
    .exitOverride()
    .configureOutput({ writeOut: io.out, writeErr: io.err })
    .showHelpAfterError("(add --help for what this command takes)")
    .addHelpText("after", "\nExample:\n  $ skipway up\n");
  for (const add of [addUp, addCensus, addDoctor]) add(program, io);
  for (const command of program.commands) command.exitOverride();
  return program;
}

/** Ctrl-C and SIGTERM end what runs; a second one ends it at once. */
function interruptSignal(): AbortSignal {
  const controller = new AbortController();
  const stop = (): void => {
    if (controller.signal.aborted) process.exit(EXIT.interrupted);
    controller.abort();
  };
  process.on("SIGINT", stop);
  process.on("SIGTERM", stop);
  return controller.signal;
}

async function main(): Promise<number> {
  const io = processIo(interruptSignal());
  const show = (error: unknown): void => {
    for (const line of errorLines(error, io.color)) io.err(`${line}\n`);
  };
  process.on("unhandledRejection", (error) => {
    show(error);
    process.exit(EXIT.internal);
  });
  try {
    const program = buildProgram(io);
    if (process.argv.length <= 2) program.help();
    await program.parseAsync(process.argv);
    return 0;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT.usage;
    show(error);
    return exitCodeOf(error);
  }
}

process.exitCode = await main();
