import { describe, expect, test } from "vitest";
import { GraphBuilder } from "../graph/build.ts";
import { type Graph, int, type ValueName } from "../graph/graph.ts";
import { int64 } from "../graph/tensor.ts";
import { inferShapes } from "./infer-shapes.ts";

const OPSETS = new Map([["", 20]]);

function shapeOf(graph: Graph, name: ValueName) {
  return graph.values.get(name)?.shape;
}

/** Reshape(x, Concat(Gather(Shape(x), 0), [-1])): how exporters write a flatten. */
function exportedFlatten(): Graph {
  const b = new GraphBuilder();
  b.input("x", "float32", ["N", 4, 3]);
  b.initializer("zero", int64([], [0]));
  b.initializer("axes", int64([1], [0]));
  b.initializer("rest", int64([1], [-1]));
  b.emit("Shape", ["x"], { outputs: ["shape"] });
  b.emit("Gather", ["shape", "zero"], { outputs: ["n"] });
  b.emit("Unsqueeze", ["n", "axes"], { outputs: ["n1"] });
  b.emit("Concat", ["n1", "rest"], { outputs: ["target"], attributes: { axis: int(0) } });
  b.emit("Reshape", ["x", "target"], { outputs: ["y"] });
  b.output({ name: "y", dtype: "float32", shape: undefined });
  return b.finish("flatten", OPSETS);
}

describe("inferShapes", () => {
  test("binds symbols everywhere, inputs and outputs included", () => {
    const bound = inferShapes(exportedFlatten(), new Map([["N", 5]]));
    expect(bound.inputs[0]?.shape).toEqual([5, 4, 3]);
    expect(shapeOf(bound, "y")).toEqual([5, 12]);
    expect(bound.outputs[0]?.shape).toEqual([5, 12]);
  });

  test("follows shape computations through symbols", () => {
    const y = shapeOf(inferShapes(exportedFlatten()), "y");
    expect(y?.[0]).toBe("N");
  });

  test("gives the same graph back where there is nothing to add", () => {
    const once = inferShapes(exportedFlatten());
    expect(inferShapes(once)).toBe(once);
  });

  test("keeps what the file declares where a rule knows less", () => {
    const b = new GraphBuilder();
    b.input("x", "float32", [2, 3]);
    b.emit("Mystery", ["x"], { outputs: ["y"], domain: "custom" });
    b.setType("y", { dtype: "float32", shape: [2, 7] });
    b.emit("Relu", ["y"], { outputs: ["z"] });
    b.output({ name: "z", dtype: "float32", shape: undefined });
    const graph = inferShapes(b.finish("g", OPSETS));
    expect(shapeOf(graph, "z")).toEqual([2, 7]);
  });

  test("values keep their own names, whatever rule typed them", () => {
    const graph = inferShapes(exportedFlatten());
    for (const [name, value] of graph.values) expect(value.name).toBe(name);
    expect(graph.outputs.map((value) => value.name)).toEqual(["y"]);
    const b = new GraphBuilder();
    b.input("x", "float32", [2]);
    b.emit("Relu", ["x"], { outputs: ["y"] });
    b.output({ name: "y", dtype: "float32", shape: undefined });
    const relu = inferShapes(b.finish("g", OPSETS));
    expect(relu.values.get("y")?.name).toBe("y");
    expect(relu.outputs[0]?.name).toBe("y");
  });

  test("says nothing of an unknown op", () => {
    const b = new GraphBuilder();
    b.input("x", "float32", [2]);
    b.emit("Mystery", ["x"], { outputs: ["y"], domain: "custom" });
    b.output({ name: "y", dtype: "float32", shape: undefined });
    expect(shapeOf(inferShapes(b.finish("g", OPSETS)), "y")).toBeUndefined();
  });

  test("does not follow a division through a cast to float, where it would not truncate", () => {
    const b = new GraphBuilder();
    b.input("x", "float32", [7, 2]);
    b.initializer("i0", int64([1], [0]));
    b.initializer("two", int64([1], [2]));
    b.emit("Shape", ["x"], { outputs: ["s"] });
    b.emit("Gather", ["s", "i0"], { outputs: ["n"] });
    for (const name of ["n", "two"]) {
      b.emit("Cast", [name], { outputs: [`${name}.float`], attributes: { to: int(1) } });
    }
    // 7 / 2 · 2 is 7 in floats, 6 in integers.
    b.emit("Div", ["n.float", "two.float"], { outputs: ["half"] });
    b.emit("Mul", ["half", "two.float"], { outputs: ["whole"] });
    b.emit("Cast", ["whole"], { outputs: ["target"], attributes: { to: int(7) } });
    b.emit("ConstantOfShape", ["target"], { outputs: ["y"] });
    b.output({ name: "y", dtype: "float32", shape: undefined });
    expect(shapeOf(inferShapes(b.finish("g", OPSETS)), "y")).toEqual(["?"]);
  });

  test("a Buffer of constants is read as its own bytes, not as its pool's", () => {
    const pool = Buffer.from(new BigInt64Array([99n, 2n, 6n, 99n]).buffer);
    const b = new GraphBuilder();
    b.input("x", "float32", [12]);
    b.initializer("t", {
      dtype: "int64",
      shape: [2],
      data: { kind: "bytes", bytes: pool.subarray(8, 24) },
    });
    b.emit("Reshape", ["x", "t"], { outputs: ["y"] });
    b.output({ name: "y", dtype: "float32", shape: undefined });
    expect(shapeOf(inferShapes(b.finish("g", OPSETS)), "y")).toEqual([2, 6]);
  });
});
