// `npm run conformance:float64 -- --data DIR`: the float64 oracle of the tests against the node tests of
// onnx, a folder each with model.onnx and test_data_set_0 (onnx/backend/test/data/node in the sources of
// onnx). Files that it cannot take are counted by the reason. Exits 1 on a difference.

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { messageOf } from "../src/base/errors.ts";
import { isFloat } from "../src/graph/dtype.ts";
import type { Graph, ValueName } from "../src/graph/graph.ts";
import { readModel } from "../src/onnx/read.ts";
import { tensorFrom } from "../src/onnx/tensors.ts";
import { type Array64, arrayOf } from "../test/float64/array.ts";
import { evaluate, KERNELS, kernelName } from "../test/float64/evaluate.ts";

/** Those of onnx's own test runner, and wider for halves, which the oracle does not round. */
const RELATIVE = 1e-3;
const RELATIVE_HALF = 1e-2;
const ABSOLUTE = 1e-5;

const RANDOM = /^(Random|Bernoulli|Multinomial|Dropout)/;

/** Files whose outputs the oracle does not mean to give, and why. */
const OTHERWISE: ReadonlyMap<string, string> = new Map([
  ["test_scan_sum", "Scan before operator set 9"],
  ["test_dynamicquantizelinear_expanded", "float32 rounds to the other side of a half"],
  // The formula of Resize-19 and the runtime divide by the whole length of the output; onnx's own code
  // divides by scale · input, which has a fraction here.
  ["test_resize_downsample_scales_cubic_align_corners", "onnx's code is not its formula"],
  ["test_resize_downsample_scales_linear_align_corners", "onnx's code is not its formula"],
]);

type Outcome =
  | { readonly kind: "equal" }
  | { readonly kind: "different"; readonly why: string }
  | { readonly kind: "left out"; readonly why: string };

function main(): number {
  const { values } = parseArgs({ options: { data: { type: "string" } } });
  if (values.data === undefined || !existsSync(values.data)) {
    process.stderr.write("usage: npm run conformance:float64 -- --data DIR\n");
    return 2;
  }
  const equal = new Map<string, number>();
  const leftOut = new Map<string, number>();
  const different: string[] = [];
  for (const name of readdirSync(values.data).sort()) {
    const folder = join(values.data, name);
    if (!existsSync(join(folder, "model.onnx"))) continue;
    const { graph } = readModel(new Uint8Array(readFileSync(join(folder, "model.onnx"))));
    const reason = OTHERWISE.get(name);
    if (reason !== undefined) {
      count(leftOut, reason);
      continue;
    }
    const outcome = checkFolder(folder, graph);
    const op = graph.nodes.length === 1 ? (graph.nodes[0]?.op ?? "") : "several nodes";
    if (outcome.kind === "equal") count(equal, op);
    else if (outcome.kind === "left out") count(leftOut, outcome.why);
    else different.push(`${name}: ${outcome.why}`);
  }
  const write = (text: string): void => void process.stdout.write(`${text}\n`);
  write(`equal: ${total(equal)} in ${equal.size} ops\n  ${listed(equal)}`);
  write(`left out: ${total(leftOut)}\n  ${listed(leftOut)}`);
  write(`different: ${different.length}`);
  for (const line of different) write(`  ${line}`);
  return different.length === 0 ? 0 : 1;
}

function count(table: Map<string, number>, key: string): void {
  table.set(key, (table.get(key) ?? 0) + 1);
}

function total(table: ReadonlyMap<string, number>): number {
  return [...table.values()].reduce((a, b) => a + b, 0);
}

function listed(table: ReadonlyMap<string, number>): string {
  return [...table]
    .sort((a, b) => b[1] - a[1])
    .map(([key, n]) => `${key} ${n}`)
    .join(" · ");
}

function checkFolder(folder: string, graph: Graph): Outcome {
  const called = graph.nodes.find((node) => KERNELS[kernelName(node)] === undefined);
  if (called !== undefined) return { kind: "left out", why: called.op };
  if (graph.nodes.some((node) => RANDOM.test(node.op))) return { kind: "left out", why: "random" };
  const data = join(folder, "test_data_set_0");
  const container = [...graph.inputs, ...graph.outputs].find((value) => value.container);
  if (container !== undefined) return { kind: "left out", why: "containers" };
  let feeds: Map<ValueName, Array64>;
  let expected: Map<ValueName, Array64>;
  try {
    feeds = read(data, "input", graph.inputs);
    expected = read(data, "output", graph.outputs);
  } catch (error) {
    return { kind: "left out", why: messageOf(error) };
  }
  try {
    return compare(evaluate(graph, feeds), expected);
  } catch (error) {
    return { kind: "different", why: messageOf(error) };
  }
}

function read(
  folder: string,
  kind: string,
  values: readonly { readonly name: ValueName }[],
): Map<ValueName, Array64> {
  const found = new Map<ValueName, Array64>();
  for (const [i, { name }] of values.entries()) {
    const path = join(folder, `${kind}_${i}.pb`);
    if (!existsSync(path)) continue;
    const message = new Uint8Array(readFileSync(path));
    const setting = { report: () => undefined, beside: undefined };
    const { ref } = tensorFrom(message, setting);
    if (ref === undefined) throw new Error("not a tensor");
    found.set(name, arrayOf(ref));
  }
  return found;
}

function compare(
  found: ReadonlyMap<ValueName, Array64>,
  expected: ReadonlyMap<ValueName, Array64>,
): Outcome {
  for (const [name, truth] of expected) {
    const own = found.get(name);
    if (own === undefined) return { kind: "different", why: `no value "${name}"` };
    if (own.shape.join() !== truth.shape.join()) {
      return { kind: "different", why: `"${name}" is [${own.shape}], not [${truth.shape}]` };
    }
    if (own.dtype !== truth.dtype) {
      return { kind: "different", why: `"${name}" is ${own.dtype}, not ${truth.dtype}` };
    }
    const relative = /16|float8/.test(truth.dtype) ? RELATIVE_HALF : RELATIVE;
    const tolerance = isFloat(truth.dtype) ? relative : 0;
    for (const [i, value] of truth.values.entries()) {
      const one = own.values[i] ?? Number.NaN;
      const near = Math.abs(one - value) <= (tolerance && ABSOLUTE) + tolerance * Math.abs(value);
      if (near || Object.is(one, value) || one === value) continue;
      return { kind: "different", why: `"${name}"[${i}] is ${one}, not ${value}` };
    }
  }
  return { kind: "equal" };
}

process.exitCode = main();
