import { describe, expect, test } from "vitest";
import { sound } from "../../test/sound.ts";
import { TypedBuilder } from "../canonical/typed-builder.ts";
import type { DType } from "../graph/dtype.ts";
import { type Graph, int, intAttribute, ints } from "../graph/graph.ts";
import type { Shape } from "../graph/shape.ts";
import { float32, int64, scalar } from "../graph/tensor.ts";
import * as nn from "../nn/index.ts";
import { distance, noise, run } from "../nn/layers/attention.test-helper.ts";
import { gatherFlat } from "../train/layout.ts";
import { ports, trainingProgram } from "../train/program.ts";
import { withFusedProducts } from "./fused-products.ts";

function graphOf(
  inputs: Readonly<Record<string, Shape>>,
  build: (builder: TypedBuilder) => string,
  dtype: DType = "float32",
): Graph {
  const builder = new TypedBuilder(undefined, 20);
  for (const [name, shape] of Object.entries(inputs)) builder.input(name, dtype, shape);
  const name = build(builder);
  builder.output({ name, dtype, shape: builder.typeOf(name)?.shape });
  return sound(builder.finish("products", new Map([["", 20]])));
}

const turned = (builder: TypedBuilder, x: string, perm: readonly number[]): string =>
  builder.emit("Transpose", [x], { attributes: { perm: ints(perm) } });

const summed = (builder: TypedBuilder, x: string, axes: readonly number[], keep: number): string =>
  builder.emit("ReduceSum", [x, builder.constant(int64([axes.length], axes), "axes")], {
    attributes: { keepdims: int(keep) },
  });

const ops = (graph: Graph): readonly string[] => graph.nodes.map((node) => node.op).toSorted();

async function same(graph: Graph, expected: readonly string[]): Promise<void> {
  const fused = sound(withFusedProducts(graph));
  expect(ops(fused)).toEqual(expected);
  const feeds = Object.fromEntries(
    graph.inputs.map(({ name, shape }, i) => {
      const sizes = (shape ?? []).map(Number);
      const count = sizes.reduce((a, b) => a * b, 1);
      return [name, float32(sizes, noise(count, i + 1))];
    }),
  );
  const [plain, other] = await Promise.all([run(graph, feeds), run(fused, feeds)]);
  for (const [name, values] of plain) expect(distance(other.get(name), values)).toBeLessThan(1e-5);
}

describe("products of matrices for the runtime", () => {
  test("an operand with its last axes swapped", async () => {
    const left = graphOf({ a: [2, 3, 4], b: [2, 3, 5] }, (b) =>
      b.emit("MatMul", [turned(b, "a", [0, 2, 1]), "b"]),
    );
    await same(left, ["FusedMatMul"]);
    const both = graphOf({ a: [3, 4], b: [5, 3] }, (b) =>
      b.emit("MatMul", [turned(b, "a", [1, 0]), turned(b, "b", [1, 0])]),
    );
    await same(both, ["FusedMatMul"]);
  });

  test("a value that is there in the order of whole rows is read, not copied again", async () => {
    const graph = graphOf({ k: [2, 3, 2, 4], q: [2, 2, 3, 4] }, (b) => {
      const heads = turned(b, "k", [0, 2, 1, 3]);
      return b.emit("MatMul", [b.emit("MatMul", ["q", turned(b, "k", [0, 2, 3, 1])]), heads]);
    });
    await same(graph, ["FusedMatMul", "MatMul", "Transpose"]);
  });

  test("sums of many rows, with and without axes of 1", async () => {
    for (const keep of [0, 1]) {
      const graph = graphOf({ x: [8, 9, 5] }, (b) => summed(b, "x", [0, -2], keep));
      await same(graph, ["MatMul", "Reshape", "Reshape"]);
    }
  });

  test("whatever is none of these stays as it is", async () => {
    await same(
      graphOf({ a: [4, 3, 2], b: [3, 5] }, (b) =>
        b.emit("MatMul", [turned(b, "a", [2, 0, 1]), "b"]),
      ),
      ["MatMul", "Transpose"],
    );
    for (const axes of [[0], [1, 2], [0, 1, 2]]) {
      await same(
        graphOf({ x: [8, 9, 5] }, (b) => summed(b, "x", axes, 1)),
        ["ReduceSum"],
      );
    }
    const few = graphOf({ x: [7, 9, 5] }, (b) => summed(b, "x", [0, 1], 1));
    await same(few, ["ReduceSum"]);
    const double = graphOf(
      { a: [90, 3], b: [90, 2] },
      (b) =>
        b.emit("Add", [b.emit("MatMul", [turned(b, "a", [1, 0]), "b"]), summed(b, "b", [0], 1)]),
      "float64",
    );
    expect(ops(withFusedProducts(double))).toEqual(ops(double));
  });

  test("a training step of an encoder is the same", async () => {
    const net = nn.sequential(
      nn.positions(16),
      nn.transformer({ attention: { heads: 2 } }),
      nn.layer("mean", (inner, x) =>
        inner.emit("ReduceMean", [x, inner.constant(int64([1], [1]), "axes")], {
          attributes: { keepdims: int(0) },
        }),
      ),
      nn.dense(3),
    );
    const graph = nn.buildNet(net, { input: { name: "x", shape: [16, 8] }, seed: 1 });
    const optimizer = nn.sgd({ rate: 0.1, momentum: 0.9 });
    const [plain, fused] = [false, true].map((fusedProducts) =>
      trainingProgram(graph, { batch: 4, optimizer, watch: [], fusedProducts }),
    );
    if (plain === undefined || fused === undefined) throw new Error("there are two programs");
    const { count } = plain.parameters;
    const feeds = {
      x: float32([4, 16, 8], noise(4 * 16 * 8, 1)),
      [ports.label]: int64([4], [0, 1, 2, 1]),
      [ports.parameters]: float32([count], gatherFlat(graph, plain.parameters)),
      [ports.momentum]: float32([count], new Float32Array(count)),
      [ports.rate]: scalar(0.1),
    };
    const [a, b] = [await run(plain.graph, feeds), await run(sound(fused.graph), feeds)];
    for (const [name, values] of a) expect(distance(b.get(name), values)).toBeLessThan(1e-5);
    const turnedInside = fused.graph.nodes.filter(
      (node) =>
        node.op === "FusedMatMul" &&
        intAttribute(node, "transA", 0) + intAttribute(node, "transB", 0) > 0,
    );
    // q·kᵀ and, of its gradients and those of the other three kinds of products, one or two each.
    expect(turnedInside.length).toBeGreaterThanOrEqual(9);
  });
});
