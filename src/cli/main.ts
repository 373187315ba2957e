#!/usr/bin/env node
// The command line: which commands there are, and what becomes of what they throw. Only the command that
// was asked for is loaded: the others bring a server, a store and a trainer that it does not need.

import { Command, CommanderError } from "commander";
import { SkipwayError } from "../base/errors.ts";
import { type Io, processIo } from "./io.ts";
import { EXIT, errorLines, exitCodeOf } from "./render/findings.ts";
import { packageVersion } from "./version.ts";

interface Entry {
  load(): Promise<(program: Command, io: Io) => void>;
  /** Whether it answers to Ctrl-C itself. The others are ended at once, even while they compute. */
  readonly stopsItself: boolean;
}

/** The commands, in the order of the help. */
const COMMANDS: ReadonlyMap<string, Entry> = new Map([
  ["up", { load: async () => (await import("./commands/up.ts")).addUp, stopsItself: true }],
  [
    "census",
    { load: async () => (await import("./commands/census.ts")).addCensus, stopsItself: false },
  ],
  ["lint", { load: async () => (await import("./commands/lint.ts")).addLint, stopsItself: false }],
  [
    "memory",
    { load: async () => (await import("./commands/memory.ts")).addMemory, stopsItself: false },
  ],
  [
    "gradient",
    { load: async () => (await import("./commands/gradient.ts")).addGradient, stopsItself: false },
  ],
  [
    "check",
    { load: async () => (await import("./commands/check.ts")).addCheck, stopsItself: true },
  ],
  [
    "registry",
    { load: async () => (await import("./commands/registry.ts")).addRegistry, stopsItself: false },
  ],
  [
    "serve",
    { load: async () => (await import("./commands/serve-command.ts")).addServe, stopsItself: true },
  ],
  ["load", { load: async () => (await import("./commands/load.ts")).addLoad, stopsItself: true }],
  [
    "rollout",
    { load: async () => (await import("./commands/rollout.ts")).addRollout, stopsItself: true },
  ],
  [
    "drill",
    { load: async () => (await import("./commands/drill.ts")).addDrill, stopsItself: true },
  ],
  [
    "token",
    { load: async () => (await import("./commands/token.ts")).addToken, stopsItself: false },
  ],
  [
    "audit",
    { load: async () => (await import("./commands/audit.ts")).addAudit, stopsItself: false },
  ],
  [
    "doctor",
    { load: async () => (await import("./commands/doctor.ts")).addDoctor, stopsItself: false },
  ],
]);

/** The commands to load: the one that is named first, or all, for the help and for suggestions. */
function entriesFor(first: string | undefined): readonly Entry[] {
  if (first === "--version" || first === "-V") return [];
  const named = COMMANDS.get(first ?? "");
  return named === undefined ? [...COMMANDS.values()] : [named];
}

/** The program with these commands. */
async function buildProgram(io: Io, entries: readonly Entry[]): Promise<Command> {
  const program = new Command("skipway")
    .description("Sees, trains, checks and serves skip-connected neural networks.")
    .version(packageVersion())
    // Behind the name of a command an option is the command's: load has a --version of its own.
    .enablePositionalOptions()
    .exitOverride()
    .configureOutput({ writeOut: io.out, writeErr: io.err })
    .showHelpAfterError("(add --help for what this command takes)")
    .addHelpText("after", "\nExample:\n  $ skipway up\n");
  for (const add of await Promise.all(entries.map((entry) => entry.load()))) add(program, io);
  for (const command of program.commands) command.exitOverride();
  return program;
}

/** Ctrl-C and SIGTERM end what runs, with the signal's name as the reason; a second one ends it at once. */
function interruptSignal(): AbortSignal {
  const controller = new AbortController();
  const stop = (signal: NodeJS.Signals): void => {
    if (controller.signal.aborted) process.exit(EXIT.interrupted);
    controller.abort(signal);
  };
  process.on("SIGINT", stop);
  process.on("SIGTERM", stop);
  return controller.signal;
}

/** A signal that nobody aborts. */
function never(): AbortSignal {
  return new AbortController().signal;
}

async function main(): Promise<number> {
  const named = COMMANDS.get(process.argv[2] ?? "");
  const io = processIo(named?.stopsItself === true ? interruptSignal() : never());
  const show = (error: unknown): void => {
    for (const line of errorLines(error, io.color)) io.err(`${line}\n`);
  };
  for (const event of ["unhandledRejection", "uncaughtException"]) {
    process.on(event, (error: unknown) => {
      show(error);
      process.exit(exitCodeOf(error));
    });
  }
  try {
    const program = await buildProgram(io, entriesFor(process.argv[2]));
    if (process.argv.length <= 2) program.help();
    await program.parseAsync(process.argv);
    // A command that is done and found something has said so.
    return Number(process.exitCode ?? 0);
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT.usage;
    // What was given up because of a signal fails with the signal, wherever it was.
    if (error === io.signal.reason && io.signal.aborted) {
      show(new SkipwayError("interrupted", `interrupted by ${String(error)}`));
      return EXIT.interrupted;
    }
    show(error);
    return exitCodeOf(error);
  }
}

// A command that is done and has found something has set 1 itself.
process.exitCode = (await main()) || process.exitCode;
