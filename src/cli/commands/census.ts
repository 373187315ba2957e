// `skipway census MODEL`: every skip connection of a model.

import { writeFile } from "node:fs/promises";
import { type Command, InvalidArgumentError } from "commander";
import { census } from "../../analysis/census.ts";
import { drawSkips } from "../../analysis/draw.ts";
import { bindBatch, inferenceMemory } from "../../analysis/memory.ts";
import type { Census } from "../../analysis/skips/skip.ts";
import { messageOf, SkipwayError } from "../../base/errors.ts";
import { inferShapes } from "../../canonical/infer-shapes.ts";
import type { Graph } from "../../graph/graph.ts";
import { loadModel } from "../../onnx/read.ts";
import { encodeModel } from "../../onnx/write.ts";
import { digestOf } from "../../registry/digest.ts";
import type { CommonOptions, Io } from "../io.ts";
import { censusSummary, censusTable } from "../render/census.ts";

interface CensusOptions extends CommonOptions {
  readonly svg?: string;
  readonly batch: number;
}

/** Adds the command. */
export function addCensus(program: Command, io: Io): void {
  program
    .command("census")
    .description("every skip connection of a model")
    .argument("<model>", "an ONNX file")
    .option("--svg <file>", "write a picture of the skips")
    .option("--batch <number>", "batch size for bytes and memory", batchSize, 1)
    .option("--json", "print one JSON document")
    .option("--quiet", "only the result")
    .addHelpText("after", "\nExample:\n  $ skipway census model.onnx --svg skips.svg\n")
    .action((path: string, options: CensusOptions) => run(io, path, options));
}

function batchSize(text: string): number {
  const batch = Number(text);
  if (Number.isInteger(batch) && batch >= 1 && batch <= 1_000_000) return batch;
  throw new InvalidArgumentError("a batch is a whole number from 1 to 1000000");
}

async function run(io: Io, path: string, options: CensusOptions): Promise<void> {
  const model = await loadModel(path);
  const graph = inferShapes(model.graph);
  const found = census(graph, { batch: options.batch });
  if (options.svg !== undefined) {
    const memory = inferenceMemory(graph, { batch: options.batch });
    const picture = drawSkips(bindBatch(graph, options.batch), found, memory, { title: path });
    await write(options.svg, picture);
    if (options.quiet !== true) io.err(`picture: ${options.svg}\n`);
  }
  if (options.json === true) {
    const digest = digestOf(encodeModel(model));
    io.out(`${JSON.stringify(document(graph, found, digest), null, 2)}\n`);
    return;
  }
  io.out(`${path}: ${censusSummary(found)}\n`);
  for (const line of censusTable(found, io.columns)) io.out(`${line}\n`);
  for (const hazard of found.hazards) {
    io.err(`${hazard.severity} ${hazard.id}  ${hazard.where}\n  ${hazard.text}\n`);
  }
}

function document(graph: Graph, found: Census, digest: string): Record<string, unknown> {
  let parameters = 0;
  for (const ref of graph.initializers.values()) {
    if (ref.dtype.startsWith("float")) parameters += ref.shape.reduce((a, b) => a * b, 1);
  }
  return {
    schema: "skipway.census/1",
    model: { digest, nodes: graph.nodes.length, parameters, opset: graph.opsets.get("") ?? null },
    ...found,
  };
}

async function write(path: string, text: string): Promise<void> {
  try {
    await writeFile(path, text);
  } catch (cause) {
    throw new SkipwayError("environment", `cannot write ${path}: ${messageOf(cause)}`, { cause });
  }
}
