import { describe, expect, test } from "vitest";
import { sound } from "../../test/sound.ts";
import type { Graph } from "../graph/graph.ts";
import { float32 } from "../graph/tensor.ts";
import { graph } from "../graph/text.test-helper.ts";
import { canonicalize } from "./canonical.ts";
import { inferShapes } from "./infer-shapes.ts";

/** conv(x, ConstantOfShape(…)) + Constant, with a random node beside. */
const written = (): Graph => graph`
  g (float[N,3,8,8] x) => (y) <int64[4] shape = {4, 3, 3, 3}>
  {
    w = ConstantOfShape (shape)
    w2 = Sin (w)
    bias = Constant <value = float[4,1,1] {1, 2, 3, 4}> ()
    noise = RandomNormalLike (bias)
    c = Conv (x, w2)
    d = Add (c, bias)
    y = Add (d, noise)
  }`;

describe("canonicalize", () => {
  test("what depends on no input is a weight; what is random is not", () => {
    const canonical = canonicalize(written());
    sound(canonical);
    const { nodes, initializers, values } = canonical;
    expect(nodes.map((node) => node.op)).toEqual(["RandomNormalLike", "Conv", "Add", "Add"]);
    expect(initializers.get("w2")).toEqual({
      dtype: "float32",
      shape: [4, 3, 3, 3],
      data: { kind: "absent" },
    });
    expect(initializers.get("bias")?.data.kind).toBe("bytes");
    expect(values.get("y")?.shape).toEqual(["N", 4, 6, 6]);
  });

  test("is idempotent, and gives the same graph back where there is nothing to do", () => {
    const once = sound(canonicalize(written()));
    expect(canonicalize(once)).toBe(once);
    // A copy, of which nothing is remembered.
    const copy = { ...once };
    expect(canonicalize(copy)).toBe(copy);
  });

  test("a constant that is an output of the graph stays a node", () => {
    const made = graph`g () => (float[1] y) <float[1] one = {1}> { y = Neg (one) }`;
    expect(canonicalize(made).nodes).toHaveLength(1);
  });

  test("a folded shape keeps its numbers, so that a batch can be bound later", () => {
    const shaped = canonicalize(graph`
      g (float[N,4,3] x) => (y)
      {
        rest = Constant <value_ints = [2, 6]> ()
        first = Constant <value_ints = [0]> ()
        shape = Shape (x)
        n = Gather (shape, first)
        twice = Add (n, n)
        target = Concat <axis = 0> (twice, rest)
        y = ConstantOfShape (target)
      }`);
    expect(shaped.values.get("y")?.shape).toEqual(["?", 2, 6]);
    const bound = inferShapes(shaped, new Map([["N", 5]]));
    expect(bound.values.get("y")?.shape).toEqual([10, 2, 6]);
  });

  test("floats in attributes of a Constant are its elements", () => {
    const { initializers } = canonicalize(graph`
      g (float[2] x) => (y)
      {
        k = Constant <value_floats = [1.0, 2.0]> ()
        one = Constant <value_float = 1.5> ()
        y = Sum (x, k, one)
      }`);
    expect(initializers.get("k")).toEqual(float32([2], [1, 2]));
    expect(initializers.get("one")).toEqual(float32([], [1.5]));
  });
});
