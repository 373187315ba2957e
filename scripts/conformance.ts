// `npm run conformance -- --fixtures DIR`: real ONNX files from outside, with the shapes that onnx itself
// infers for them. Reads every file, compares shapes per dimension, checks that read ∘ write ∘ read = read,
// that the text form reads back the same where it leaves nothing out (column textPart: where it does), that
// no node contradicts the schema of its op, and that the runtime gives bit-equal outputs for the rewritten
// file, and equal ones within rounding for the same network in a newer operator set. Exits 1 on a miss.

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { messageOf, SkipwayError } from "../src/base/errors.ts";
import { inferShapes } from "../src/canonical/infer-shapes.ts";
import type { Graph, ValueType } from "../src/graph/graph.ts";
import { parseGraph } from "../src/graph/parse.ts";
import { printGraph } from "../src/graph/print.ts";
import { formatShape, type Shape } from "../src/graph/shape.ts";
import type { Model } from "../src/onnx/model.ts";
import { withGraph } from "../src/onnx/onnx-model.ts";
import { readModel } from "../src/onnx/read.ts";
import { encodeModel } from "../src/onnx/write.ts";
import { verify } from "../src/ops/verify.ts";
import { upgradeOpset } from "../src/passes/upgrade/upgrade-opset.ts";
import { comparable } from "./comparable.ts";
import { RunPool } from "./run-pool.ts";
import { type Statement, type Truth, truthOf, type ValueTruth } from "./truth.ts";

/** What was found in one folder of fixtures. */
interface Tally {
  files: number;
  read: number;
  roundTrip: number;
  /** Written as it was read, byte for byte: files whose writer used the canonical order. */
  identical: number;
  sound: number;
  text: number;
  textPart: number;
  shapesKnown: number;
  shapesEqual: number;
  shapesUnknown: number;
  shapesWrong: number;
  dtypesEqual: number;
  dtypesUnknown: number;
  dtypesWrong: number;
  ran: number;
  sameOutputs: number;
  refused: number;
  late: number;
  /** Of those that ran: brought to a newer operator set, and with the same outputs then. */
  upgraded: number;
  sameUpgraded: number;
  upgradeRefused: number;
}

const RANDOM_OPS = new Set([
  ...["RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike"],
  ...["Bernoulli", "Multinomial", "Dropout"],
]);

const pool = new RunPool();
const misses: string[] = [];
const unknownOps = new Map<string, number>();
const unknownValues: string[] = [];
const notUpgraded: string[] = [];

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
    process.stdout.write(
      `${JSON.stringify({ table, misses, unknown, unknownValues, notUpgraded }, null, 2)}\n`,
    );
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
  write(`\n${notUpgraded.length} not brought to a newer operator set`);
  for (const line of notUpgraded.slice(0, 20)) write(`  ${line}`);
  write(`\n${misses.length} misses`);
  for (const line of misses.slice(0, 50)) write(`  ${line}`);
}

