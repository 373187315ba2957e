// For the tests of blocks: a network built, its weights as numbers, and its run on the runtime.

import { present } from "../../base/assert.ts";
import type { Graph } from "../../graph/graph.ts";
import { float32, numbersOf, type Tensor } from "../../graph/tensor.ts";
import { modelOf } from "../../onnx/onnx-model.ts";
import { encodeModel } from "../../onnx/write.ts";
import { inProcessRunner } from "../../runtime/in-process.ts";
import * as nn from "../index.ts";

/** A network over one input `x` of a shape, output `y`. */
export function build(
  root: nn.Layer,
  shape: nn.NetInput["shape"],
  more: Partial<nn.BuildOptions> = {},
): Graph {
  return nn.buildNet(root, { input: { name: "x", shape }, output: "y", seed: 7, ...more });
}

/** The numbers of a weight. */
export function weight(graph: Graph, name: string): number[] {
  return present(numbersOf(present(graph.initializers.get(name), name)), name);
}

/** The graph with other numbers in some of its weights. */
export function withWeights(graph: Graph, numbers: Readonly<Record<string, number[]>>): Graph {
  const initializers = new Map(graph.initializers);
  for (const [name, values] of Object.entries(numbers)) {
    initializers.set(name, float32(present(graph.initializers.get(name), name).shape, values));
  }
  return { ...graph, initializers };
}

/** All outputs of one run. */
export async function run(
  graph: Graph,
  feeds: Readonly<Record<string, Tensor>>,
): Promise<Map<string, number[]>> {
  await using session = await inProcessRunner().load({ bytes: encodeModel(modelOf(graph)) });
  const found = await session.run(new Map(Object.entries(feeds)));
  return new Map([...found].map(([name, one]) => [name, present(numbersOf(one), name)]));
}

/** Numbers that depend on the seed alone, from -1 to 1. */
export function numbers(count: number, seed = 1): number[] {
  return Array.from({ length: count }, (_, i) => Math.sin(12.9898 * (i + 1) * seed + seed));
}

/** The largest difference of two lists. */
export function distance(a: readonly number[] | undefined, b: readonly number[]): number {
  if (a?.length !== b.length) return Number.POSITIVE_INFINITY;
  return Math.max(...a.map((value, i) => Math.abs(value - (b[i] ?? 0))));
}

export const sigmoid = (v: number): number => 1 / (1 + Math.exp(-v));
export const relu = (v: number): number => Math.max(0, v);

/** Rows of a flat list. */
export function rows(values: readonly number[], width: number): number[][] {
  return Array.from({ length: values.length / width }, (_, i) =>
    values.slice(i * width, (i + 1) * width),
  );
}

/** `x · wᵀ + b` for one row, `w` as rows of outputs. */
export function affine(x: readonly number[], w: readonly number[], b: readonly number[]): number[] {
  return rows(w, x.length).map((row, o) =>
    row.reduce((sum, value, i) => sum + value * (x[i] ?? 0), b[o] ?? 0),
  );
}

/** How many numbers training moves; running statistics are none. */
export function parameters(graph: Graph): number {
  return [...graph.initializers]
    .filter(([name, { dtype, shape }]) => {
      return dtype === "float32" && shape.length > 0 && !name.includes(".running_");
    })
    .reduce((sum, [, { shape }]) => sum + shape.reduce((a, b) => a * b, 1), 0);
}
