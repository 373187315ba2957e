// Which commands there are, and what becomes of what they throw. Only the command that was asked for is loaded: the
// others bring a server, a store and a trainer that it does not need.

import { Command, CommanderError } from "commander";
import { SkipwayError } from "../base/errors.ts";
import type { Io } from "./io.ts";
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

/** Whether a command answers to Ctrl-C itself, by the signal of its streams. */
export function stopsItself(name: string | undefined): boolean {
  return COMMANDS.get(name ?? "")?.stopsItself === true;
}

/** Tells of an error as every command does. */
export function showError(error: unknown, io: Io): void {
  for (const line of errorLines(error, io.color)) io.err(`${line}\n`);
}

/**
 * Runs a command to its end.
 *
 * @param args what follows the program's name.
 * @returns the exit code; what a command has found it may have put into `process.exitCode`.
 */
export async function runCommand(args: readonly string[], io: Io): Promise<number> {
  try {
    const program = await buildProgram(io, entriesFor(args[0]));
    if (args.length === 0) program.help();
    await program.parseAsync(args, { from: "user" });
    // A command that is done and found something has said so.
    return Number(process.exitCode ?? 0);
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT.usage;
    // What was given up because of a signal fails with the signal, wherever it was.
    if (error === io.signal.reason && io.signal.aborted) {
      showError(new SkipwayError("interrupted", `interrupted by ${String(error)}`), io);
      return EXIT.interrupted;
    }
    showError(error, io);
    return exitCodeOf(error);
  }
}