async function checkFolder(folder: string): Promise<Tally> {
  const tally: Tally = {
    files: 0,
    read: 0,
    roundTrip: 0,
    identical: 0,
    sound: 0,
    text: 0,
    textPart: 0,
    shapesKnown: 0,
    shapesEqual: 0,
    shapesUnknown: 0,
    shapesWrong: 0,
    dtypesEqual: 0,
    dtypesUnknown: 0,
    dtypesWrong: 0,
    ran: 0,
    sameOutputs: 0,
    refused: 0,
    late: 0,
    upgraded: 0,
    sameUpgraded: 0,
    upgradeRefused: 0,
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
      miss(name, `is not read: ${messageOf(error)}`);
      continue;
    }
    tally.read++;
    checkRoundTrip(name, model, tally);
    if (Buffer.compare(encodeModel(model), bytes) === 0) tally.identical++;
    checkSound(name, model.graph, tally);
    checkText(name, model.graph, tally);
    const truth = truths.get(name.replace(/\.onnx$/, ""));
    if (truth !== undefined) checkShapes(name, model.graph, truth, tally);
    await checkRuns(name, { bytes, model, tally });
    await checkUpgrade(name, { bytes, model, tally });
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

/** onnx's own checker has nothing against the files; neither may ours. */
function checkSound(name: string, graph: Graph, tally: Tally): void {
  const errors = verify(graph).filter((one) => one.severity === "error");
  if (errors.length === 0) tally.sound++;
  for (const one of errors.slice(0, 3)) miss(name, `${one.id}: ${one.where} ${one.text}`);
}

function checkText(name: string, graph: Graph, tally: Tally): void {
  try {
    const again = parseGraph(printGraph(graph), { source: name });
    if (comparable(again) === comparable(graph)) tally.text++;
    else if (comparable(again) === comparable(graph, "remarks")) tally.textPart++;
    else miss(name, "reads differently from its text form");
  } catch (error) {
    const [found] = error instanceof SkipwayError ? error.diagnostics : [];
    if (found?.id === "text/subset") tally.textPart++;
    else miss(name, `has a text form that is not read: ${messageOf(error)}`);
  }
}

function checkShapes(name: string, graph: Graph, truth: Truth, tally: Tally): void {
  const outputs = graph.outputs.map((value) => ({ ...value, shape: undefined }));
  const hidden = new Set(truth.hidden ? outputs.map((value) => value.name) : []);
  const values = new Map([...graph.values].filter(([value]) => !hidden.has(value)));
  const bare = truth.hidden ? { ...graph, outputs, values } : { ...graph, values: new Map() };
  const found = inferShapes(bare);
  const declared = new Map(found.outputs.map((value) => [value.name, value]));
  for (const [value, expected] of truth.values) {
    const own = found.values.get(value) ?? graph.initializers.get(value);
    // Where onnx was shown what the file declares of outputs, that counts as known here too.
    const type = truth.hidden ? own : (declared.get(value) ?? own);
    compareDtypes(`${name}: "${value}"`, own, expected, tally);
    const states = [expected.must, expected.inferred].flatMap((said) => [
      compare(own, said),
      compare(type, said),
    ]);
    if (states.includes("wrong")) {
      tally.shapesWrong++;
      miss(name, `"${value}" is ${textOf(expected.must)}, inferred ${textOf(own)}`);
    }
    if (expected.inferred === undefined || saysNothing(expected.inferred)) continue;
    tally.shapesKnown++;
    const state = compare(type, expected.inferred);
    if (state === "equal") tally.shapesEqual++;
    else if (state === "unknown") {
      tally.shapesUnknown++;
      const op = graph.nodes.at(-1)?.op ?? "";
      unknownOps.set(op, (unknownOps.get(op) ?? 0) + 1);
      unknownValues.push(`${name}: "${value}" is ${textOf(expected.inferred)}, ${textOf(type)}`);
    }
  }
}

function saysNothing(said: Statement): boolean {
  return said.kind === "tensor" && said.shape === undefined;
}

function textOf(type: Statement | ValueType | undefined): string {
  if (type === undefined) return "unknown";
  const kind = kindOf(type);
  return kind === "tensor" ? `${type.dtype}${formatShape(type.shape)}` : kind;
}

function kindOf(type: Statement | ValueType): string {
  return "kind" in type ? type.kind : (type.container?.kind ?? "tensor");
}

/** A type that inference itself has found, whatever the file declares. */
function compareDtypes(
  where: string,
  own: ValueType | undefined,
  { must, inferred }: ValueTruth,
  tally: Tally,
): void {
  const truth = inferred?.dtype ?? must?.dtype;
  if (truth === undefined) return;
  if (own === undefined) tally.dtypesUnknown++;
  else if (own.dtype === truth) tally.dtypesEqual++;
  else {
    tally.dtypesWrong++;
    miss(where, `has elements ${truth}, inferred ${own.dtype}`);
  }
}

/** Per dimension: a truth that says nothing asks for nothing. */
function compare(
  found: ValueType | undefined,
  truth: Statement | undefined,
): "equal" | "unknown" | "wrong" {
  if (truth === undefined || saysNothing(truth)) return "equal";
  if (found === undefined) return "unknown";
  if (kindOf(found) !== truth.kind) {
    // A value declared without a type reads as a tensor of which nothing is known.
    return kindOf(found) === "tensor" && found.shape === undefined ? "unknown" : "wrong";
  }
  return truth.kind === "tensor" ? compareShapes(found.shape, truth.shape ?? []) : "equal";
}

function compareShapes(found: Shape | undefined, truth: Shape): "equal" | "unknown" | "wrong" {
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
  else if (answer === "different" || answer === "close")
    miss(name, "gives other outputs after it was rewritten");
}

/** The same network in the newest operator set that its nodes can be brought to: what verify and the runtime say. */
async function checkUpgrade(
  name: string,
  { bytes, model, tally }: { bytes: Uint8Array; model: Model; tally: Tally },
): Promise<void> {
  let graph: Graph;
  try {
    graph = upgradeOpset(model.graph);
  } catch (error) {
    if (!(error instanceof SkipwayError)) miss(name, `cannot be upgraded: ${messageOf(error)}`);
    tally.upgradeRefused++;
    notUpgraded.push(`${name}: ${messageOf(error)}`);
    return;
  }
  if (graph === model.graph) return;
  for (const one of verify(graph)
    .filter(({ severity }) => severity === "error")
    .slice(0, 3)) {
    miss(name, `upgraded: ${one.id}: ${one.where} ${one.text}`);
  }
  const rewritten = encodeModel(withGraph(model, graph));
  const answer = await pool.compare({ original: bytes, rewritten });
  if (answer === "refused" || answer === "late") return;
  tally.upgraded++;
  const random = model.graph.nodes.some((node) => RANDOM_OPS.has(node.op));
  if (answer !== "different" || random) tally.sameUpgraded++;
  else miss(name, "gives other outputs in a newer operator set");
}

process.exitCode = await main();
