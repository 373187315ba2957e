import { expect, test } from "vitest";
import { inferShapes } from "../../canonical/infer-shapes.ts";
import { GraphBuilder } from "../../graph/build.ts";
import { ints } from "../../graph/graph.ts";
import { float32 } from "../../graph/tensor.ts";
import { workspaceBytes } from "./workspace.ts";

/** Bytes that a convolution takes beside its operands, for one image of `size` x `size` pixels. */
function workspaceOf(op: string, weight: readonly number[], size: number): number {
  const b = new GraphBuilder();
  const count = weight.reduce((x, y) => x * y, 1);
  b.input("x", "float32", [3, 16, size, size]);
  b.initializer("w", float32(weight, new Array(count).fill(0)));
  const pads = (weight[2] ?? 1) === 1 ? [0, 0, 0, 0] : [1, 1, 1, 1];
  b.emit(op, ["x", "w"], { outputs: ["y"], attributes: new Map([["pads", ints(pads)]]) });
  b.output({ name: "y", dtype: "float32", shape: undefined });
  const graph = inferShapes(b.finish("g", new Map([["", 20]])));
  const [node] = graph.nodes;
  return node === undefined ? Number.NaN : workspaceBytes(graph, node);
}

test("a convolution with more filters than pixels writes the patches of one image out", () => {
  expect(workspaceOf("Conv", [65, 16, 3, 3], 8)).toBe(4 * 64 * 16 * 9);
  expect(workspaceOf("Conv", [64, 16, 3, 3], 8)).toBe(0);
  expect(workspaceOf("Conv", [65, 16, 1, 1], 8)).toBe(0);
});

test("a transposed convolution does so for each pixel that it reads", () => {
  expect(workspaceOf("ConvTranspose", [16, 5, 3, 3], 8)).toBe(4 * 64 * 5 * 9);
});
