// `skipway memory MODEL`: peak memory of inference, what is alive there, and because of which skip.

import type { Command } from "commander";
import { withOrder } from "../../analysis/memory/reorder.ts";
import { type MemoryReport, memoryReport } from "../../analysis/memory/report.ts";
import { batchSymbol, bindBatch, symbolsOf } from "../../analysis/memory.ts";
import { printable } from "../../base/printable.ts";
import { inferShapes } from "../../canonical/infer-shapes.ts";
import type { Graph } from "../../graph/graph.ts";
import { withGraph } from "../../onnx/onnx-model.ts";
import { loadModel } from "../../onnx/read.ts";
import type { CommonOptions, Io } from "../io.ts";
import { refuseOverModel } from "../outputs.ts";
import { memoryLines } from "../render/memory.ts";
import { addSizes, type SizeArguments, sizesOf } from "../sizes.ts";

interface MemoryOptions extends CommonOptions, SizeArguments {
  readonly order?: string;
}

/** Adds the command. */
export function addMemory(program: Command, io: Io): void {
  const command = program
    .command("memory")
    .description("peak memory of inference, and which skips stand at it")
    .argument("<model>", "an ONNX file");
  addSizes(command, "of the run")
    .option("--order <out>", "write the model with its nodes in the best order")
    .option("--json", "print one JSON document")
    .option("--quiet", "only the result")
    .addHelpText("after", "\nExample:\n  $ skipway memory model.onnx --batch 8 --size S=128\n")
    .action((path: string, options: MemoryOptions) => run(io, path, options));
}

async function run(io: Io, path: string, options: MemoryOptions): Promise<void> {
  const model = await loadModel(path);
  const sizes = sizesOf(io, [model.graph], options);
  const graph = inferShapes(model.graph);
  const report = memoryReport(graph, sizes);
  if (options.order !== undefined) {
    await refuseOverModel("--order", options.order, model);
    const { nodes } = bindBatch(graph, report.batch, report.sizes);
    const names = report.best.order.flatMap((at) => nodes[at]?.name ?? []);
    await withGraph(model, withOrder(model.graph, names)).save(options.order);
    if (options.quiet !== true) io.err(`best order: ${options.order}\n`);
  }
  if (options.json === true) {
    io.out(`${JSON.stringify(document(report), null, 2)}\n`);
    return;
  }
  for (const line of memoryLines(path, report, io.outColumns)) io.out(`${line}\n`);
  if (report.unknown > 0 && options.quiet !== true) io.err(unknownText(graph, report));
}

/** What the peak lacks, and what would complete it. */
function unknownText(graph: Graph, { unknown, sizes }: MemoryReport): string {
  const symbols = [...symbolsOf({ ...graph, outputs: [], values: new Map() })];
  const open = symbols.filter((name) => name !== batchSymbol(graph) && !Object.hasOwn(sizes, name));
  const names = open.map((name) => ` --size ${printable(name)}=...`).join("");
  const help = open.length === 0 ? "" : `; give${names}`;
  return `${unknown} values of unknown size count as nothing: the peak is at least this${help}\n`;
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
