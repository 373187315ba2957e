// Whole networks of the builder: the gradient of every parameter in float64 against central differences of the
// forward pass, with one random direction and sampled elements for each; then the same graph in float32 on the
// runtime; then sizes that are read when the graph runs, and the network in other forms of export.

import { present } from "../../src/base/assert.ts";
import { messageOf } from "../../src/base/errors.ts";
import { Random } from "../../src/base/random.ts";
import { inferShapes } from "../../src/canonical/infer-shapes.ts";
import { isFloat } from "../../src/graph/dtype.ts";
import type { Graph, ValueName } from "../../src/graph/graph.ts";
import { float32 } from "../../src/graph/tensor.ts";
import { buildNet } from "../../src/nn/net.ts";
import { modelOf } from "../../src/onnx/onnx-model.ts";
import { encodeModel } from "../../src/onnx/write.ts";
import { verify } from "../../src/ops/verify.ts";
import { differentiate } from "../../src/passes/gradient/differentiate.ts";
import { reaching } from "../../src/passes/gradient/paths.ts";
import {
  type GradientOptions,
  type GraphWithGradients,
  withGradients,
} from "../../src/passes/gradient/with-gradients.ts";
import { type ExportForm, exportModel } from "../../src/runtime/export.ts";
import { inProcessRunner } from "../../src/runtime/in-process.ts";
import { type Array64, array, arrayOf, floats, sizeOf, tensorOf } from "../float64/array.ts";
import { evaluate } from "../float64/evaluate.ts";
import type { ModelCase } from "./model-cases.ts";
import { withWeightedSum } from "./weighted-sum.ts";

type Feeds = ReadonlyMap<ValueName, Array64>;

/** Step of a central difference; its truncation is of the order of its square. */
const EPSILON = 1e-6;
/** Of a central difference, in shares of the largest element of the gradient. */
const RELATIVE = 1e-5;
/** What a central difference loses to rounding, for a loss of 1: 2^-52 / EPSILON, and some operations. */
const ROUNDING = 1e-8;
/** Between float32 and float64, in shares of the largest element of the gradient. */
const FLOAT32 = 2e-4;
/** The same for deep networks, whose normalisations of few numbers magnify what is rounded. */
const FLOAT32_LARGE = 2e-2;
/** Gradients are compared as if they were at least so large a share of the largest one of the network. */
const SCALE_MIN = 1e-2;
/** Between two ways of computing one thing in double, in the same shares. */
const SAME = 1e-9;

/** What was found of one network; `faults` is empty where all is well. */
export interface ModelFinding {
  readonly name: string;
  readonly faults: readonly string[];
  /** Parameters with a gradient. */
  readonly parameters: number;
  /** Worst difference to central differences, in shares of the largest element of each gradient. */
  readonly worst64: number;
  /** Worst difference of float32 to float64, likewise. */
  readonly worst32: number;
}

/** How much of each network is looked at. */
export interface Thoroughness {
  /** Elements of each parameter that are moved by themselves. */
  readonly entries: number;
}

/**
 * The network with other numbers in all weights: none is 0 or 1 by design, variances are positive. Matrices
 * are scaled by their fan-in, so that nothing saturates.
 */
function shaken(graph: Graph): Graph {
  const random = new Random(23);
  const initializers = new Map(
    [...graph.initializers].map(([name, ref]) => {
      if (ref.dtype !== "float32" || ref.shape.length === 0) return [name, ref] as const;
      const fan = sizeOf(ref.shape.slice(1));
      const near = name.endsWith("running_variance") ? 1 : 0;
      const value = (): number => {
        if (near === 1) return 0.5 + random.uniform();
        return ref.shape.length === 1
          ? 0.5 + 0.3 * random.normal()
          : random.normal() / Math.sqrt(fan);
      };
      return [name, float32(ref.shape, Array.from({ length: sizeOf(ref.shape) }, value))] as const;
    }),
  );
  return { ...graph, initializers };
}

/** Inputs of a graph for a batch: tokens and labels below their limits, everything else normal. */
function feedsOf(graph: Graph, one: ModelCase, batch: number): Feeds {
  const random = new Random(31);
  const sizes = new Map([["N", batch], ...Object.entries(one.sizes ?? {})]);
  const given = graph.inputs.filter(({ name }) => !graph.initializers.has(name));
  return new Map(
    given.map(({ name, dtype, shape = [] }): [ValueName, Array64] => {
      const dims = shape.map((dim) => (typeof dim === "number" ? dim : (sizes.get(dim) ?? 1)));
      const length = sizeOf(dims);
      if (isFloat(dtype)) {
        const drawn = Array.from({ length }, () => Math.fround(random.normal()));
        return [name, floats(dims, drawn)];
      }
      const limit = one.limits?.[name] ?? 1;
      return [
        name,
        array(
          dtype,
          dims,
          Array.from({ length }, () => random.integer(limit)),
        ),
      ];
    }),
  );
}

