// Gradients of ops against central differences of the forward, both computed by the runtime: in double
// where it has kernels for that, else in single. The loss is a random weighted sum of all float outputs.

import { expect } from "vitest";
import { SkipwayError } from "../base/errors.ts";
import { Random } from "../base/random.ts";
import { inferShapes } from "../canonical/infer-shapes.ts";
import { TypedBuilder } from "../canonical/typed-builder.ts";
import { isFloat } from "../graph/dtype.ts";
import { type Graph, int, type ValueName } from "../graph/graph.ts";
import type { Shape } from "../graph/shape.ts";
import { bytesOf, numbersOf, type Tensor, tensor } from "../graph/tensor.ts";
import { modelOf } from "../onnx/onnx-model.ts";
import { encodeModel } from "../onnx/write.ts";
import { type Differentiated, differentiate } from "../passes/gradient/differentiate.ts";
import { inProcessRunner } from "../runtime/in-process.ts";
import type { Session } from "../runtime/runner.ts";
import { castTo } from "./construct.ts";
import { verify } from "./verify.ts";

/** A float type of the runtime. */
export type Precision = "float64" | "float32";

/** A float input: its sizes, what maps standard normals to its values, and the shape that the graph declares. */
export interface Operand {
  readonly shape: readonly number[];
  readonly domain?: (value: number) => number;
  readonly declared?: Shape;
}

/** An op, or a few of them, to be checked. */
export interface Check {
  readonly inputs: readonly (readonly number[] | Operand)[];
  /** Adds the ops under test to the graph; gives their outputs. */
  readonly build: (builder: TypedBuilder, x: readonly ValueName[]) => readonly ValueName[];
  /** Which inputs are differentiated; all if left out. */
  readonly wrt?: readonly number[];
  readonly precision?: Precision;
  readonly opset?: number;
  /** Further inputs, such as labels. */
  readonly feeds?: Readonly<Record<string, Tensor>>;
  /** Second derivatives too: the gradient of a random sum of the gradients. */
  readonly second?: true;
}

/** A tensor of a float type. */
export function floats(
  dtype: Precision,
  shape: readonly number[],
  values: ArrayLike<number>,
): Tensor {
  const array = dtype === "float64" ? Float64Array.from(values) : Float32Array.from(values);
  return tensor(dtype, shape, bytesOf(array));
}

/** Standard normals. */
export function normals(random: Random, shape: readonly number[]): number[] {
  return Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => random.normal());
}

/** Runs a graph for some of its values. */
export async function open(graph: Graph, names: readonly ValueName[]): Promise<Session> {
  const outputs = names.map((name) => ({
    name,
    dtype: graph.values.get(name)?.dtype ?? ("float32" as const),
    shape: undefined,
  }));
  return inProcessRunner().load({ bytes: encodeModel(modelOf({ ...graph, outputs })) });
}

/** The elements of a result. */
export function valuesOf(result: ReadonlyMap<string, Tensor>, name: ValueName): number[] {
  const found = result.get(name);
  return (found && numbersOf(found)) ?? [];
}

/** Adds the sum of random multiples of values; the multiples are inputs of the shapes given. */
function addLoss(
  builder: TypedBuilder,
  name: string,
  values: readonly { readonly name: ValueName; readonly shape: readonly number[] }[],
  to: {
    readonly feeds: Map<string, Tensor>;
    readonly precision: Precision;
    readonly random: Random;
  },
): void {
  const terms = values.map((value, i) => {
    const dtype = builder.typeOf(value.name)?.dtype === "float64" ? "float64" : "float32";
    const weights = builder.input(`${name}_weight${i}`, dtype, value.shape);
    to.feeds.set(weights, floats(dtype, value.shape, normals(to.random, value.shape)));
    const sum = builder.emit("ReduceSum", [builder.emit("Mul", [value.name, weights])], {
      attributes: { keepdims: int(0) },
    });
    return castTo(builder, sum, to.precision);
  });
  builder.emit("Sum", terms, { outputs: [name], name });
}

const TOLERANCE = { float64: { step: 1e-5, error: 1e-6 }, float32: { step: 2e-2, error: 5e-3 } };

interface Start {
  readonly builder: TypedBuilder;
  readonly names: readonly ValueName[];
  readonly outputs: readonly ValueName[];
}

function start(check: Check, precision: Precision): Start {
  const builder = new TypedBuilder(undefined, check.opset ?? 20);
  for (const [name, value] of Object.entries(check.feeds ?? {})) {
    builder.input(name, value.dtype, value.shape);
  }
  const names = check.inputs
    .map(operandOf)
    .map(({ shape, declared }, i) => builder.input(`x${i}`, precision, declared ?? shape));
  const outputs = check
    .build(builder, names)
    .filter((name) => isFloat(builder.typeOf(name)?.dtype ?? "int64"));
  return { builder, names, outputs };
}

function operandOf(given: readonly number[] | Operand): Operand {
  return "shape" in given ? given : { shape: given };
}

