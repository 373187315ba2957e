// How a case is checked: the gradient graph in float64 against central differences of the forward graph,
// then the gradient graph in float32 on the runtime against the same graph in float64. Both get the same
// inputs, rounded to float32. Tolerances: those of PyTorch's gradcheck for the differences (eps 1e-6, atol
// 1e-5, rtol 1e-3), 1e-4 of the greatest reference for float32.

import { messageOf } from "../../src/base/errors.ts";
import { Random } from "../../src/base/random.ts";
import { inferShapes } from "../../src/canonical/infer-shapes.ts";
import { TypedBuilder } from "../../src/canonical/typed-builder.ts";
import { isFloat } from "../../src/graph/dtype.ts";
import {
  type Graph,
  int,
  NO_ATTRIBUTES,
  type Node,
  type ValueName,
} from "../../src/graph/graph.ts";
import { float32 } from "../../src/graph/tensor.ts";
import { modelOf } from "../../src/onnx/onnx-model.ts";
import { encodeModel } from "../../src/onnx/write.ts";
import { schemasOf } from "../../src/ops/schema.ts";
import { verify } from "../../src/ops/verify.ts";
import { type Differentiated, differentiate } from "../../src/passes/gradient/differentiate.ts";
import { inProcessRunner } from "../../src/runtime/in-process.ts";
import { type Array64, arrayOf, floats, sizeOf, tensorOf } from "../float64/array.ts";
import { evaluate } from "../float64/evaluate.ts";
import { between, type GradientCase, keyOf } from "./case.ts";

const EPSILON = 1e-6;
const ABSOLUTE = 1e-5;
const RELATIVE = 1e-3;
const FLOAT32 = 1e-4;
/** References smaller than this are compared as if they were this large: the rest is rounding. */
const SCALE_MIN = 1e-2;
/** Inputs up to this size are moved element by element. */
const ENTRIES_MAX = 60;
const SAMPLED_ENTRIES = 10;
const DIRECTIONS = 3;
/** Between two ways of computing one thing in double, constants of which may be in float32. */
const SAME_PARTS = 1e-6;

/** Gradients are built from the first on; the last is the newest that the runtime takes. */
export const OPSETS = { first: 18, last: 24 } as const;

/** A forward graph with a scalar loss, and what is fed to it. */
export interface Problem {
  readonly graph: Graph;
  readonly wrt: readonly ValueName[];
  readonly feeds: ReadonlyMap<ValueName, Array64>;
  /** Values before the loss, to be compared between oracle and runtime. */
  readonly outputs: readonly ValueName[];
  /** Inputs whose sizes are always known. */
  readonly weights: ReadonlySet<ValueName>;
}

/** What was found of one case; `faults` is empty where all is well. */
export interface Finding {
  readonly op: string;
  readonly form: string;
  readonly faults: readonly string[];
  /** Worst difference to central differences, relative to the greatest of the tensor (at least 1). */
  readonly worst64: number;
  /** Worst difference of float32 to float64, relative to the greatest of the tensor. */
  readonly worst32: number;
  /** The greatest element of all gradients; left out where none was asked for. */
  readonly greatest?: number;
  /** Why no gradient is built where every size of the inputs is unknown; undefined where one is. */
  readonly needsStatic?: string;
}

