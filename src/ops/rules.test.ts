import { describe, expect, test } from "vitest";
import { SkipwayError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { TypedBuilder } from "../canonical/typed-builder.ts";
import { type Attribute, int, type Node } from "../graph/graph.ts";
import type { Shape } from "../graph/shape.ts";
import { float32, int64, type Tensor } from "../graph/tensor.ts";
import { modelOf } from "../onnx/onnx-model.ts";
import { encodeModel } from "../onnx/write.ts";
import { inProcessRunner } from "../runtime/in-process.ts";
import { unbroadcast } from "./construct.ts";
import { integers, overDim, plusDim, timesDim } from "./rules.ts";

const NODE: Node = {
  name: "add",
  op: "Add",
  domain: "",
  inputs: [],
  outputs: [],
  attributes: new Map(),
};

/** What a gradient of one shape becomes for an operand of another. */
function summed(from: Shape, to: Shape): Shape | undefined {
  const b = new TypedBuilder();
  b.input("dy", "float32", from);
  b.input("x", "float32", to);
  return b.typeOf(unbroadcast(b, "dy", "x", NODE))?.shape;
}

describe("gradients of broadcast operands", () => {
  test("are summed to the operand's shape", () => {
    expect(summed([4, 2, 3], [2, 1])).toEqual([2, 1]);
    expect(summed(["N", 2, 3], ["N", 1, 3])).toEqual(["N", 1, 3]);
    expect(summed(["N", 3], ["N", 3])).toEqual(["N", 3]);
    expect(summed(["N", 3], [3])).toEqual([3]);
  });

  test("where it is not known whether an axis was broadcast, it is found at run time", async () => {
    const b = new TypedBuilder();
    b.input("dy", "float32", ["M", "K", 3]);
    b.input("x", "float32", ["N", 3]);
    const total = b.emit("Identity", [unbroadcast(b, "dy", "x", NODE)], { outputs: ["total"] });
    b.output({ name: total, dtype: "float32", shape: ["N", 3] });
    const graph = b.finish("sum", new Map([["", 20]]));
    await using session = await inProcessRunner().load({ bytes: encodeModel(modelOf(graph)) });
    const run = async (dy: Tensor, x: Tensor): Promise<Tensor | undefined> =>
      (
        await session.run(
          new Map([
            ["dy", dy],
            ["x", x],
          ]),
        )
      ).get("total");
    const ones = (shape: readonly number[]): Tensor =>
      float32(shape, new Array(shape.reduce((m, n) => m * n, 1)).fill(1));
    expect(await run(ones([4, 2, 3]), ones([1, 3]))).toEqual(float32([1, 3], [8, 8, 8]));
    expect(await run(ones([4, 2, 3]), ones([2, 3]))).toEqual(float32([2, 3], [4, 4, 4, 4, 4, 4]));
  });

  test("are refused where not even the rank is known", () => {
    const b = new TypedBuilder();
    b.input("dy", "float32", [2]);
    expect(() => unbroadcast(b, "dy", "x", NODE)).toThrow(SkipwayError);
  });
});

test("arithmetic of dims: a symbol is kept only where nothing happens to it", () => {
  expect([plusDim("N", 0), plusDim(0, "N"), plusDim("N", 1), plusDim(2, 3)]).toEqual([
    "N",
    "N",
    "?",
    5,
  ]);
  expect([timesDim(2, 3), timesDim("N", 2), overDim(49, 7), overDim(5, 2), overDim(5, 0)]).toEqual([
    6,
    "?",
    7,
    "?",
    "?",
  ]);
});

test("a constant longer than any shape needs is not read", () => {
  const long = Array.from({ length: limits.shapeConstantMax + 1 }, () => 0);
  expect(integers(int64([long.length], long))).toBeUndefined();
  expect(integers(int64([2], [3, 4]))).toEqual([3, 4]);
});

/** Shapes as the ONNX package infers them for its own examples; the runtime has no such ops. */
describe("ops newer than the runtime", () => {
  function shapes(
    op: string,
    inputs: readonly Shape[],
    given: { attributes?: Record<string, Attribute>; domain?: string; outputCount?: number },
  ): (Shape | undefined)[] {
    const b = new TypedBuilder();
    const names = inputs.map((shape, i) => b.input(`x${i}`, "float32", shape));
    return b.emitAll(op, names, given).map((name) => b.typeOf(name)?.shape);
  }

  test("linear attention has the width of its queries, and a state per head", () => {
    const attributes = { q_num_heads: int(8), kv_num_heads: int(4) };
    const inputs = [
      [2, "T", 64],
      [2, "T", 32],
      [2, "T", 48],
    ];
    expect(shapes("LinearAttention", inputs, { attributes, outputCount: 2 })).toEqual([
      [2, "T", 96],
      [2, 4, 8, 12],
    ]);
  });

  test("a causal convolution keeps the length, its state is a step shorter than the kernel", () => {
    const inputs = [
      ["N", 4, 8],
      [4, 1, 5],
    ];
    expect(shapes("CausalConvWithState", inputs, { outputCount: 2 })).toEqual([
      ["N", 4, 8],
      ["N", 4, 4],
    ]);
  });

  test("attention with functions on its scores has the width of its values", () => {
    const inputs = [
      [2, 4, 8, 16],
      [2, 4, 6, 16],
      [2, 4, 6, 32],
    ];
    const domain = "ai.onnx.preview";
    expect(shapes("FlexAttention", inputs, { domain })).toEqual([[2, 4, 8, 32]]);
  });
});
