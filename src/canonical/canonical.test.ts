import { describe, expect, test } from "vitest";
import { sound } from "../../test/sound.ts";
import { GraphBuilder } from "../graph/build.ts";
import { float, type Graph, int, ints } from "../graph/graph.ts";
import { float32, int64 } from "../graph/tensor.ts";
import { canonicalize } from "./canonical.ts";
import { inferShapes } from "./infer-shapes.ts";

/** conv(x, ConstantOfShape(…)) + Constant, with a random node beside. */
function written(): Graph {
  const b = new GraphBuilder();
  b.input("x", "float32", ["N", 3, 8, 8]);
  b.initializer("shape", int64([4], [4, 3, 3, 3]));
  b.emit("ConstantOfShape", ["shape"], { outputs: ["w"] });
  b.emit("Sin", ["w"], { outputs: ["w2"] });
  b.emit("Constant", [], {
    outputs: ["bias"],
    attributes: { value: { kind: "tensor", value: float32([4, 1, 1], [1, 2, 3, 4]) } },
  });
  b.emit("RandomNormalLike", ["bias"], { outputs: ["noise"] });
  b.emit("Conv", ["x", "w2"], { outputs: ["c"] });
  b.emit("Add", ["c", "bias"], { outputs: ["d"] });
  b.emit("Add", ["d", "noise"], { outputs: ["y"] });
  b.output({ name: "y", dtype: "float32", shape: undefined });
  return b.finish("g", new Map([["", 20]]));
}

describe("canonicalize", () => {
  test("what depends on no input is a weight; what is random is not", () => {
    const graph = canonicalize(written());
    sound(graph);
    expect(graph.nodes.map((node) => node.op)).toEqual(["RandomNormalLike", "Conv", "Add", "Add"]);
    expect(graph.initializers.get("w2")).toEqual({
      dtype: "float32",
      shape: [4, 3, 3, 3],
      data: { kind: "absent" },
    });
    expect(graph.initializers.get("bias")?.data.kind).toBe("bytes");
    expect(graph.values.get("y")?.shape).toEqual(["N", 4, 6, 6]);
  });

  test("is idempotent, and gives the same graph back where there is nothing to do", () => {
    const once = sound(canonicalize(written()));
    expect(canonicalize(once)).toBe(once);
    // A copy, of which nothing is remembered.
    const copy = { ...once };
    expect(canonicalize(copy)).toBe(copy);
  });

  test("a constant that is an output of the graph stays a node", () => {
    const b = new GraphBuilder();
    b.initializer("one", float32([1], [1]));
    b.emit("Neg", ["one"], { outputs: ["y"] });
    b.output({ name: "y", dtype: "float32", shape: [1] });
    expect(canonicalize(b.finish("g", new Map([["", 20]]))).nodes).toHaveLength(1);
  });

  test("a folded shape keeps its numbers, so that a batch can be bound later", () => {
    const b = new GraphBuilder();
    b.input("x", "float32", ["N", 4, 3]);
    b.emit("Constant", [], { outputs: ["rest"], attributes: { value_ints: ints([2, 6]) } });
    b.emit("Constant", [], { outputs: ["first"], attributes: { value_ints: ints([0]) } });
    b.emit("Shape", ["x"], { outputs: ["shape"] });
    b.emit("Gather", ["shape", "first"], { outputs: ["n"] });
    b.emit("Add", ["n", "n"], { outputs: ["twice"] });
    b.emit("Concat", ["twice", "rest"], { outputs: ["target"], attributes: { axis: int(0) } });
    b.emit("ConstantOfShape", ["target"], { outputs: ["y"] });
    b.output({ name: "y", dtype: "float32", shape: undefined });
    const graph = canonicalize(b.finish("g", new Map([["", 20]])));
    expect(graph.values.get("y")?.shape).toEqual(["?", 2, 6]);
    const bound = inferShapes(graph, new Map([["N", 5]]));
    expect(bound.values.get("y")?.shape).toEqual([10, 2, 6]);
  });

  test("floats in attributes of a Constant are its elements", () => {
    const b = new GraphBuilder();
    b.input("x", "float32", [2]);
    b.emit("Constant", [], {
      outputs: ["k"],
      attributes: { value_floats: { kind: "floats", value: [1, 2] } },
    });
    b.emit("Constant", [], { outputs: ["one"], attributes: { value_float: float(1.5) } });
    b.emit("Sum", ["x", "k", "one"], { outputs: ["y"] });
    b.output({ name: "y", dtype: "float32", shape: undefined });
    const { initializers } = canonicalize(b.finish("g", new Map([["", 20]])));
    expect(initializers.get("k")).toEqual(float32([2], [1, 2]));
    expect(initializers.get("one")).toEqual(float32([], [1.5]));
  });
});
