// `skipway census MODEL`: every skip connection of a model.

import { stat } from "node:fs/promises";
import { basename } from "node:path";
import type { Command } from "commander";
import { census } from "../../analysis/census.ts";
import { sizesFor } from "../../analysis/memory.ts";
import type { Census } from "../../analysis/skips/skip.ts";
import { SkipwayError } from "../../base/errors.ts";
import { printable } from "../../base/printable.ts";
import { inferShapes } from "../../canonical/infer-shapes.ts";
import { type DType, isFloat } from "../../graph/dtype.ts";
import type { Graph } from "../../graph/graph.ts";
import { type LoadedFile, loadFile } from "../../onnx/read.ts";
import { digestOf } from "../../registry/digest.ts";
import type { CommonOptions, Io } from "../io.ts";
import { refuseOverModel, writeText } from "../outputs.ts";
import { censusSummary, censusTable, hazardLines, notSkipLines } from "../render/census.ts";
import { EXIT } from "../render/findings.ts";
import { addSizes, type SizeArguments, sizesOf } from "../sizes.ts";

interface CensusOptions extends CommonOptions, SizeArguments {
  readonly svg?: string;
  readonly html?: string;
  readonly diff?: string;
  readonly all?: boolean;
}

/** Adds the command. */
export function addCensus(program: Command, io: Io): void {
  const command = program
    .command("census")
    .description("every skip connection of a model")
    .argument("<model>", "an ONNX file")
    .option("--svg <file>", "write a picture of the skips")
    .option("--html <file>", "write that picture as a page to look around in; it needs no network");
  addSizes(command, "for bytes and memory")
    .option("--diff <other>", "how the skips of another model differ; exits 1 if they do")
    .option("--all", "a row for each skip, and each node that looks like one and is none")
    .option("--json", "print one JSON document")
    .option("--quiet", "only the result")
    .addHelpText("after", "\nExample:\n  $ skipway census model.onnx --html skips.html\n")
    .action((path: string, options: CensusOptions) => run(io, path, options));
}

async function run(io: Io, path: string, options: CensusOptions): Promise<void> {
  if (options.diff !== undefined) return compare(io, [path, options.diff], options);
  const { model, bytes } = await loadFile(path);
  if (options.svg !== undefined) await refuseOverModel("--svg", options.svg, model);
  if (options.html !== undefined) await refuseOverModel("--html", options.html, model);
  const sizes = sizesOf(io, [model.graph], options);
  const graph = inferShapes(model.graph);
  const found = census(graph, sizes);
  if (options.svg !== undefined || options.html !== undefined) {
    await writePictures(io, { graph, found, name: basename(path) }, options);
  }
  if (options.json === true) {
    const digest = await fileDigest(path, bytes);
    io.out(`${JSON.stringify(censusDocument(graph, found, digest), null, 2)}\n`);
    return;
  }
  const view = { width: io.outColumns, all: options.all === true, color: io.outColor };
  print(io, [
    `${printable(path)}: ${censusSummary(found)}`,
    ...censusTable(found, view),
    ...notSkipLines(found, view),
    ...hazardLines(found.hazards, view),
  ]);
}

async function writePictures(
  io: Io,
  { graph, found, name }: { graph: Graph; found: Census; name: string },
  { svg, html, quiet }: CensusOptions,
): Promise<void> {
  const { drawPicture } = await import("../../analysis/draw.ts");
  const { pictureOf } = await import("../../analysis/picture/picture.ts");
  const picture = pictureOf(graph, found, name);
  if (svg !== undefined) await writeText(svg, drawPicture(picture));
  if (html !== undefined) {
    const { standalonePage } = await import("../../dashboard/standalone.ts");
    await writeText(html, await standalonePage(picture));
  }
  for (const file of [svg, html]) {
    if (file !== undefined && quiet !== true) io.err(`picture: ${file}\n`);
  }
}

/** Both models are read before anything is said, so that every fault of both is told. */
async function compare(
  io: Io,
  paths: readonly [string, string],
  options: CensusOptions,
): Promise<void> {
  const drawn = options.svg !== undefined ? "--svg" : "--html";
  if (options.svg !== undefined || options.html !== undefined) {
    throw new SkipwayError("usage", `${drawn} draws one model: leave it out, or --diff`);
  }
  const { censusDiff } = await import("../../analysis/diff/census-diff.ts");
  const [before, after] = await bothFiles(paths);
  const graphs = [inferShapes(before.model.graph), inferShapes(after.model.graph)] as const;
  const sizes = sizesOf(io, graphs, options);
  const diff = censusDiff(graphs[0], graphs[1], sizes);
  if (diff.same === false) process.exitCode = EXIT.check;
  if (options.json === true) {
    const a = await fileDigest(paths[0], before.bytes);
    const b = await fileDigest(paths[1], after.bytes);
    const models = {
      before: { path: paths[0], digest: a, ...diff.before },
      after: { path: paths[1], digest: b, ...diff.after },
    };
    const document = {
      schema: "skipway.census-diff/1",
      ...sizesFor(graphs[0], sizes),
      ...diff,
      ...models,
    };
    print(io, [JSON.stringify(document, null, 2)]);
    return;
  }
  const { diffLines } = await import("../render/census-diff.ts");
  const view = { width: io.outColumns, all: options.all === true, color: io.outColor };
  print(io, diffLines(diff, paths, view));
}

async function bothFiles([one, other]: readonly [string, string]): Promise<
  [LoadedFile, LoadedFile]
> {
  const [a, b] = await Promise.allSettled([loadFile(one), loadFile(other)]);
  if (a.status === "fulfilled" && b.status === "fulfilled") return [a.value, b.value];
  const reasons: unknown[] = [a, b].flatMap((tried) =>
    tried.status === "rejected" ? [tried.reason] : [],
  );
  const known = reasons.filter((reason) => reason instanceof SkipwayError);
  // A single one is told as it is, a defect of ours too.
  if (known.length < 2)
    throw reasons.find((reason) => !(reason instanceof SkipwayError)) ?? known[0];
  throw SkipwayError.fromDiagnostics(
    "input",
    known.flatMap((error) => error.diagnostics),
  );
}

/** In one piece: a pipe is written to less often. */
function print(io: Io, lines: readonly string[]): void {
  io.out(`${lines.join("\n")}\n`);
}

/** Of a file's bytes: the address under which the registry keeps it. What came through a pipe has none. */
async function fileDigest(path: string, bytes: Uint8Array): Promise<string | null> {
  return (await stat(path)).isFile() ? digestOf(bytes) : null;
}

/** The JSON document of a census, as docs/reference/census.schema.json describes it. */
export function censusDocument(
  graph: Graph,
  found: Census,
  digest: string | null,
): Record<string, unknown> {
  let parameters = 0;
  for (const ref of graph.initializers.values()) {
    if (isWeight(ref.dtype)) parameters += ref.shape.reduce((a, b) => a * b, 1);
  }
  return {
    schema: "skipway.census/1",
    model: { digest, nodes: graph.nodes.length, parameters, opset: graph.opsets.get("") ?? null },
    ...found,
  };
}

/** Whether tensors of this type are learned: floats, and the small integers of quantized weights. */
function isWeight(dtype: DType): boolean {
  return isFloat(dtype) || /^u?int(2|4|8)$/.test(dtype);
}