/** Builds the graph of a case and draws its inputs. */
export function problemOf(one: GradientCase, random: Random): Problem {
  const opset = one.opset ?? opsetOf(one, random);
  const builder = new TypedBuilder(undefined, opset);
  const feeds = new Map<ValueName, Array64>();
  const wrt: ValueName[] = [];
  const weights = new Set<ValueName>();
  const names = one.inputs.map((input, i) => {
    const name = `x${i}`;
    if (input.kind === "omitted") return "";
    if (input.kind === "constant") return builder.initializer(name, input.tensor);
    if (input.kind === "fed") {
      feeds.set(name, arrayOf(input.tensor));
      return builder.input(name, input.tensor.dtype, input.tensor.shape);
    }
    const length = sizeOf(input.shape);
    const drawn = Array.from({ length }, () => input.domain(random));
    feeds.set(name, floats(input.shape, drawn.map(Math.fround)));
    if (!input.fixed) wrt.push(name);
    if (input.weight) weights.add(name);
    return builder.input(name, "float32", input.shape);
  });
  const outputs =
    one.build?.(builder, names) ??
    builder.emitAll(one.op, names, {
      ...(one.attributes && { attributes: one.attributes }),
      ...(one.domain && { domain: one.domain }),
      outputCount: one.outputs ?? 1,
      name: "node",
    });
  const opsets = new Map([["", opset]]);
  if (one.domain) opsets.set(one.domain, 1);
  const forward = evaluate(builder.finish("forward", opsets), feeds);
  const read = outputs.filter((name, i) => {
    const value = forward.get(name);
    return value !== undefined && isFloat(value.dtype) && (one.reads?.includes(i) ?? true);
  });
  const loss = lossOf(builder, read, forward, random);
  builder.output({ name: loss, dtype: "float32", shape: [] });
  return { graph: inferShapes(builder.finish("case", opsets)), wrt, feeds, outputs: read, weights };
}

/** An operator set that has the op, from the first that gradients are built for. */
function opsetOf(one: GradientCase, random: Random): number {
  const first = schemasOf(one.domain ?? "", one.op)[0]?.since ?? 1;
  const least = Math.max(OPSETS.first, first, one.since ?? 1);
  return between(random, least, OPSETS.last);
}

/** Σ outputs · random weights. */
function lossOf(
  builder: TypedBuilder,
  outputs: readonly ValueName[],
  values: ReadonlyMap<ValueName, Array64>,
  random: Random,
): ValueName {
  const parts = outputs.map((output) => {
    const shape = values.get(output)?.shape ?? [];
    const weights = Float32Array.from({ length: sizeOf(shape) }, () => random.normal());
    const weighted = builder.emit("Mul", [output, builder.constant(float32(shape, weights))]);
    return builder.emit("ReduceSum", [weighted], { attributes: { keepdims: int(0) } });
  });
  return builder.emit("Sum", parts, { outputs: ["loss"], name: "loss" });
}

/** Checks one case with inputs drawn from a seed. Faults of any kind are told, not thrown. */
export async function checkCase(one: GradientCase, seed: number): Promise<Finding> {
  const faults: string[] = [];
  let [worst64, worst32, greatest] = [0, 0, 0];
  let needsStatic: string | undefined;
  try {
    const problem = problemOf(one, new Random(seed, 1));
    const made = differentiate(problem.graph, { loss: "loss", wrt: problem.wrt });
    // That an op is the runtime's own is no fault.
    const told = verify(made.graph).filter((fault) => fault.severity !== "info");
    const found = told.map((fault) => `${fault.id}: ${fault.where} ${fault.text}`);
    faults.push(...found);
    const reference = evaluate(made.graph, problem.feeds);
    const forward = evaluate(problem.graph, problem.feeds);
    for (const name of problem.outputs) {
      const error = distance(forward.get(name), reference.get(name));
      if (!(error <= SAME_PARTS)) faults.push(`${name} taken apart is ${error} of its scale off`);
    }
    for (const name of problem.wrt) {
      const gradient = reference.get(made.gradients.get(name) ?? "");
      const input = problem.feeds.get(name);
      if (gradient === undefined || input === undefined) throw new Error(`no gradient of ${name}`);
      if (gradient.shape.join() !== input.shape.join()) {
        faults.push(`d${name} is [${gradient.shape.join()}], ${name} is [${input.shape.join()}]`);
        continue;
      }
      greatest = Math.max(greatest, ...gradient.values.map(Math.abs));
      worst64 = Math.max(worst64, compareWithDifferences(problem, name, gradient, faults));
    }
    needsStatic = compareWithUnknownSizes(problem, { made, reference }, faults);
    worst32 = await compareWithRuntime(made.graph, wantedOf(problem, made.gradients), {
      feeds: problem.feeds,
      reference,
      faults,
    });
    // Where the op was taken apart, the runtime has not seen it yet.
    const apart = problem.graph.nodes.some(
      (node) => !made.graph.nodes.some((m) => m.name === node.name),
    );
    if (apart && one.noKernel !== true) {
      const context = { feeds: problem.feeds, reference: forward, faults };
      await compareWithRuntime(problem.graph, problem.outputs, context);
    }
  } catch (error) {
    faults.push(messageOf(error));
  }
  const { form } = one;
  const found = { op: keyOf(one), form, faults, worst64, worst32, greatest };
  return needsStatic === undefined ? found : { ...found, needsStatic };
}

