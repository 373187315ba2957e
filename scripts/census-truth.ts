// `npm run census-truth -- [--fixtures DIR] [--write]`: the census against labels made by hand, over files
// from outside and over the model zoo in every form in which it can be exported. `--write` makes
// docs/reference/census-truth.md of the tables. Exits 1 on a miss.

import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { census } from "../src/analysis/census.ts";
import { messageOf } from "../src/base/errors.ts";
import { Random } from "../src/base/random.ts";
import type { Graph, Value } from "../src/graph/graph.ts";
import { float32, int64, type Tensor } from "../src/graph/tensor.ts";
import { type ZooModel, type ZooNetwork, zoo } from "../src/nn/models/index.ts";
import { buildNet, type NetInput } from "../src/nn/net.ts";
import { readModel } from "../src/onnx/read.ts";
import { withFunctions } from "../src/passes/functions.ts";
import { type ExportForm, exportModel } from "../src/runtime/export.ts";
import { judge, rowsOf, type Verdict } from "./census-judge.ts";
import { countsOf, type Label, outside, type ZooLabel, zooLabels } from "./census-labels.ts";

const PAGE = "docs/reference/census-truth.md";
const BATCH = 2;
/** For symbols other than the batch. */
const LENGTH = 6;

const misses: string[] = [];

/** A table of the page: a heading, a head of columns, and rows of cells. */
interface Table {
  readonly title: string;
  readonly head: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: { fixtures: { type: "string" }, write: { type: "boolean", default: false } },
  });
  if (values.write && values.fixtures === undefined) {
    process.stderr.write("the page has the files from outside too: --write needs --fixtures DIR\n");
    return 2;
  }
  const tables = [
    ...(values.fixtures === undefined ? [] : outsideTables(values.fixtures)),
    ...(await zooTables()),
  ];
  const text = tables.map(textOf).join("\n");
  process.stdout.write(`${text}\n${misses.length} misses\n`);
  for (const line of misses) process.stdout.write(`  ${line}\n`);
  if (values.write) writeFileSync(PAGE, pageOf(text));
  return misses.length === 0 ? 0 : 1;
}

/** Files with a label, and how many others gave an answer. */
function outsideTables(folder: string): Table[] {
  const labelled: string[][] = [];
  const others: string[][] = [];
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (!entry.isDirectory()) continue;
    let [answers, skips, files] = [0, 0, 0];
    for (const file of readdirSync(join(folder, entry.name)).sort()) {
      if (!file.endsWith(".onnx")) continue;
      const name = `${entry.name}/${file.replace(/\.onnx$/, "")}`;
      const label = outside[name];
      try {
        const bytes = new Uint8Array(readFileSync(join(folder, entry.name, file)));
        const { graph } = readModel(bytes, { path: file });
        if (label !== undefined)
          labelled.push([name, wordsOf(label), verdictOf(name, graph, label)]);
        else skips += census(graph).skips.length;
        answers++;
      } catch (error) {
        misses.push(`${name}: ${messageOf(error)}`);
      }
      files++;
    }
    others.push([entry.name, ...[files, answers, skips].map(String)]);
  }
  const seen = new Set(labelled.map(([name]) => name));
  for (const name of Object.keys(outside))
    if (!seen.has(name)) misses.push(`${name}: no such file`);
  return [
    { title: "Files from outside", head: ["file", "truth", "found"], rows: labelled },
    {
      title: "Every file gives an answer",
      head: ["folder", "files", "answers", "skips in files without a label"],
      rows: others,
    },
  ];
}

function verdictOf(where: string, graph: Graph, label: Label): string {
  const verdict = judge(graph, label);
  return noted(where, verdict.misses);
}

function noted(where: string, found: readonly string[]): string {
  misses.push(...found.map((miss) => `${where}: ${miss}`));
  return found.length === 0 ? "as labelled" : found.join(", ");
}

/** The zoo at its full size and small, each form against the label, and the forms against each other. */
async function zooTables(): Promise<Table[]> {
  const [full, small]: string[][][] = [[], []];
  const total = { expected: 0, found: 0, right: 0, forms: 0, differences: 0 };
  const add = (verdict: Verdict): void => {
    total.expected += verdict.expected;
    total.found += verdict.found;
    total.right += verdict.right;
    total.forms++;
  };
  for (const [name, model] of Object.entries(zoo)) {
    const label = zooLabels[name];
    if (label === undefined) {
      misses.push(`${name}: no label`);
      continue;
    }
    full?.push([name, wordsOf(label.full), ...fullCells(name, model, label, add)]);
    if (model.small === undefined) continue;
    const cells: string[] = [];
    const first = new Map<string, string>();
    for await (const { form, graph } of formsOf(model.small)) {
      const verdict = judge(graph, label.small);
      add(verdict);
      const rows = rowsOf(census(graph)).join("\n");
      const same = rows === (first.get("plain") ?? rows);
      if (!same) total.differences++;
      if (first.size === 0) first.set("plain", rows);
      const differs = same ? [] : ["differs from the plain form"];
      cells.push(noted(`small ${name}, ${form}`, [...verdict.misses, ...differs]));
    }
    small?.push([name, wordsOf(label.small), ...cells]);
  }
  const share = (part: number, whole: number): string =>
    `${part} of ${whole} (${((100 * part) / Math.max(1, whole)).toFixed(2)} %)`;
  return [
    {
      title: "The zoo at the size of the papers, without weights",
      head: ["model", "truth", ...FULL_FORMS],
      rows: full ?? [],
    },
    {
      title: "The small zoo in every form",
      head: ["model", "truth", ...SMALL_FORMS.map(({ form }) => form)],
      rows: small ?? [],
    },
    {
      title: "Sums over the zoo",
      head: ["graphs", "precision", "recall", "forms that differ"],
      rows: [
        [
          String(total.forms),
          share(total.right, total.found),
          share(total.right, total.expected),
          String(total.differences),
        ],
      ],
    },
  ];
}