/** The part of a graph that computes the loss. */
function forwardOf({ graph, loss }: GraphWithGradients): Graph {
  const read = reaching(graph.nodes, [loss]);
  return { ...graph, nodes: graph.nodes.filter((node) => node.outputs.some((o) => read.has(o))) };
}

/** The largest element of a gradient, or what counts as one. */
function scaleOf(gradient: Array64, largest: number): number {
  return gradient.values.reduce((top, v) => Math.max(top, Math.abs(v)), SCALE_MIN * largest);
}

/** The gradients of a network, and what they are of. */
interface Gradients {
  readonly made: GraphWithGradients;
  readonly feeds: Feeds;
  readonly found: ReadonlyMap<ValueName, Array64>;
  readonly loss: number;
  /** The largest element of all gradients. */
  readonly largest: number;
}

function gradientsOf(made: GraphWithGradients, feeds: Feeds): Gradients {
  const values = evaluate(made.graph, feeds);
  // Without axes are the constants of layers, such as the number that hides what is masked.
  const found = new Map(
    [...made.gradients]
      .map(([name, output]) => [name, present(values.get(output), output)] as const)
      .filter(([, gradient]) => gradient.shape.length > 0),
  );
  const largest = Math.max(...[...found.values()].map((one) => scaleOf(one, 0)));
  const loss = values.get(made.loss)?.values[0] ?? Number.NaN;
  return { made, feeds, found, loss, largest };
}

/** Compares every gradient with central differences; gives the worst difference. */
function againstDifferences(one: Gradients, thorough: Thoroughness, faults: string[]): number {
  const forward = forwardOf(one.made);
  const base = new Map(one.feeds);
  let worst = 0;
  for (const [name, gradient] of one.found) {
    const start = arrayOf(present(forward.initializers.get(name), name));
    if (gradient.shape.join() !== start.shape.join()) {
      faults.push(`the gradient of ${name} is [${gradient.shape}], not [${start.shape}]`);
      continue;
    }
    const loss = (direction: Float64Array, by: number): number => {
      const values = start.values.map((v, i) => v + by * (direction[i] ?? 0));
      base.set(name, { ...start, values });
      return evaluate(forward, base).get(one.made.loss)?.values[0] ?? Number.NaN;
    };
    const scale = scaleOf(gradient, one.largest);
    for (const direction of directionsOf(start, thorough)) {
      const expected = (loss(direction, EPSILON) - loss(direction, -EPSILON)) / (2 * EPSILON);
      const product = gradient.values.reduce((sum, g, i) => sum + g * (direction[i] ?? 0), 0);
      const error = Math.abs(product - expected);
      worst = Math.max(worst, error / scale);
      if (error <= RELATIVE * scale + ROUNDING * Math.max(1, Math.abs(one.loss))) continue;
      faults.push(`the gradient of ${name} is ${product}, differences say ${expected}`);
    }
    base.delete(name);
  }
  return worst;
}

/** One direction of length 1, and directions along single elements. */
function directionsOf(start: Array64, { entries }: Thoroughness): Float64Array[] {
  const { length } = start.values;
  const random = new Random(length, 3);
  const drawn = start.values.map(() => random.normal() / Math.sqrt(length));
  const alone = Array.from({ length: Math.min(entries, length) }, () => {
    const direction = new Float64Array(length);
    direction[random.integer(length)] = 1;
    return direction;
  });
  return [drawn, ...alone];
}

/** The greatest difference of each gradient to another way of computing it; faults above a tolerance. */
function compared(
  expected: Gradients,
  found: ReadonlyMap<ValueName, Array64>,
  told: { readonly what: string; readonly tolerance: number; readonly faults: string[] },
): number {
  let worst = 0;
  for (const [name, gradient] of expected.found) {
    const other = found.get(name);
    const same = other?.shape.join() === gradient.shape.join();
    const scale = scaleOf(gradient, expected.largest);
    const error = same
      ? gradient.values.reduce(
          (top, v, i) => Math.max(top, Math.abs(v - (other?.values[i] ?? Number.NaN)) / scale),
          0,
        )
      : Number.NaN;
    worst = Math.max(worst, error);
    if (!(error <= told.tolerance)) {
      told.faults.push(`${told.what}: the gradient of ${name} is ${error} of its scale off`);
    }
  }
  return worst;
}

