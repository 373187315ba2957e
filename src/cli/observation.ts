// What commands that serve have in common besides ports and protection: where traces go, and what is logged.

import { type Command, InvalidArgumentError, Option } from "commander";
import { printable } from "../base/printable.ts";
import { traceSettings } from "../observe/otlp-options.ts";
import { LOG_MODES, type LogMode } from "../serve/request-log.ts";
import type { ServerOptions } from "../serve/server.ts";
import type { Io } from "./io.ts";
import { packageVersion } from "./version.ts";

/** The options that `addObservation` adds. */
export interface ObservationOptions {
  readonly otlp?: string;
  readonly traceRatio?: number;
  readonly log: LogMode;
}

/** Adds the options to a command. */
export function addObservation(command: Command): Command {
  return command
    .option("--otlp <url>", "collector that traces go to, besides OTEL_EXPORTER_OTLP_ENDPOINT")
    .option(
      "--trace-ratio <share>",
      "of the traces that begin here, 0 to 1 (default: 1)",
      readShare,
    )
    .addOption(
      new Option("--log <which>", "a line of JSON on standard error for each of these requests")
        .choices(LOG_MODES)
        .default("off"),
    );
}

/**
 * How a server is observed, from the options and the variables of OpenTelemetry. The log goes where `io` says,
 * `--quiet` or not: who does not want it leaves it off. So do the few lines on what went wrong, which name files.
 *
 * @throws SkipwayError `usage` for an address or a variable that cannot be used.
 */
export function observation(
  io: Io,
  { otlp, traceRatio, log }: ObservationOptions,
): Pick<ServerOptions, "traces" | "log" | "notice"> {
  const traces = traceSettings(process.env, packageVersion(), { otlp, ratio: traceRatio });
  const notice = (line: string): void => io.err(`${printable(line)}\n`);
  if (log === "off") return { traces, notice };
  return { traces, notice, log: { mode: log, write: (line) => io.err(line) } };
}

function readShare(text: string): number {
  const value = Number(text);
  if (text.trim() !== "" && value >= 0 && value <= 1) return value;
  throw new InvalidArgumentError("it is a number from 0 to 1");
}
