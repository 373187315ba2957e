// Layers in tests: built, checked against the standard, run; and what they should compute, in float64.

import { expect } from "vitest";
import { sound } from "../../../test/sound.ts";
import { SkipwayError } from "../../base/errors.ts";
import { Random } from "../../base/random.ts";
import type { Graph } from "../../graph/graph.ts";
import { float32, float32Values, hasBytes, type Tensor } from "../../graph/tensor.ts";
import { modelOf } from "../../onnx/onnx-model.ts";
import { encodeModel } from "../../onnx/write.ts";
import { inProcessRunner } from "../../runtime/in-process.ts";
import type { Layer } from "../layer.ts";
import { type BuildOptions, buildNet } from "../net.ts";

/** Values with their shape. */
export interface Values {
  readonly shape: readonly number[];
  readonly data: readonly number[];
}

/** Random values around 0 that float32 holds exactly. */
export function randomValues(shape: readonly number[], seed = 1): Values {
  const random = new Random(seed, 0x7e57);
  const count = shape.reduce((a, b) => a * b, 1);
  return { shape, data: Array.from({ length: count }, () => Math.fround(random.normal())) };
}

/** Values of which each is computed from its index. */
export function valuesBy(
  shape: readonly number[],
  at: (index: readonly number[]) => number,
): Values {
  const count = shape.reduce((a, b) => a * b, 1);
  const data = Array.from({ length: count }, (_, flat) => {
    const index: number[] = [];
    let rest = flat;
    for (const size of shape.toReversed()) {
      index.unshift(rest % size);
      rest = Math.floor(rest / size);
    }
    return at(index);
  });
  return { shape, data };
}

/** The element at an index; 0 outside, as padding has it. */
export function element({ shape, data }: Values, index: readonly number[]): number {
  let flat = 0;
  for (const [axis, size] of shape.entries()) {
    const i = index[axis] ?? 0;
    if (i < 0 || i >= size) return 0;
    flat = flat * size + i;
  }
  return data[flat] ?? Number.NaN;
}

/** Weights that differ from each other and from what they start as: a wrong place shows. */
export function shaken(graph: Graph): Graph {
  const initializers = new Map(
    [...graph.initializers].map(([name, ref]) => {
      if (ref.dtype !== "float32" || ref.shape.length === 0) return [name, ref];
      const { data } = randomValues(ref.shape, name.length + 3);
      // A variance is positive.
      const values = name.endsWith("variance") ? data.map((v) => 0.5 + v * v) : data;
      return [name, float32(ref.shape, values)];
    }),
  );
  return { ...graph, initializers };
}

/** A layer as a graph on examples of this shape, sound, with shaken weights. */
export function built(
  layer: Layer,
  shape: BuildOptions["input"]["shape"],
  more: Partial<BuildOptions> = {},
): Graph {
  const input = { name: "x", shape };
  return sound(shaken(buildNet(layer, { input, output: "y", seed: 1, ...more })));
}

/** The weight of that name. */
export function weightOf(graph: Graph, name: string): Values {
  const ref = graph.initializers.get(name);
  if (ref === undefined || !hasBytes(ref)) throw new TypeError(`no weight ${name}`);
  return { shape: ref.shape, data: [...float32Values(ref)] };
}

/** What the runtime makes of tensors. */
export async function runWith(
  graph: Graph,
  feeds: Record<string, Tensor>,
): Promise<Map<string, Values>> {
  const session = await inProcessRunner().load({ bytes: encodeModel(modelOf(graph)) });
  try {
    const found = await session.run(new Map(Object.entries(feeds)));
    return new Map(
      [...found].map(([name, t]) => [name, { shape: t.shape, data: [...float32Values(t)] }]),
    );
  } finally {
    await session.close();
  }
}

/** What the runtime makes of one value. */
export async function runOn(graph: Graph, x: Values): Promise<Values> {
  const found = await runWith(graph, { x: float32(x.shape, x.data) });
  return found.get("y") ?? { shape: [], data: [] };
}

/** The largest difference, in units of 1 + |wanted|; infinite where shapes differ. */
export function distance(found: Values, wanted: Values): number {
  if (found.shape.join() !== wanted.shape.join()) return Number.POSITIVE_INFINITY;
  const apart = wanted.data.map(
    (w, i) => Math.abs((found.data[i] ?? Number.NaN) - w) / (1 + Math.abs(w)),
  );
  return Math.max(0, ...apart.map((d) => (Number.isNaN(d) ? Number.POSITIVE_INFINITY : d)));
}

/** The first finding of a network that cannot be built. */
export function findingOf(
  layer: Layer,
  shape: BuildOptions["input"]["shape"],
): { id: string; text: string; fix?: string | undefined; where: string } | undefined {
  try {
    buildNet(layer, { input: { name: "x", shape }, output: "y", seed: 1, weights: "absent" });
  } catch (error) {
    if (error instanceof SkipwayError) return error.diagnostics[0];
    throw error;
  }
  return undefined;
}

/** float32 against float64 over sums of a hundred products. */
export const CLOSE = 1e-5;

/** A layer agrees with its definition, in values and in the shape that is known before. */
export async function agrees(
  layer: Layer,
  x: Values,
  define: (x: Values, weight: (name: string) => Values, graph: Graph) => Values,
): Promise<void> {
  const graph = built(layer, x.shape.slice(1));
  const wanted = define(x, (name) => weightOf(graph, name), graph);
  expect(distance(await runOn(graph, x), wanted)).toBeLessThan(CLOSE);
  // The same where the sizes behind the channels are not known before.
  const declared = graph.outputs[0]?.shape?.slice(1);
  expect(declared).toEqual(wanted.shape.slice(1));
}
