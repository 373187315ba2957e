import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { limits } from "../base/limits.ts";
import { GraphBuilder } from "../graph/build.ts";
import { type Graph, int } from "../graph/graph.ts";
import { float32, hasBytes, int64, numbersOf, type Tensor } from "../graph/tensor.ts";
import { modelOf } from "../onnx/onnx-model.ts";
import { encodeModel } from "../onnx/write.ts";
import { inProcessRunner } from "../runtime/in-process.ts";
import { canonicalize } from "./canonical.ts";

const OPSETS = new Map([["", 20]]);

/** x + c, where the last of the constants is c. */
function sum(shape: readonly number[], fill: (b: GraphBuilder) => void): Graph {
  const b = new GraphBuilder();
  b.input("x", "float32", shape);
  fill(b);
  b.emit("Add", ["x", "c"], { outputs: ["y"] });
  b.output({ name: "y", dtype: "float32", shape: undefined });
  return b.finish("g", OPSETS);
}

function zeros(shape: readonly number[]): Tensor {
  return float32(shape, new Float32Array(shape.reduce((a, b) => a * b, 1)));
}

async function runtimeSays(graph: Graph, shape: readonly number[]): Promise<number[]> {
  await using session = await inProcessRunner().load({ bytes: encodeModel(modelOf(graph)) });
  const found = await session.run(new Map([["x", zeros(shape)]]));
  const y = found.get("y");
  return (y && numbersOf(y)) ?? [];
}

function found(graph: Graph): number[] | undefined {
  const ref = canonicalize(graph).initializers.get("c");
  return ref && numbersOf(ref);
}

describe("small constants", () => {
  test("integers that are turned, cut and joined", async () => {
    const bound = fc.constantFrom(-9, -3, -2, -1, 0, 1, 2, 3, 9);
    const cut = fc.record({ start: bound, end: bound, step: fc.constantFrom(-2, -1, 1, 2) });
    const values = fc.array(fc.integer({ min: -99, max: 99 }), { minLength: 6, maxLength: 6 });
    await fc.assert(
      fc.asyncProperty(values, cut, fc.boolean(), fc.boolean(), async (a, by, turn, join) => {
        const graph = sum([], (builder) => {
          builder.initializer("a", int64([3, 2], a));
          const given = { start: by.start, end: by.end, step: by.step, axis: turn ? 1 : -2 };
          for (const [name, value] of Object.entries(given)) {
            builder.initializer(name, int64([1], [value]));
          }
          builder.emit(turn ? "Transpose" : "Identity", ["a"], { outputs: ["a1"] });
          builder.emit("Slice", ["a1", "start", "end", "axis", "step"], { outputs: ["a2"] });
          const parts = join ? ["a1", "a2", "a1"] : ["a2"];
          const axis = turn ? -1 : 0;
          builder.emit("Concat", parts, { outputs: ["a3"], attributes: { axis: int(axis) } });
          builder.emit("Cast", ["a3"], { outputs: ["c"], attributes: { to: int(1) } });
        });
        const expected = await runtimeSays(graph, []);
        // What is empty is not computed.
        if (expected.length > 0 || join) expect(found(graph)).toEqual(expected);
      }),
      { numRuns: 60 },
    );
  });

  test("are joined, as the scales of a Resize are", () => {
    const graph = sum([4], (builder) => {
      builder.initializer("a", float32([1], [3]));
      builder.initializer("b", float32([3], [0.5, 1, 2]));
      builder.emit("Concat", ["a", "b"], { outputs: ["c"], attributes: { axis: int(0) } });
    });
    expect(found(graph)).toEqual([3, 0.5, 1, 2]);
  });

  test("are what the runtime computes, broadcasting included", async () => {
    const value = fc.integer({ min: 1, max: 40 }).map((n) => n / 8);
    const binary = fc.constantFrom("Add", "Sub", "Mul", "Div", "Pow");
    const unary = fc.constantFrom("Sqrt", "Reciprocal", "Neg", "Abs", "Exp", "Identity");
    const values = fc.array(value, { minLength: 6, maxLength: 6 });
    await fc.assert(
      fc.asyncProperty(binary, unary, values, values, async (two, one, a, b) => {
        const graph = sum([2, 3, 2], (builder) => {
          builder.initializer("a", float32([2, 1, 2], a.slice(0, 4)));
          builder.initializer("b", float32([3, 1], b.slice(0, 3)));
          builder.emit(one, ["a"], { outputs: ["a1"] });
          builder.emit(two, ["a1", "b"], { outputs: ["c"] });
        });
        const expected = await runtimeSays(graph, [2, 3, 2]);
        const given = found(graph) ?? [];
        expect(given).toHaveLength(12);
        given.forEach((n, i) => {
          if (Number.isNaN(n)) expect(expected[i]).toBeNaN();
          else expect(Math.abs(n - (expected[i] ?? 0)) / (1 + Math.abs(n))).toBeLessThan(1e-6);
        });
      }),
      { numRuns: 60 },
    );
  });

  test("the scale of attention from a static shape, and a scalar spread over one", async () => {
    const graph = sum([4, 64], (b) => {
      b.initializer("last", int64([], [1]));
      b.initializer("target", int64([2], [4, 64]));
      b.emit("Shape", ["x"], { outputs: ["shape"] });
      b.emit("Gather", ["shape", "last"], { outputs: ["d"], attributes: { axis: int(0) } });
      b.emit("Cast", ["d"], { outputs: ["df"], attributes: { to: int(1) } });
      b.emit("Sqrt", ["df"], { outputs: ["root"] });
      b.emit("Reciprocal", ["root"], { outputs: ["scale"] });
      b.emit("Expand", ["scale", "target"], { outputs: ["c"] });
    });
    expect(found(graph)).toEqual(await runtimeSays(graph, [4, 64]));
    expect(found(graph)?.[7]).toBe(0.125);
  });

  test("a filled tensor; a large one stays a size without elements", () => {
    const filled = (n: number): Graph =>
      sum([n], (b) => {
        b.initializer("n", int64([1], [n]));
        const fill = { kind: "tensor" as const, value: float32([1], [0.5]) };
        b.emit("ConstantOfShape", ["n"], { outputs: ["c"], attributes: { value: fill } });
      });
    expect(found(filled(3))).toEqual([0.5, 0.5, 0.5]);
    const large = canonicalize(filled(limits.computedConstantMax + 1)).initializers.get("c");
    expect(large && hasBytes(large)).toBe(false);
  });
});