/** The gradients as the runtime computes them in float32. */
async function onRuntime(one: Gradients): Promise<Map<ValueName, Array64>> {
  const bytes = encodeModel(modelOf(one.made.graph));
  await using session = await inProcessRunner().load({ bytes });
  const feeds = new Map([...one.feeds].map(([name, value]) => [name, tensorOf(value)]));
  const results = await session.run(feeds);
  return new Map(
    [...one.made.gradients].map(([name, output]) => [
      name,
      arrayOf(present(results.get(output), output)),
    ]),
  );
}

function built(one: ModelCase, mode: "train" | "eval"): Graph {
  const form = mode === "train" ? "training" : "inference";
  return shaken(buildNet(one.build(), { input: one.input, output: "y", seed: 1, mode: form }));
}

/** The graph with the sizes of a batch in the place of symbols. */
function bound(graph: Graph, one: ModelCase, batch: number): Graph {
  return inferShapes(graph, new Map([["N", batch], ...Object.entries(one.sizes ?? {})]));
}

function optionsOf(one: ModelCase, mode: "train" | "eval"): GradientOptions {
  return { loss: one.loss, mode };
}

/** Checks the gradients of one network. Faults of any kind are told, not thrown. */
export async function checkModel(one: ModelCase, thorough: Thoroughness): Promise<ModelFinding> {
  const faults: string[] = [];
  let [worst64, worst32, parameters] = [0, 0, 0];
  try {
    const graph = built(one, "train");
    const made = withGradients(bound(graph, one, 2), optionsOf(one, "train"));
    const told = verify(made.graph).filter((fault) => fault.severity !== "info");
    faults.push(...told.map((fault) => `${fault.id}: ${fault.where} ${fault.text}`));
    const own = gradientsOf(made, feedsOf(made.graph, one, 2));
    parameters = own.found.size;
    if (!Number.isFinite(own.loss)) faults.push(`the loss is ${own.loss}`);
    for (const [name, gradient] of own.found) {
      if (one.zero?.test(name) && scaleOf(gradient, 0) > SAME * own.largest) {
        faults.push(`the gradient of ${name} is not zero`);
      }
    }
    worst64 = againstDifferences(own, thorough, faults);
    const runtime = await onRuntime(own);
    worst32 = compared(own, runtime, { what: "float32", tolerance: FLOAT32, faults });
    againstOpenSizes(graph, one, own, faults);
  } catch (error) {
    faults.push(messageOf(error));
  }
  return { name: one.name, faults, parameters, worst64, worst32 };
}

/** One graph whose sizes are read when it runs gives the same as one made for each size. */
function againstOpenSizes(graph: Graph, one: ModelCase, own: Gradients, faults: string[]): void {
  const open = withGradients(graph, optionsOf(one, "train"));
  const more = withGradients(bound(graph, one, 3), optionsOf(one, "train"));
  for (const fixed of [own, gradientsOf(more, feedsOf(more.graph, one, 3))]) {
    const { found } = gradientsOf(open, fixed.feeds);
    const what = `sizes read at run time, loss ${fixed.loss}`;
    compared(fixed, found, { what, tolerance: SAME, faults });
  }
}

/** Other forms of one network as a file, in which it computes the same. */
const FORMS: readonly ExportForm[] = [{ form: "functions" }, { form: "optimized" }];

/** Compares the gradients of one network, as it is used, in all forms of export. */
export async function checkForms(one: ModelCase, thorough: Thoroughness): Promise<ModelFinding> {
  const faults: string[] = [];
  let [worst64, worst32, parameters] = [0, 0, 0];
  try {
    const graph = bound(built(one, "eval"), one, 2);
    const plain = withGradients((await exportModel(graph)).graph, optionsOf(one, "eval"));
    const feeds = feedsOf(plain.graph, one, 2);
    const own = gradientsOf(plain, feeds);
    for (const form of FORMS) {
      const other = (await exportModel(graph, form)).graph;
      const made = withGradients(other, optionsOf(one, "eval"));
      const there = gradientsOf(made, feeds);
      const off = Math.abs(there.loss - own.loss);
      if (!(off <= 1e-5)) faults.push(`${form.form}: the loss is ${off} off`);
      // Weights that a form has folded into others have gradients of their own there.
      const apart = form.form === "optimized" ? one.apart : undefined;
      const kept = [...own.found].filter(
        ([name]) => isSame(graph, other, name) && apart?.test(name) !== true,
      );
      if (kept.length === 0) faults.push(`${form.form}: keeps no weight`);
      parameters += kept.length;
      const among = { ...own, found: new Map(kept) };
      compared(among, there.found, { what: form.form, tolerance: 1e-5, faults });
      if (form.form === "optimized") worst64 = againstDifferences(there, thorough, faults);
      const runtime = await onRuntime(there);
      const what = `${form.form}, float32`;
      worst32 = Math.max(worst32, compared(there, runtime, { what, tolerance: FLOAT32, faults }));
    }
  } catch (error) {
    faults.push(messageOf(error));
  }
  return { name: one.name, faults, parameters, worst64, worst32 };
}

