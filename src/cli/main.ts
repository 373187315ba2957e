#!/usr/bin/env node
// The command line as a process: its streams, its signals and its exit code. The commands are in run.ts.

import { processIo } from "./io.ts";
import { EXIT, exitCodeOf } from "./render/findings.ts";
import { runCommand, showError, stopsItself } from "./run.ts";

/**
 * Ctrl-C, SIGTERM and the end of the terminal end what runs, with the signal's name as the reason; a second one ends it
 * at once. So does the end of a process that has started this one with a channel to it.
 */
function interruptSignal(): AbortSignal {
  const controller = new AbortController();
  const stop = (signal: NodeJS.Signals): void => {
    if (controller.signal.aborted) process.exit(EXIT.interrupted);
    controller.abort(signal);
  };
  process.on("SIGINT", stop);
  process.on("SIGTERM", stop);
  // A terminal that closes sends it twice, itself and through its shell: that is nobody's impatience.
  process.on("SIGHUP", () => controller.abort("SIGHUP"));
  process.on("disconnect", () => controller.abort("SIGHUP"));
  // Nothing is said over it, and it shall keep nobody waiting.
  process.channel?.unref();
  return controller.signal;
}

/** A signal that nobody aborts. */
function never(): AbortSignal {
  return new AbortController().signal;
}

/**
 * Ends this process as the signal would have ended it at once. Node sets the terminal back at its own end, and aborts where
 * that has gone.
 */
function endAsHungUp(): void {
  process.removeAllListeners("SIGHUP");
  process.kill(process.pid, "SIGHUP");
}

async function main(): Promise<number> {
  const args = process.argv.slice(2);
  const io = processIo(stopsItself(args[0]) ? interruptSignal() : never());
  for (const event of ["unhandledRejection", "uncaughtException"]) {
    process.on(event, (error: unknown) => {
      showError(error, io);
      process.exit(exitCodeOf(error));
    });
  }
  const code = await runCommand(args, io);
  const terminal = [process.stdin, process.stdout, process.stderr].some(({ isTTY }) => isTTY);
  if (terminal && io.signal.reason === "SIGHUP") endAsHungUp();
  return code;
}

// A command that is done and has found something has set 1 itself.
process.exitCode = (await main()) || process.exitCode;
