// `skipway memory MODEL`: peak memory of inference, what is alive there, and because of which skip.

import { basename } from "node:path";
import type { Command } from "commander";
import { census } from "../../analysis/census.ts";
import { drawMemory } from "../../analysis/draw-memory.ts";
import { withOrder } from "../../analysis/memory/reorder.ts";
import { type MemoryReport, memoryReport } from "../../analysis/memory/report.ts";
import { batchSymbol, bindBatch, symbolsOf } from "../../analysis/memory.ts";
import { pictureOf } from "../../analysis/picture/picture.ts";
import { printable } from "../../base/printable.ts";
import { inferShapes } from "../../canonical/infer-shapes.ts";
import type { Graph } from "../../graph/graph.ts";
import type { Model } from "../../onnx/model.ts";
import { withGraph } from "../../onnx/onnx-model.ts";
import { loadModel } from "../../onnx/read.ts";
import type { CommonOptions, Io } from "../io.ts";
import { refuseOverModel, writeText } from "../outputs.ts";
import { memoryHead, memoryTable } from "../render/memory.ts";
import { timelineLines } from "../render/timeline.ts";
import { addSizes, type SizeArguments, sizesOf } from "../sizes.ts";

interface MemoryOptions extends CommonOptions, SizeArguments {
  readonly order?: string;
  readonly svg?: string;
}

/** Adds the command. */
export function addMemory(program: Command, io: Io): void {
  const command = program
    .command("memory")
    .description("peak memory of inference, and which skips stand at it")
    .argument("<model>", "an ONNX file");
  addSizes(command, "of the run")
    .option("--svg <file>", "write a picture of the memory over time")
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
  const found = census(graph, sizes);
  const report = memoryReport(graph, sizes, found);
  if (options.order !== undefined) await saveOrder(io, { model, report, options }, options.order);
  const { svg } = options;
  if (options.json === true && svg === undefined) return print(io, [json(report)]);
  const picture = pictureOf(graph, found, basename(path));
  const peakSkips = skipsAtPeak(report);
  if (svg !== undefined) {
    await refuseOverModel("--svg", svg, model);
    await writeText(svg, drawMemory(picture, peakSkips));
    if (options.quiet !== true) io.err(`picture: ${svg}\n`);
  }
  if (options.json === true) return print(io, [json(report)]);
  const { bytes, skipBytes, peakAt } = picture.memory;
  const timeline = { bytes, skipBytes, peakAt, peakNode: report.peakNode, peakSkips };
  print(io, [
    ...memoryHead(path, report),
    ...timelineLines(timeline, {
      width: io.outColumns,
      color: io.outColor,
      unicode: io.outUnicode,
    }),
    ...memoryTable(report, io.outColumns),
  ]);
  if (report.unknown > 0 && options.quiet !== true) io.err(unknownText(graph, report));
}

/** In one piece: a pipe is written to less often. */
function print(io: Io, lines: readonly string[]): void {
  io.out(`${lines.join("\n")}\n`);
}

/** Ids of the skips for which something is alive at the peak, as numbered. */
function skipsAtPeak({ atPeak, withoutTies }: MemoryReport): readonly string[] {
  const named = new Set(atPeak.map(({ because }) => because));
  return withoutTies.skips.filter((id) => named.has(id));
}

interface Ordered {
  readonly model: Model;
  readonly report: MemoryReport;
  readonly options: MemoryOptions;
}

async function saveOrder(io: Io, { model, report, options }: Ordered, out: string): Promise<void> {
  await refuseOverModel("--order", out, model);
  const { nodes } = bindBatch(inferShapes(model.graph), report.batch, report.sizes);
  const names = report.best.order.flatMap((at) => nodes[at]?.name ?? []);
  await withGraph(model, withOrder(model.graph, names)).save(out);
  if (options.quiet !== true) io.err(`best order: ${out}\n`);
}

/** What the peak lacks, and what would complete it. */
function unknownText(graph: Graph, { unknown, sizes }: MemoryReport): string {
  const symbols = [...symbolsOf({ ...graph, outputs: [], values: new Map() })];
  const open = symbols.filter((name) => name !== batchSymbol(graph) && !Object.hasOwn(sizes, name));
  const names = open.map((name) => ` --size ${printable(name)}=...`).join("");
  const help = open.length === 0 ? "" : `; give${names}`;
  return `${unknown} values of unknown size count as nothing: the peak is at least this${help}\n`;
}

function json(report: MemoryReport): string {
  return JSON.stringify(memoryDocument(report), null, 2);
}

/** The JSON document of the memory, as docs/reference/memory.schema.json describes it. */
export function memoryDocument({ best, ...report }: MemoryReport): Record<string, unknown> {
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