/**
 * Checks the gradients of a network too large for one parameter after the other: the derivative along random
 * directions of all parameters together.
 */
export async function checkTogether(one: ModelCase): Promise<ModelFinding> {
  const faults: string[] = [];
  let [worst64, worst32, parameters] = [0, 0, 0];
  try {
    const { batch = 2 } = one;
    const made = withGradients(bound(built(one, "train"), one, batch), optionsOf(one, "train"));
    const own = gradientsOf(made, feedsOf(made.graph, one, batch));
    parameters = own.found.size;
    worst64 = alongAll(own, faults);
    const told = { what: "float32", tolerance: FLOAT32_LARGE, faults };
    worst32 = compared(own, await onRuntime(own), told);
  } catch (error) {
    faults.push(messageOf(error));
  }
  return { name: one.name, faults, parameters, worst64, worst32 };
}

/** Directions of all parameters together. */
const DIRECTIONS = 2;

function alongAll(one: Gradients, faults: string[]): number {
  const forward = forwardOf(one.made);
  const random = new Random(41);
  let worst = 0;
  for (let n = 0; n < DIRECTIONS; n++) {
    const { expected, found } = slopes(one, forward, random);
    const error = Math.abs(found - expected);
    worst = Math.max(worst, error / one.largest);
    if (!(error <= RELATIVE * one.largest + ROUNDING * Math.max(1, Math.abs(one.loss)))) {
      faults.push(`along a direction the loss has slope ${expected}, its gradients say ${found}`);
    }
  }
  return worst;
}

/** The slope of the loss along a random direction: by central differences, and as the gradients say. */
function slopes(
  one: Gradients,
  forward: Graph,
  random: Random,
): { readonly expected: number; readonly found: number } {
  const count = [...one.found.values()].reduce((sum, g) => sum + g.values.length, 0);
  const directions = [...one.found].map(([name, gradient]) => ({
    name,
    gradient,
    start: arrayOf(present(forward.initializers.get(name), name)),
    along: gradient.values.map(() => random.normal() / Math.sqrt(count)),
  }));
  const loss = (by: number): number => {
    const moved = directions.map(({ name, start, along }): [ValueName, Array64] => [
      name,
      { ...start, values: start.values.map((v, i) => v + by * (along[i] ?? 0)) },
    ]);
    const values = evaluate(forward, new Map([...one.feeds, ...moved]));
    return values.get(one.made.loss)?.values[0] ?? Number.NaN;
  };
  const products = directions.map(({ gradient, along }) =>
    gradient.values.reduce((sum, g, i) => sum + g * (along[i] ?? 0), 0),
  );
  return {
    expected: (loss(EPSILON) - loss(-EPSILON)) / (2 * EPSILON),
    found: products.reduce((a, b) => a + b, 0),
  };
}

/**
 * Checks second derivatives of one network: its gradients, weighted and summed, are the loss, whose gradients
 * are built on the graph of the first ones.
 */
export function checkTwice(one: ModelCase): ModelFinding {
  const faults: string[] = [];
  let [worst64, parameters] = [0, 0];
  try {
    const made = withGradients(bound(built(one, "train"), one, 2), optionsOf(one, "train"));
    const parts = new Map(
      [...made.gradients].flatMap(([name, output]) => {
        const { shape = [] } = made.graph.initializers.get(name) ?? {};
        return shape.length === 0 ? [] : [[output, shape] as const];
      }),
    );
    const random = new Random(43);
    const first = withWeightedSum(made.graph, { parts, loss: "second", random });
    const wrt = [...made.gradients].flatMap(([name, output]) => (parts.has(output) ? [name] : []));
    const request = { loss: "second", wrt, unreached: "leave-out" } as const;
    const { graph, gradients } = differentiate(first, request);
    const own = { ...made, graph, gradients, loss: "second" };
    const found = gradientsOf(own, feedsOf(graph, one, 2));
    parameters = found.found.size;
    worst64 = alongAll(found, faults);
  } catch (error) {
    faults.push(messageOf(error));
  }
  return { name: one.name, faults, parameters, worst64, worst32: 0 };
}

function isSame(a: Graph, b: Graph, name: ValueName): boolean {
  const [one, other] = [a.initializers.get(name), b.initializers.get(name)];
  if (one === undefined || other === undefined) return false;
  const [x, y] = [arrayOf(one), arrayOf(other)];
  return x.shape.join() === y.shape.join() && x.values.every((v, i) => v === y.values[i]);
}
