// `skipway lint MODEL`: hazards and mistakes of a model, each with what to do about it.

import { type Command, InvalidArgumentError } from "commander";
import { RULES } from "../../analysis/hazards/index.ts";
import { lint } from "../../analysis/lint.ts";
import type { Diagnostic, Severity } from "../../base/diagnostic.ts";
import { printable } from "../../base/printable.ts";
import type { Model } from "../../onnx/model.ts";
import { withGraph } from "../../onnx/onnx-model.ts";
import { loadModel } from "../../onnx/read.ts";
import type { Outcome } from "../../passes/repair/outcome.ts";
import { repair } from "../../passes/repair/repair.ts";
import type { CommonOptions, Io } from "../io.ts";
import { listOfIds } from "../options.ts";
import { refuseOverModel } from "../outputs.ts";
import { EXIT, findingLines } from "../render/findings.ts";
import { addSizes, type SizeArguments, sizesOf } from "../sizes.ts";

interface LintOptions extends CommonOptions, SizeArguments {
  readonly only?: readonly string[];
  readonly ignore?: readonly string[];
  readonly fix?: string;
}

/** Adds the command. */
export function addLint(program: Command, io: Io): void {
  const command = program
    .command("lint")
    .description("hazards and mistakes of a model, with what to do about them")
    .argument("<model>", "an ONNX file");
  addSizes(command, "at which memory is judged")
    .option(
      "--only <ids>",
      "tell these findings only, as in shape/mismatch,skip/norm-on-shortcut",
      knownIds,
    )
    .option("--ignore <ids>", "leave these findings out", knownIds)
    .option("--fix <out>", "mend what can be mended, and write the result")
    .option("--json", "print one JSON document")
    .option("--quiet", "only the result")
    .addHelpText(
      "after",
      "\nExample:\n  $ skipway lint model.onnx --ignore skip/norm-on-shortcut\n",
    )
    .action((path: string, options: LintOptions) => run(io, path, options));
}

/** A slip in an id would look like a clean model. What `verify` says has ids in two areas of its own. */
function knownIds(text: string): readonly string[] {
  const ids = listOfIds(text);
  const known = new Set(["shape/mismatch", ...RULES.map(({ id }) => id)]);
  const unknown = ids.find((id) => !known.has(id) && !/^(graph|ops)\/./.test(id));
  if (unknown === undefined) return ids;
  throw new InvalidArgumentError(
    `no finding has the id "${unknown}"; docs/reference/lint/ has them all`,
  );
}

async function run(io: Io, path: string, options: LintOptions): Promise<void> {
  const model = await loadModel(path);
  const sizes = sizesOf(io, [model.graph], options);
  const wanted = (id: string): boolean =>
    (options.only?.includes(id) ?? true) && !(options.ignore?.includes(id) ?? false);
  const mended = options.fix === undefined ? undefined : await fix(model, options.fix, wanted);
  const { graph } = mended ?? model;
  const found = lint(graph, sizes).filter(({ id }) => wanted(id));
  if (options.json === true) {
    io.out(`${JSON.stringify(lintDocument(found, mended), null, 2)}\n`);
  } else {
    for (const line of mended === undefined ? [] : fixLines(mended)) io.out(`${line}\n`);
    for (const one of found) {
      for (const line of findingLines(one, io.outColor)) io.out(`${line}\n`);
    }
    if (options.quiet !== true) io.err(`${path}: ${summaryText(summaryOf(found))}\n`);
  }
  if (options.fix !== undefined && options.quiet !== true) {
    const written = mended?.fixed.length !== 0;
    io.err(written ? `mended: ${options.fix}\n` : "nothing could be mended, nothing is written\n");
  }
  if (found.length > 0) process.exitCode = EXIT.check;
}

/** The JSON document of the findings, as docs/reference/lint.schema.json describes it. */
export function lintDocument(
  found: readonly Diagnostic[],
  mended?: Omit<Outcome, "graph">,
): Record<string, unknown> {
  const document = { schema: "skipway.lint/1", diagnostics: found, summary: summaryOf(found) };
  return mended === undefined
    ? document
    : { ...document, fixed: mended.fixed, unfixed: mended.unfixed };
}

/** Writes the mended model, if anything was mended. */
async function fix(model: Model, out: string, wanted: (id: string) => boolean): Promise<Outcome> {
  await refuseOverModel("--fix", out, model);
  const outcome = repair(model.graph, { wanted });
  if (outcome.graph !== model.graph) await withGraph(model, outcome.graph).save(out);
  return outcome;
}

function fixLines({ fixed, unfixed }: Outcome): string[] {
  return [
    ...fixed.map(({ id, where, text }) => printable(`fixed ${id}  ${where}: ${text}`)),
    ...unfixed.map(({ id, where, reason }) => printable(`not fixed ${id}  ${where}: ${reason}`)),
  ];
}

type Summary = Readonly<Record<Severity, number>>;

function summaryOf(found: readonly Diagnostic[]): Summary {
  const count = (severity: Severity): number =>
    found.filter((one) => one.severity === severity).length;
  return { error: count("error"), warning: count("warning"), info: count("info") };
}

/** `1 error, 2 warnings`. */
function summaryText({ error, warning, info }: Summary): string {
  const counts: readonly (readonly [number, string])[] = [
    [error, "error"],
    [warning, "warning"],
    [info, "remark"],
  ];
  const parts = counts
    .filter(([n]) => n > 0)
    .map(([n, word]) => `${n} ${word}${n === 1 ? "" : "s"}`);
  return parts.length === 0 ? "nothing found" : parts.join(", ");
}
