// `PYTHON=… npm run interop:gradients [-- --json] [--keep DIR] [NAME …]`: networks that PyTorch exports, and
// the gradients of skipway's graphs on stock ONNX Runtime against PyTorch's own in float64. For each weight
// the largest difference over the largest number of the reference, which may be 1e-3 at most. onnx's checker
// looks at every file. Needs a Python with torch and onnx; exits 1 on a miss.

import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { messageOf, SkipwayError } from "../src/base/errors.ts";
import { float32, float32Values, int64, type Tensor } from "../src/graph/tensor.ts";
import { modelOf } from "../src/onnx/onnx-model.ts";
import { loadModel } from "../src/onnx/read.ts";
import { withGradients } from "../src/passes/gradient/with-gradients.ts";
import { inProcessRunner } from "../src/runtime/in-process.ts";

/** What every weight owes, and what it should reach. */
const BOUND = 1e-3;
const AIM = 1e-4;

interface Listed {
  readonly dtype: "float" | "int64";
  readonly shape: readonly number[];
  readonly data: readonly number[];
}

/** One network, as the Python half writes it. */
interface Case {
  readonly name: string;
  readonly loss: "cross-entropy" | "mse";
  readonly classAxis: number | null;
  readonly mode: "eval" | "train";
  readonly input: Listed;
  readonly target: Listed;
  readonly value: number;
  readonly gradients: readonly Reference[];
}

/** The gradient of one weight, and the initializers that hold the weight: more than one where it was copied. */
interface Reference extends Listed {
  readonly weight: string;
  readonly parts: readonly { readonly name: string; readonly transposed: boolean }[];
}

interface Result {
  readonly name: string;
  readonly weights: number;
  readonly nodes: number;
  /** Of the loss, relative. */
  readonly lossError: number;
  readonly worst: { readonly weight: string; readonly error: number };
  readonly problems: readonly string[];
  /** Gradients of what the exporter made of several weights, or of constants: not compared. */
  readonly more: readonly string[];
}

function tensorOf({ dtype, shape, data }: Listed): Tensor {
  return dtype === "int64" ? int64(shape, data) : float32(shape, data);
}

async function compare(folder: string, one: Case): Promise<Result> {
  const model = await loadModel(join(folder, `${one.name}.onnx`));
  const loss =
    one.loss === "mse"
      ? ({ kind: "mse" } as const)
      : ({ kind: "cross-entropy", classAxis: one.classAxis ?? -1 } as const);
  const made = withGradients(model.graph, { loss, mode: one.mode });
  const path = join(folder, `${one.name}.grad.onnx`);
  await modelOf(made.graph).save(path);
  await using session = await inProcessRunner().load({ path });
  const feeds = new Map([
    [model.graph.inputs[0]?.name ?? "", tensorOf(one.input)],
    [made.target, tensorOf(one.target)],
  ]);
  const found = await session.run(feeds);
  const numbers = (name: string): ArrayLike<number> => {
    const value = found.get(name);
    return value === undefined ? [] : float32Values(value);
  };
  const problems: string[] = [];
  let worst = { weight: "", error: 0 };
  const largest = Math.max(...one.gradients.map(({ data }) => largestOf(data)));
  for (const reference of one.gradients) {
    const { weight } = reference;
    const missing = reference.parts.filter(({ name }) => !made.gradients.has(name));
    for (const { name } of missing) problems.push(`${name} has no gradient`);
    const sum = sumOf(reference, made.gradients, numbers);
    const error = errorOf(sum, reference.data, largest);
    if (!(error <= BOUND)) problems.push(`${weight} is off by ${error.toExponential(1)}`);
    if (!(error <= worst.error)) worst = { weight, error };
  }
  const compared = new Set(one.gradients.flatMap(({ parts }) => parts.map(({ name }) => name)));
  const more = [...made.gradients.keys()].filter((name) => !compared.has(name));
  return {
    ...{ name: one.name, weights: made.gradients.size, nodes: made.graph.nodes.length },
    ...{ lossError: errorOf(numbers(made.loss), [one.value], 1), worst, problems, more },
  };
}

