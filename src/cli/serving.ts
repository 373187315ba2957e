// What commands that serve have in common besides protection: ports, how versions are kept, and how it ends.

import { type Command, InvalidArgumentError } from "commander";
import { diagnostic } from "../base/diagnostic.ts";
import { SkipwayError } from "../base/errors.ts";
import { formatBytes, parseBytes } from "../base/format.ts";
import { memoryLimitBytes, processMemory } from "../runtime/memory-probe.ts";
import { type Budget, budgetOf } from "../serve/admission/budget.ts";
import { HOST_DEFAULTS, type HostSettings } from "../serve/hosting.ts";
import type { ModelServer } from "../serve/server.ts";
import { PROCESS_BYTES } from "../serve/version-memory.ts";
import type { Io } from "./io.ts";
import { wholeNumber } from "./options.ts";

/** The options that `addServing` adds. */
export interface ServingOptions {
  readonly port: number;
  readonly grpcPort?: number;
  readonly grpc: boolean;
  readonly grace: number;
  readonly spare?: boolean;
  readonly threads: number;
  readonly maxBatch: number;
  readonly maxDelay: number;
  readonly queue: number;
  readonly probe: number;
  readonly memory?: number;
  readonly nodePool: string;
}

const GRPC_PORT = 8081;

/** Adds the options to a command. */
export function addServing(command: Command): Command {
  const { threads, maxBatchRows, maxQueueDelayMs, queue, probeEveryMs } = HOST_DEFAULTS;
  return command
    .option("--port <number>", "HTTP port", wholeNumber(0, 65_535), 8080)
    .option("--grpc-port <number>", "gRPC port (default: 8081)", wholeNumber(0, 65_535))
    .option("--no-grpc", "HTTP alone")
    .option(
      "--grace <seconds>",
      "after SIGTERM or SIGHUP, how long late requests are still answered",
      wholeNumber(0, 3600),
      10,
    )
    .option("--spare", "keep a second process of each version loaded, which takes over at once")
    .option("--threads <number>", "that compute inside one run", wholeNumber(1, 256), threads)
    .option("--max-batch <rows>", "of one run; 1: none", wholeNumber(1, 65_536), maxBatchRows)
    .option("--max-delay <ms>", "a batch waits for more", wholeNumber(0, 60_000), maxQueueDelayMs)
    .option(
      "--memory <size>",
      "for the server and all models, as 2GB (default: the control group's limit, or the machine's)",
      readBytes,
    )
    .option("--node-pool <name>", "where this server runs: events say it", "default")
    .option("--queue <requests>", "that may wait", wholeNumber(1, 65_536), queue.requests)
    .option(
      "--probe <seconds>",
      "between two questions to each model",
      wholeNumber(1, 3600),
      probeEveryMs / 1000,
    );
}

/** Where gRPC listens: where any port does for HTTP, any does for gRPC. */
export function grpcPortOf({ grpc, grpcPort, port }: ServingOptions): { grpcPort?: number } {
  if (!grpc) return {};
  return { grpcPort: grpcPort ?? (port === 0 ? 0 : GRPC_PORT) };
}

/** How versions are kept, from the options. */
export function hostSettings(options: ServingOptions): HostSettings {
  const probeEveryMs = 1000 * options.probe;
  return {
    ...HOST_DEFAULTS,
    threads: options.threads,
    spare: options.spare === true,
    maxBatchRows: options.maxBatch,
    maxQueueDelayMs: options.maxDelay,
    queue: { ...HOST_DEFAULTS.queue, requests: options.queue },
    probeEveryMs,
    // Found within two periods also where nobody else asks: asked in the first, given up at the end of the second.
    stuckAfterMs: 0.9 * probeEveryMs,
  };
}

/**
 * Waits for the end, and ends well. A person who presses Ctrl-C waits for nothing but requests under way; whoever
 * sends SIGTERM (or closes the terminal) may still send requests, until everybody has seen that the server is not ready
 * any more.
 */
export async function untilStopped(
  io: Io,
  server: ModelServer,
  { grace }: Pick<ServingOptions, "grace">,
): Promise<void> {
  await untilAborted(io.signal);
  const seconds = io.signal.reason === "SIGINT" ? 0 : grace;
  io.err(
    seconds === 0
      ? "\nStopping: requests under way are finished.\n"
      : `\nStopping: not ready any more; requests are still answered for ${seconds} s. A second signal ends it at once.\n`,
  );
  await server.stop(1000 * seconds);
}

/** What the server and all models may hold together. */
export function memoryOf({ memory }: ServingOptions): { memory: Budget } {
  const parentBytes = processMemory().residentBytes;
  const given = memory === undefined ? {} : { givenBytes: memory };
  const budget = budgetOf(memoryLimitBytes(), { ...given, parentBytes });
  const leastBytes = budget.reserveBytes + PROCESS_BYTES;
  if (memory !== undefined && budget.budgetBytes < leastBytes) throw tooLittle(memory, leastBytes);
  return { memory: budget };
}

function tooLittle(memory: number, leastBytes: number): SkipwayError {
  return SkipwayError.fromDiagnostics("usage", [
    diagnostic({
      id: "serve/memory",
      severity: "error",
      where: "--memory",
      text: `${formatBytes(memory)} are less than the server and the process of the smallest model take, ${formatBytes(leastBytes)}`,
      fix: "Give more, or leave it out: then it is what the system allows.",
    }),
  ]);
}

function readBytes(text: string): number {
  const bytes = parseBytes(text);
  if (bytes !== undefined && bytes > 0) return bytes;
  throw new InvalidArgumentError("it is a size such as 512MB, 2GiB, or bytes");
}

function untilAborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((done) => signal.addEventListener("abort", () => done(), { once: true }));
}