/** Compares only the forward of a case between oracle and runtime: for ops that have no rule yet. */
export async function checkForward(one: GradientCase, seed: number): Promise<Finding> {
  const faults: string[] = [];
  let worst32 = 0;
  try {
    const { graph, feeds, outputs } = problemOf(one, new Random(seed, 1));
    faults.push(...verify(graph).map((fault) => `${fault.id}: ${fault.where} ${fault.text}`));
    const reference = evaluate(graph, feeds);
    worst32 = await compareWithRuntime(graph, outputs, { feeds, reference, faults });
  } catch (error) {
    faults.push(messageOf(error));
  }
  return { op: keyOf(one), form: one.form, faults, worst64: 0, worst32 };
}

/** A loss as a function of one input, in float64. */
export function lossAlong(
  problem: Problem,
  name: ValueName,
  loss = "loss",
): (values: Float64Array) => number {
  const base = new Map(problem.feeds);
  for (const [constant, ref] of problem.graph.initializers) base.set(constant, arrayOf(ref));
  const input = base.get(name);
  return (values) => {
    if (input !== undefined) base.set(name, { ...input, values });
    return evaluate(problem.graph, base).get(loss)?.values[0] ?? Number.NaN;
  };
}

function compareWithDifferences(
  problem: Problem,
  name: ValueName,
  gradient: Array64,
  faults: string[],
): number {
  const values = problem.feeds.get(name)?.values ?? new Float64Array();
  const loss = lossAlong(problem, name);
  const scale = Math.max(1, ...gradient.values.map(Math.abs));
  let worst = 0;
  const compare = (direction: Float64Array, what: string): void => {
    const moved = (by: number): number => loss(values.map((v, i) => v + by * (direction[i] ?? 0)));
    const expected = (moved(EPSILON) - moved(-EPSILON)) / (2 * EPSILON);
    const found = gradient.values.reduce((sum, g, i) => sum + g * (direction[i] ?? 0), 0);
    const error = Math.abs(found - expected);
    worst = Math.max(worst, error / scale);
    if (error <= ABSOLUTE + RELATIVE * Math.abs(expected)) return;
    faults.push(`d${name} ${what} is ${found}, differences say ${expected}`);
  };
  const unit = (i: number): Float64Array => {
    const direction = new Float64Array(values.length);
    direction[i] = 1;
    return direction;
  };
  if (values.length <= ENTRIES_MAX) {
    for (let i = 0; i < values.length; i++) compare(unit(i), `[${i}]`);
    return worst;
  }
  const random = new Random(values.length, 2);
  for (let n = 0; n < SAMPLED_ENTRIES; n++) {
    const i = random.integer(values.length);
    compare(unit(i), `[${i}]`);
  }
  for (let n = 0; n < DIRECTIONS; n++) {
    // Of length 1, so that the step is as long as for one element.
    const length = Math.sqrt(values.length);
    compare(
      values.map(() => random.normal() / length),
      "along a direction",
    );
  }
  return worst;
}

