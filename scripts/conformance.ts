// `npm run conformance -- --fixtures DIR`: real ONNX files from outside, with the shapes that onnx itself
// infers for them. Reads every file, compares shapes per dimension, checks that read ∘ write ∘ read = read,
// and that the runtime gives bit-equal outputs for the rewritten file. Exits 1 on a miss.

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { inferShapes } from "../src/canonical/infer-shapes.ts";
import type { Graph } from "../src/graph/graph.ts";
import type { Shape } from "../src/graph/shape.ts";
import type { Model } from "../src/onnx/model.ts";
import { withGraph } from "../src/onnx/onnx-model.ts";
import { readModel } from "../src/onnx/read.ts";
import { encodeModel } from "../src/onnx/write.ts";
import { comparable } from "./comparable.ts";
import { RunPool } from "./run-pool.ts";
import { type Truth, truthOf } from "./truth.ts";

/** What was found in one folder of fixtures. */
interface Tally {
  files: number;
  read: number;
  roundTrip: number;
  /** Written as it was read, byte for byte: files whose writer used the canonical order. */
  identical: number;
  shapesKnown: number;
  shapesEqual: number;
  shapesUnknown: number;
  shapesWrong: number;
  ran: number;
  sameOutputs: number;
  refused: number;
  late: number;
}

const RANDOM_OPS = new Set([
  ...["RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike"],
  ...["Bernoulli", "Multinomial", "Dropout"],
]);

const pool = new RunPool();
const misses: string[] = [];
const unknownOps = new Map<string, number>();

function miss(where: string, what: string): void {
  misses.push(`${where}: ${what}`);
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: { fixtures: { type: "string" }, json: { type: "boolean", default: false } },
  });
  if (values.fixtures === undefined || !existsSync(values.fixtures)) {
    process.stderr.write("usage: npm run conformance -- --fixtures DIR [--json]\n");
    return 2;
  }
  const table: Record<string, Tally> = {};
  for (const entry of readdirSync(values.fixtures, { withFileTypes: true })) {
    if (!entry.isDirectory()) continue;
    table[entry.name] = await checkFolder(join(values.fixtures, entry.name));
    process.stderr.write(`${entry.name} done\n`);
  }
  pool.close();
  const unknown = [...unknownOps].sort((a, b) => b[1] - a[1]);
  if (values.json) {
    process.stdout.write(`${JSON.stringify({ table, misses, unknown }, null, 2)}\n`);
  } else {
    print(table, unknown);
  }
  return misses.length === 0 ? 0 : 1;
}

function print(table: Readonly<Record<string, Tally>>, unknown: readonly [string, number][]): void {
  const write = (text: string): void => void process.stdout.write(`${text}\n`);
  const columns = Object.keys(Object.values(table)[0] ?? {});
  write(["folder".padEnd(24), ...columns.map((name) => name.padStart(14))].join(""));
  for (const [folder, tally] of Object.entries(table)) {
    const cells = Object.values(tally).map((n) => String(n).padStart(14));
    write([folder.padEnd(24), ...cells].join(""));
  }
  write(`\nlast op of graphs whose shape is not known though onnx knows it:`);
  write(unknown.map(([op, n]) => `${op} ${n}`).join("  "));
  for (const line of unknownValues.slice(0, 20)) write(`  ${line}`);
  write(`\n${misses.length} misses`);
  for (const line of misses.slice(0, 50)) write(`  ${line}`);
}

async function checkFolder(folder: string): Promise<Tally> {
  const tally: Tally = {
    files: 0,
    read: 0,
    roundTrip: 0,
    identical: 0,
    shapesKnown: 0,
    shapesEqual: 0,
    shapesUnknown: 0,
    shapesWrong: 0,
    ran: 0,
    sameOutputs: 0,
    refused: 0,
    late: 0,
  };
  const truths = truthOf(join(folder, "shapes.json"));
  for (const name of readdirSync(folder)
    .filter((one) => one.endsWith(".onnx"))
    .sort()) {
    tally.files++;
    const bytes = new Uint8Array(readFileSync(join(folder, name)));
    let model: Model;
    try {
      model = readModel(bytes, { path: name });
    } catch (error) {
      miss(name, `is not read: ${error instanceof Error ? error.message : String(error)}`);
      continue;
    }
    tally.read++;
    checkRoundTrip(name, model, tally);
    if (Buffer.compare(encodeModel(model), bytes) === 0) tally.identical++;
    const truth = truths.get(name.replace(/\.onnx$/, ""));
    if (truth !== undefined) checkShapes(name, model.graph, truth, tally);
    await checkRuns(name, { bytes, model, tally });
  }
  return tally;
}

function checkRoundTrip(name: string, model: Model, tally: Tally): void {
  const again = readModel(encodeModel(model), { path: name });
  const rebuilt = readModel(encodeModel(withGraph(model, { ...model.graph })), { path: name });
  const read = comparable(model.graph);
  if (comparable(again.graph) === read && comparable(rebuilt.graph) === read) tally.roundTrip++;
  else miss(name, "reads differently after it was written");
}

function checkShapes(name: string, graph: Graph, truth: Truth, tally: Tally): void {
  const outputs = graph.outputs.map((value) => ({ ...value, shape: undefined }));
  const hidden = new Set(truth.hidden ? outputs.map((value) => value.name) : []);
  const values = new Map([...graph.values].filter(([value]) => !hidden.has(value)));
  const bare = truth.hidden ? { ...graph, outputs, values } : { ...graph, values: new Map() };
  const found = inferShapes(bare);
  for (const [value, expected] of truth.values) {
    const shape = found.values.get(value)?.shape ?? graph.initializers.get(value)?.shape;
    const state = compare(shape, expected.must);
    if (state === "wrong" || compare(shape, expected.inferred) === "wrong") {
      tally.shapesWrong++;
      miss(name, `"${value}" is [${expected.must?.join()}], inferred [${shape?.join()}]`);
    }
    if (expected.inferred === undefined) continue;
    tally.shapesKnown++;
    if (compare(shape, expected.inferred) === "equal") tally.shapesEqual++;
    else if (compare(shape, expected.inferred) === "unknown") {
      tally.shapesUnknown++;
      const op = graph.nodes.at(-1)?.op ?? "";
      unknownOps.set(op, (unknownOps.get(op) ?? 0) + 1);
    }
  }
}

/** Per dimension: a truth that says nothing asks for nothing. */
function compare(
  found: Shape | undefined,
  truth: Shape | undefined,
): "equal" | "unknown" | "wrong" {
  if (truth === undefined) return "equal";
  if (found === undefined) return "unknown";
  if (found.length !== truth.length) return "wrong";
  let state: "equal" | "unknown" = "equal";
  for (const [axis, dim] of truth.entries()) {
    if (typeof dim !== "number") continue;
    const own = found[axis];
    if (typeof own === "number" && own !== dim) return "wrong";
    if (typeof own !== "number") state = "unknown";
  }
  return state;
}

async function checkRuns(
  name: string,
  { bytes, model, tally }: { bytes: Uint8Array; model: Model; tally: Tally },
): Promise<void> {
  const rewritten = encodeModel(withGraph(model, { ...model.graph }));
  const answer = await pool.compare({ original: bytes, rewritten });
  if (answer === "refused") tally.refused++;
  else if (answer === "late") tally.late++;
  else tally.ran++;
  const random = model.graph.nodes.some((node) => RANDOM_OPS.has(node.op));
  if (answer === "same" || (answer === "different" && random)) tally.sameOutputs++;
  else if (answer === "different") miss(name, "gives other outputs after it was rewritten");
}

process.exitCode = await main();