/** Compares first, and where asked second, derivatives with differences; the graph with the first ones. */
export async function checkGradient(check: Check, seed = 1): Promise<Graph> {
  const random = new Random(seed);
  const precision = check.precision ?? "float64";
  const opsets = new Map([
    ["", check.opset ?? 20],
    ["com.microsoft", 1],
  ]);
  const feeds = new Map<string, Tensor>(Object.entries(check.feeds ?? {}));
  for (const [i, { shape, domain }] of check.inputs.map(operandOf).entries()) {
    const values = normals(random, shape);
    feeds.set(
      `x${i}`,
      floats(precision, shape, domain === undefined ? values : values.map(domain)),
    );
  }
  const plain = start(check, precision);
  await using forward = await open(plain.builder.finish("forward", opsets), plain.outputs);
  const results = await forward.run(feeds);
  const { builder, names, outputs } = start(check, precision);
  const given = { feeds, precision, random };
  const sized = outputs.map((name) => ({ name, shape: results.get(name)?.shape ?? [] }));
  addLoss(builder, "loss", sized, given);
  const graph = inferShapes(builder.finish("case", opsets));
  const wrt = (check.wrt ?? names.map((_, i) => i)).map((i) => names[i] ?? "");
  const first = differentiate(graph, { loss: "loss", wrt });
  expect(verify(first.graph).filter((one) => one.id !== "ops/deprecated")).toEqual([]);
  await compare(graph, "loss", wrt, first, given);
  if (check.second !== true) return first.graph;
  const again = new TypedBuilder(first.graph);
  const gradients = wrt.map((name) => ({
    name: first.gradients.get(name) ?? "",
    shape: feeds.get(name)?.shape ?? [],
  }));
  addLoss(again, "second", gradients, given);
  const twice = again.finish("case", opsets);
  const curved = wrt.filter((name) => reaches(twice, name));
  const made = differentiate(twice, { loss: "second", wrt: curved });
  await compare(twice, "second", curved, made, given);
  return first.graph;
}

/** Whether the gradients depend on an input by a differentiable path; where the op is linear they do not. */
function reaches(graph: Graph, name: ValueName): boolean {
  try {
    differentiate(graph, { loss: "second", wrt: [name] });
    return true;
  } catch (error) {
    if (error instanceof SkipwayError && error.diagnostics[0]?.id === "gradient/no-path")
      return false;
    throw error;
  }
}

/** Directions, and single elements, in which each input is moved. */
const DIRECTIONS = 2;
const ELEMENTS = 8;

async function compare(
  graph: Graph,
  loss: ValueName,
  wrt: readonly ValueName[],
  made: Differentiated,
  given: {
    readonly feeds: Map<string, Tensor>;
    readonly precision: Precision;
    readonly random: Random;
  },
): Promise<void> {
  const { feeds, precision, random } = given;
  await using forward = await open(graph, [loss]);
  const targets = wrt.map((name) => made.gradients.get(name) ?? "");
  await using backward = await open(made.graph, targets);
  const found = await backward.run(feeds);
  const { step, error } = TOLERANCE[precision];
  for (const [i, name] of wrt.entries()) {
    const input = feeds.get(name);
    const gradient = valuesOf(found, targets[i] ?? "");
    expect(found.get(targets[i] ?? "")?.shape, `shape of the gradient of ${name}`).toEqual(
      input?.shape,
    );
    const values = (input && numbersOf(input)) ?? [];
    const moved = async (by: number, direction: readonly number[]): Promise<number> => {
      const shifted = values.map((v, k) => v + by * (direction[k] ?? 0));
      const result = await forward.run(
        new Map(feeds).set(name, floats(precision, input?.shape ?? [], shifted)),
      );
      return valuesOf(result, loss)[0] ?? Number.NaN;
    };
    const scale = Math.max(1, ...gradient.map(Math.abs));
    for (const direction of directionsOf(values.length, random)) {
      const slope = ((await moved(step, direction)) - (await moved(-step, direction))) / (2 * step);
      const expected = gradient.reduce((sum, g, k) => sum + g * (direction[k] ?? 0), 0);
      expect(Math.abs(slope - expected) / scale, `${name}: ${expected} for ${slope}`).toBeLessThan(
        error,
      );
    }
  }
}

/** Random directions of length 1, and single elements. */
function directionsOf(count: number, random: Random): number[][] {
  const zeros = (): number[] => new Array<number>(count).fill(0);
  const whole = Array.from({ length: DIRECTIONS }, () => {
    const direction = zeros().map(() => random.normal());
    const length = Math.hypot(...direction);
    return direction.map((v) => v / length);
  });
  const single = Array.from({ length: Math.min(count, ELEMENTS) }, (_, i) => {
    const one = zeros();
    one[count <= ELEMENTS ? i : random.integer(count)] = 1;
    return one;
  });
  return [...whole, ...single];
}