/**
 * The same gradients from a graph that knows the rank of its inputs alone. Gives the reason where a rule
 * refuses that.
 */
function compareWithUnknownSizes(
  problem: Problem,
  known: { readonly made: Differentiated; readonly reference: ReadonlyMap<ValueName, Array64> },
  faults: string[],
): string | undefined {
  const inputs = problem.graph.inputs.map((input) => ({
    ...input,
    shape: problem.weights.has(input.name)
      ? input.shape
      : input.shape?.map((_, axis) => `${input.name}_${axis}`),
  }));
  const values = new Map(inputs.map((input) => [input.name, input]));
  const graph = inferShapes({ ...problem.graph, inputs, values });
  let made: Differentiated;
  try {
    made = differentiate(graph, { loss: "loss", wrt: problem.wrt });
  } catch (error) {
    return messageOf(error);
  }
  const found = evaluate(made.graph, problem.feeds);
  for (const name of problem.wrt) {
    const expected = known.reference.get(known.made.gradients.get(name) ?? "");
    const error = distance(expected, found.get(made.gradients.get(name) ?? ""));
    // Weights of a Resize whose sizes are known are constants in float32.
    if (!(error <= SAME_PARTS)) faults.push(`d${name} is ${error} off where sizes are unknown`);
  }
  return undefined;
}

/** What the runtime is asked for: gradients, and the outputs before the loss. */
function wantedOf(problem: Problem, gradients: ReadonlyMap<ValueName, ValueName>): ValueName[] {
  const found = problem.wrt.map((name) => gradients.get(name) ?? "");
  return [...new Set([...found, ...problem.outputs])];
}

/** The greatest difference of two arrays, relative to the greatest element of the first. */
function distance(expected: Array64 | undefined, found: Array64 | undefined): number {
  if (expected === undefined || found === undefined) return Number.NaN;
  if (expected.shape.join() !== found.shape.join()) return Number.NaN;
  const scale = Math.max(SCALE_MIN, ...expected.values.map(Math.abs));
  return found.values.reduce(
    (top, v, at) => Math.max(top, Math.abs(v - (expected.values[at] ?? Number.NaN)) / scale),
    0,
  );
}

/** Runs a graph in float32 and compares values with the oracle's; returns the worst difference. */
async function compareWithRuntime(
  graph: Graph,
  wanted: readonly ValueName[],
  context: {
    readonly feeds: ReadonlyMap<ValueName, Array64>;
    readonly reference: ReadonlyMap<ValueName, Array64>;
    readonly faults: string[];
  },
): Promise<number> {
  const { reference, faults } = context;
  // Results of their own, whatever else the value is: an input, a constant, another output.
  const copies = wanted.map(
    (name, i): Node => ({
      name: `copy${i}`,
      op: "Identity",
      domain: "",
      inputs: [name],
      outputs: [`copy${i}`],
      attributes: NO_ATTRIBUTES,
    }),
  );
  const outputs = copies.map(({ name }) => ({ name, dtype: "float32" as const, shape: undefined }));
  const whole = { ...graph, nodes: [...graph.nodes, ...copies], outputs };
  await using session = await inProcessRunner().load({ bytes: encodeModel(modelOf(whole)) });
  const feeds = new Map([...context.feeds].map(([name, value]) => [name, tensorOf(value)]));
  const results = await session.run(feeds);
  let worst = 0;
  for (const [i, name] of wanted.entries()) {
    const [expected, result] = [reference.get(name), results.get(`copy${i}`)];
    if (expected === undefined || result === undefined) throw new Error(`${name} has no result`);
    if (result.shape.join() !== expected.shape.join()) {
      faults.push(`${name} is [${result.shape}] on the runtime, [${expected.shape}] here`);
      continue;
    }
    const error = distance(expected, arrayOf(result));
    worst = Math.max(worst, error);
    if (!(error <= FLOAT32)) faults.push(`${name} in float32 is ${error} of its scale off`);
  }
  return worst;
}
