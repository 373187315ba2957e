import { describe, expect, test } from "vitest";
import { GraphBuilder } from "../graph/build.ts";
import type { Graph } from "../graph/graph.ts";
import { float32, int64 } from "../graph/tensor.ts";
import { graphDiagnostics } from "../graph/verify.ts";
import { canonicalize } from "./canonical.ts";

/** conv(x, ConstantOfShape(…)) + Constant, with a random node beside. */
function written(): Graph {
  const b = new GraphBuilder();
  b.input("x", "float32", ["N", 3, 8, 8]);
  b.initializer("shape", int64([4], [4, 3, 3, 3]));
  b.emit("ConstantOfShape", ["shape"], { outputs: ["w"] });
  b.emit("Neg", ["w"], { outputs: ["w2"] });
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
    expect(graphDiagnostics(graph)).toEqual([]);
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
    const once = canonicalize(written());
    expect(canonicalize(once)).toBe(once);
  });

  test("a constant that is an output of the graph stays a node", () => {
    const b = new GraphBuilder();
    b.initializer("one", float32([1], [1]));
    b.emit("Neg", ["one"], { outputs: ["y"] });
    b.output({ name: "y", dtype: "float32", shape: [1] });
    expect(canonicalize(b.finish("g", new Map([["", 20]]))).nodes).toHaveLength(1);
  });
});