const FULL_FORMS = ["plain", "functions", "any image size"];

function fullCells(
  name: string,
  model: ZooModel,
  { full }: ZooLabel,
  add: (verdict: Verdict) => void,
): string[] {
  const graph = buildNet(model.build(), { input: model.input, weights: "absent" });
  const graphs: [string, Graph | undefined][] = [
    ["plain", graph],
    ["functions", withFunctions(graph)],
    ["any image size", anySize(model)],
  ];
  return graphs.map(([form, one]) => {
    if (one === undefined) return "";
    const verdict = judge(one, full);
    add(verdict);
    return noted(`${name}, ${form}`, verdict.misses);
  });
}

/** With symbols for height and width; undefined for networks that do not take images, or of one size only. */
function anySize(model: ZooModel): Graph | undefined {
  const { shape } = model.input;
  if (shape.length !== 3) return undefined;
  const input: NetInput = { ...model.input, shape: [shape[0] ?? 1, "H", "W"] };
  try {
    return buildNet(model.build(), { input, weights: "absent" });
  } catch {
    return undefined;
  }
}

interface NamedForm {
  readonly form: string;
  readonly options: (sample: ReadonlyMap<string, Tensor>) => ExportForm & { batch?: number };
}

const SMALL_FORMS: readonly NamedForm[] = [undefined, BATCH].flatMap((batch) => {
  const bound = batch === undefined ? {} : { batch };
  const named = batch === undefined ? "" : `, batch ${batch}`;
  return [
    { form: `plain${named}`, options: () => ({ form: "plain", ...bound }) },
    { form: `functions${named}`, options: () => ({ form: "functions", ...bound }) },
    { form: `optimized${named}`, options: () => ({ form: "optimized", ...bound }) },
    {
      form: `quantized${named}`,
      options: (sample) => ({ form: "quantized", sample, ...bound }),
    },
  ] satisfies NamedForm[];
});

async function* formsOf({
  build,
  input,
}: ZooNetwork): AsyncGenerator<{ form: string; graph: Graph }> {
  const net = buildNet(build(), { input, output: "y", seed: 1 });
  const sample = sampleOf(net);
  for (const { form, options } of SMALL_FORMS) {
    yield { form, graph: (await exportModel(net, options(sample))).graph };
  }
}

function sampleOf(graph: Graph): ReadonlyMap<string, Tensor> {
  const random = new Random(7);
  const made = ({ dtype, shape = [] }: Value): Tensor => {
    const sizes = shape.map((dim, axis) => {
      if (typeof dim === "number") return dim;
      return axis === 0 ? BATCH : LENGTH;
    });
    const length = sizes.reduce((a, b) => a * b, 1);
    if (dtype === "int64")
      return int64(
        sizes,
        Array.from({ length }, () => random.integer(2)),
      );
    return float32(
      sizes,
      Float32Array.from({ length }, () => random.normal()),
    );
  };
  return new Map(graph.inputs.map((input) => [input.name, made(input)]));
}

/** A label in a few words. */
function wordsOf(label: Label): string {
  const counts = countsOf(label);
  const parts = [
    [counts.additiveIdentity, "identity"],
    [counts.additiveProjection, "projection"],
    [counts.concat, "concat"],
    [counts.gated, "gated"],
  ] as const;
  const said = parts.filter(([count]) => count > 0).map(([count, word]) => `${count} ${word}`);
  if (counts.encoderDecoder > 0) said.push(`${counts.encoderDecoder} of them over an encoder`);
  if (label.denseLinks !== undefined) said.push(`${label.denseLinks} links`);
  return said.length === 0 ? "none" : said.join(", ");
}

function textOf({ title, head, rows }: Table): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  return [`## ${title}`, "", line(head), line(head.map(() => "---")), ...rows.map(line), ""].join(
    "\n",
  );
}

function pageOf(text: string): string {
  return `# Truth tables of the census

Made by \`npm run census-truth -- --fixtures DIR --write\`. Labels are by hand, from the papers and the definition in
[the census](../design/census.md); they stand in \`scripts/census-labels.ts\`. A cell says "as labelled" where counts, links,
blocks, activation and norm are those of the label, and else what differs. An empty cell is a form that the network does not have.

${text}`;
}

process.exitCode = await main();
