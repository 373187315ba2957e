// Losses beside the cases of the gradient suite: labels that are all ignored, -∞ scores, sizes that vary.

import { describe, expect, test } from "vitest";
import { inferShapes } from "../canonical/infer-shapes.ts";
import { TypedBuilder } from "../canonical/typed-builder.ts";
import { type Attribute, int, string } from "../graph/graph.ts";
import { float32, int64 } from "../graph/tensor.ts";
import { differentiate } from "../passes/gradient/differentiate.ts";
import { checkGradient, open, valuesOf } from "./gradient.test-helper.ts";

/** Loss and gradient of two scores in each of two rows, as the runtime computes them. */
async function lossOf(
  scores: readonly number[],
  labels: readonly number[],
  attributes: Record<string, Attribute>,
) {
  const builder = new TypedBuilder();
  builder.input("scores", "float32", [2, 2]);
  builder.input("label", "int64", [2]);
  builder.emit("SoftmaxCrossEntropyLoss", ["scores", "label"], { outputs: ["loss"], attributes });
  builder.output({ name: "loss", dtype: "float32", shape: [] });
  const graph = inferShapes(builder.finish("loss", new Map([["", 20]])));
  const made = differentiate(graph, { loss: "loss", wrt: ["scores"] });
  const gradient = made.gradients.get("scores") ?? "";
  await using session = await open(made.graph, ["loss", gradient]);
  const found = await session.run(
    new Map([
      ["scores", float32([2, 2], scores)],
      ["label", int64([2], labels)],
    ]),
  );
  return { loss: valuesOf(found, "loss"), gradient: valuesOf(found, gradient) };
}

describe("cross-entropy", () => {
  test("a mean over labels that are all ignored is no number, and its gradient is 0", async () => {
    const { loss, gradient } = await lossOf([1, 2, 3, 4], [-100, -100], {
      ignore_index: int(-100),
    });
    expect(loss).toEqual([NaN]);
    expect(gradient?.map(Math.abs)).toEqual([0, 0, 0, 0]);
  });

  test("a sum over them is 0, and so is its gradient", async () => {
    const attributes = { ignore_index: int(-100), reduction: string("sum") };
    const { loss, gradient } = await lossOf([1, 2, 3, 4], [-100, -100], attributes);
    expect(loss.map(Math.abs)).toEqual([0]);
    expect(gradient.map(Math.abs)).toEqual([0, 0, 0, 0]);
  });

  test("a score of -∞ that is not the label's gets nothing", async () => {
    const { loss, gradient } = await lossOf([1, -Infinity, 0, 0], [0, 1], {});
    expect(loss[0]).toBeCloseTo(Math.log(2) / 2, 6);
    expect(gradient.map(Math.abs)).toEqual([0, 0, 0.25, 0.25]);
  });

  test("second derivatives, of sizes that vary", async () => {
    await checkGradient({
      // The runtime's kernel is of single precision.
      precision: "float32",
      inputs: [{ shape: [3, 4, 2], declared: ["N", 4, "L"] }],
      feeds: { label: int64([3, 2], [0, 1, -1, 3, 2, -1]) },
      build: (builder, x) =>
        builder.emitAll("SoftmaxCrossEntropyLoss", [...x, "label"], {
          attributes: { ignore_index: int(-1) },
          outputCount: 2,
        }),
      second: true,
    });
  });
});

/** Gradient of Σ weights · op(x) in one row. */
async function rowOf(op: string, x: readonly number[], weights: readonly number[]) {
  const builder = new TypedBuilder();
  builder.input("x", "float32", [x.length]);
  const y = builder.emit(op, ["x"]);
  const weighted = builder.emit("Mul", [y, builder.constant(float32([x.length], weights))]);
  builder.emit("ReduceSum", [weighted], { outputs: ["loss"], attributes: { keepdims: int(0) } });
  const graph = inferShapes(builder.finish("row", new Map([["", 20]])));
  const made = differentiate(graph, { loss: "loss", wrt: ["x"] });
  const gradient = made.gradients.get("x") ?? "";
  await using session = await open(made.graph, [gradient]);
  return valuesOf(await session.run(new Map([["x", float32([x.length], x)]])), gradient);
}

describe("softmax of masked scores", () => {
  test("what is masked by -∞ gets nothing, and the rest the gradient of itself alone", async () => {
    const masked = await rowOf("Softmax", [0.5, -Infinity, -1], [1, 5, 2]);
    const alone = await rowOf("Softmax", [0.5, -1], [1, 2]);
    expect(masked[1]).toBeCloseTo(0, 10);
    expect(masked[0]).toBeCloseTo(alone[0] ?? NaN, 6);
    expect(masked[2]).toBeCloseTo(alone[1] ?? NaN, 6);
  });

  test("the log of one too, where the loss does not read it", async () => {
    const masked = await rowOf("LogSoftmax", [0.5, -1e30, -1], [1, 0, 2]);
    const alone = await rowOf("LogSoftmax", [0.5, -1], [1, 2]);
    expect(masked[1]).toBeCloseTo(0, 10);
    expect(masked[0]).toBeCloseTo(alone[0] ?? NaN, 6);
  });
});
