// `skipway memory MODEL`: peak memory of inference, what is alive there, and because of which skip.

import type { Command } from "commander";
import { withOrder } from "../../analysis/memory/reorder.ts";
import { type MemoryReport, memoryReport } from "../../analysis/memory/report.ts";
import { bindBatch } from "../../analysis/memory.ts";
import { inferShapes } from "../../canonical/infer-shapes.ts";
import { withGraph } from "../../onnx/onnx-model.ts";
import { loadModel } from "../../onnx/read.ts";
import { noteFixedBatch, readBatch } from "../batch.ts";
import type { CommonOptions, Io } from "../io.ts";
import { refuseOverModel } from "../outputs.ts";
import { memoryLines } from "../render/memory.ts";

interface MemoryOptions extends CommonOptions {
  readonly batch: number;
  readonly order?: string;
}

/** Adds the command. */
export function addMemory(program: Command, io: Io): void {
  program
    .command("memory")
    .description("peak memory of inference, and which skips stand at it")
    .argument("<model>", "an ONNX file")
    .option("--batch <number>", "batch size", readBatch, 1)
    .option("--order <out>", "write the model with its nodes in the best order")
    .option("--json", "print one JSON document")
    .option("--quiet", "only the result")
    .addHelpText("after", "\nExample:\n  $ skipway memory model.onnx --batch 8\n")
    .action((path: string, options: MemoryOptions) => run(io, path, options));
}

async function run(io: Io, path: string, options: MemoryOptions): Promise<void> {
  const model = await loadModel(path);
  noteFixedBatch(io, model.graph, options);
  const graph = inferShapes(model.graph);
  const report = memoryReport(graph, { batch: options.batch });
  if (options.order !== undefined) {
    await refuseOverModel("--order", options.order, model);
    const { nodes } = bindBatch(graph, options.batch);
    const names = report.best.order.flatMap((at) => nodes[at]?.name ?? []);
    await withGraph(model, withOrder(model.graph, names)).save(options.order);
    if (options.quiet !== true) io.err(`best order: ${options.order}\n`);
  }
  if (options.json === true) {
    io.out(`${JSON.stringify(document(report), null, 2)}\n`);
    return;
  }
  for (const line of memoryLines(path, report, io.outColumns)) io.out(`${line}\n`);
  if (report.unknown > 0 && options.quiet !== true) {
    io.err(
      `${report.unknown} values of unknown size count as nothing: the peak is at least this\n`,
    );
  }
}

function document({ best, ...report }: MemoryReport): Record<string, unknown> {
  return {
    schema: "skipway.memory/1",
    mode: "inference",
    ...report,
    lowerBoundBytes: best.lowerBoundBytes,
    orderOptimal: best.optimal,
    bestOrderPeakBytes: best.peakBytes,
    statesSearched: best.states,
  };
}