/** The gradients of all copies of a weight, each turned as the weight is. */
function sumOf(
  { parts, shape, data }: Reference,
  outputs: ReadonlyMap<string, string>,
  numbers: (name: string) => ArrayLike<number>,
): number[] {
  const [rows = 1, columns = 1] = shape;
  return data.map((_, at) => {
    const turned = (at % columns) * rows + Math.floor(at / columns);
    return parts.reduce(
      (sum, { name, transposed }) =>
        sum + (numbers(outputs.get(name) ?? "")[transposed ? turned : at] ?? Number.NaN),
      0,
    );
  });
}

/** What is smaller, relative to the largest gradient of a network, is zero but for rounding. */
const ZERO = 1e-9;

/**
 * Largest difference over the largest number of the reference. A gradient that is zero, as that of a bias
 * in front of a normalisation or of the keys of an attention, is measured by the largest of the network.
 */
function errorOf(
  found: ArrayLike<number>,
  reference: readonly number[],
  ofNetwork: number,
): number {
  if (found.length !== reference.length) return Number.POSITIVE_INFINITY;
  const largest = largestOf(reference);
  let difference = 0;
  for (const [i, v] of reference.entries()) {
    const one = Math.abs((found[i] ?? Number.NaN) - v);
    if (!(one <= difference)) difference = one;
  }
  return difference / (largest > ZERO * ofNetwork ? largest : ofNetwork);
}

function largestOf(values: readonly number[]): number {
  return values.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
}

function failed(name: string, error: unknown): Result {
  const told =
    error instanceof SkipwayError && error.diagnostics.length > 0
      ? error.diagnostics.map(({ where, text }) => `${where}: ${text}`)
      : [messageOf(error)];
  return {
    ...{ name, weights: 0, nodes: 0, lossError: Number.NaN },
    ...{ worst: { weight: "", error: Number.NaN }, problems: [...new Set(told)], more: [] },
  };
}

function print(results: readonly Result[], checker: readonly string[]): void {
  const write = (text: string): void => void process.stdout.write(`${text}\n`);
  write(
    `${"network".padEnd(26)}${"weights".padStart(8)}${"nodes".padStart(7)}  loss      worst weight`,
  );
  for (const { name, weights, nodes, lossError, worst, problems, more } of results) {
    const state = problems.length === 0 ? (worst.error <= AIM ? "" : "above the aim") : "MISS";
    write(
      `${name.padEnd(26)}${String(weights).padStart(8)}${String(nodes).padStart(7)}  ${lossError.toExponential(1).padEnd(8)}  ${worst.error.toExponential(1)} ${worst.weight} ${state}`,
    );
    if (more.length > 0) write(`    not compared: ${more.join(", ")}`);
    for (const problem of problems.slice(0, 8)) write(`    ${problem}`);
  }
  for (const line of checker) write(`onnx's checker: ${line}`);
  const passed = results.filter(({ problems }) => problems.length === 0).length;
  write(`\n${passed} passed, ${results.length - passed + checker.length} failed`);
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { json: { type: "boolean", default: false }, keep: { type: "string" } },
  });
  const python = process.env["PYTHON"] ?? "python3";
  const folder = values.keep ?? mkdtempSync(join(tmpdir(), "skipway-interop-"));
  mkdirSync(folder, { recursive: true });
  const script = (command: string): string =>
    execFileSync(python, ["scripts/interop-gradients.py", command, folder], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "inherit"],
    });
  try {
    script("export");
    const { torch, cases } = JSON.parse(readFileSync(join(folder, "cases.json"), "utf8")) as {
      torch: string;
      cases: readonly Case[];
    };
    const results: Result[] = [];
    for (const one of cases) {
      if (positionals.length > 0 && !positionals.includes(one.name)) continue;
      results.push(await compare(folder, one).catch((error) => failed(one.name, error)));
    }
    const checker = script("check").trim().split("\n").filter(Boolean);
    if (values.json)
      process.stdout.write(`${JSON.stringify({ torch, results, checker }, null, 2)}\n`);
    else print(results, checker);
    const missed = results.some(({ problems }) => problems.length > 0);
    return missed || checker.length > 0 ? 1 : 0;
  } finally {
    if (values.keep === undefined) rmSync(folder, { recursive: true });
  }
}

process.exitCode = await main();
