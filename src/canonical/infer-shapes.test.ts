import { describe, expect, test } from "vitest";
import { GraphBuilder } from "../graph/build.ts";
import { type Attribute, type Graph, int, ints, type ValueName } from "../graph/graph.ts";
import type { Shape } from "../graph/shape.ts";
import { bytesOf, float32, int64, type Tensor, tensor } from "../graph/tensor.ts";
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

/** One node over an input and constants. */
function single(
  op: string,
  shape: Shape,
  constants: readonly Tensor[],
  { opset = 20, attributes = {} }: { opset?: number; attributes?: Record<string, Attribute> } = {},
): Shape | undefined {
  const b = new GraphBuilder();
  b.input("x", "float32", shape);
  const names = constants.map((ref, i) => b.initializer(`c${i}`, ref));
  b.emit(op, ["x", ...names], { outputs: ["y"], attributes });
  b.output({ name: "y", dtype: "float32", shape: undefined });
  return shapeOf(inferShapes(b.finish("g", new Map([["", opset]]))), "y");
}

describe("shapes that are computed in the graph", () => {
  /** Expand(x, Where(target = -1, ones, target)): how PyTorch's exporter writes -1 for "as it is". */
  test("a -1 is told from a size that is a symbol", () => {
    const b = new GraphBuilder();
    b.input("x", "float32", ["N", 1, 3]);
    b.initializer("first", int64([1], [0]));
    b.initializer("rest", int64([2], [5, -1]));
    b.initializer("minus", int64([3], [-1, -1, -1]));
    b.initializer("ones", int64([3], [1, 1, 1]));
    b.emit("Shape", ["x"], { outputs: ["own"] });
    b.emit("Gather", ["own", "first"], { outputs: ["n"] });
    b.emit("Concat", ["n", "rest"], { outputs: ["target"], attributes: { axis: int(0) } });
    b.emit("Equal", ["target", "minus"], { outputs: ["left"] });
    b.emit("Where", ["left", "ones", "target"], { outputs: ["filled"] });
    b.emit("Expand", ["x", "filled"], { outputs: ["y"] });
    b.output({ name: "y", dtype: "float32", shape: undefined });
    expect(shapeOf(inferShapes(b.finish("g", OPSETS)), "y")).toEqual(["N", 5, 3]);
  });

  test("a symbol survives what does not change it, and nothing else", () => {
    const through = (op: string, operand: number): Shape | undefined => {
      const b = new GraphBuilder();
      b.input("x", "float32", ["N"]);
      b.initializer("k", int64([1], [operand]));
      b.emit("Shape", ["x"], { outputs: ["n"] });
      b.emit(op, ["n", "k"], { outputs: ["m"] });
      b.emit("ConstantOfShape", ["m"], { outputs: ["y"] });
      b.output({ name: "y", dtype: "float32", shape: undefined });
      return shapeOf(inferShapes(b.finish("g", OPSETS)), "y");
    };
    expect(["Add", "Sub"].map((op) => through(op, 0))).toEqual([["N"], ["N"]]);
    expect(["Mul", "Div"].map((op) => through(op, 1))).toEqual([["N"], ["N"]]);
    expect(["Add", "Sub"].map((op) => through(op, 1))).toEqual([["?"], ["?"]]);
    expect(["Mul", "Div"].map((op) => through(op, 2))).toEqual([["?"], ["?"]]);
  });

  /** ends = Reshape(Cast(int64 max)): how PyTorch's exporter writes a slice to the end. */
  function toTheEnd(end: bigint, op?: string): Graph {
    const b = new GraphBuilder();
    b.input("x", "float32", [5]);
    const raw = tensor("int64", [], bytesOf(BigInt64Array.of(end)));
    b.emit("Constant", [], {
      outputs: ["big"],
      attributes: { value: { kind: "tensor", value: raw } },
    });
    b.initializer("one", int64([1], [1]));
    b.emit("Cast", ["big"], { outputs: ["cast"], attributes: { to: int(7) } });
    b.emit("Reshape", ["cast", "one"], { outputs: ["ends"] });
    if (op !== undefined) b.emit(op, ["ends", "one"], { outputs: ["changed"] });
    const ends = op === undefined ? "ends" : "changed";
    b.emit("Slice", ["x", "one", ends], { outputs: ["y"] });
    b.output({ name: "y", dtype: "float32", shape: undefined });
    return b.finish("g", OPSETS);
  }

  test("the largest and the smallest integer stay what they are", () => {
    expect(shapeOf(inferShapes(toTheEnd(2n ** 63n - 1n)), "y")).toEqual([4]);
    expect(shapeOf(inferShapes(toTheEnd(-(2n ** 63n))), "y")).toEqual([0]);
  });

  test("what is computed from an integer that no number holds is not known", () => {
    for (const op of ["Add", "Sub", "Mul", "Div", "Mod", "Equal"]) {
      expect(shapeOf(inferShapes(toTheEnd(2n ** 63n - 1n, op)), "y")).toEqual(["?"]);
    }
  });

  test("a remainder has the sign of its divisor", () => {
    const entry = (a: number, d: number, fmod = 0): Shape | undefined => {
      const b = new GraphBuilder();
      b.initializer("a", int64([1], [a]));
      b.initializer("d", int64([1], [d]));
      b.initializer("five", int64([1], [5]));
      b.emit("Mod", ["a", "d"], { outputs: ["m"], attributes: { fmod: int(fmod) } });
      b.emit("Add", ["m", "five"], { outputs: ["n"] });
      b.emit("ConstantOfShape", ["n"], { outputs: ["y"] });
      b.output({ name: "y", dtype: "float32", shape: undefined });
      return shapeOf(inferShapes(b.finish("g", OPSETS)), "y");
    };
    expect([entry(7, 3), entry(-7, 3), entry(7, -3), entry(-7, -3)]).toEqual([[6], [7], [3], [4]]);
    expect([entry(7, 0), entry(7, 3, 1)]).toEqual([["?"], ["?"]]);
  });

  test("the scales of a Resize may be a Constant node", () => {
    const b = new GraphBuilder();
    b.input("x", "float32", ["N", 3, 5, 5]);
    const scales = { kind: "tensor" as const, value: float32([4], [1, 1, 2, 3]) };
    b.emit("Constant", [], { outputs: ["scales"], attributes: { value: scales } });
    b.emit("Resize", ["x", "", "scales"], { outputs: ["y"] });
    b.output({ name: "y", dtype: "float32", shape: undefined });
    expect(shapeOf(inferShapes(b.finish("g", OPSETS)), "y")).toEqual(["N", 3, 10, 15]);
  });

  test("entries are not followed into a matrix", () => {
    const b = new GraphBuilder();
    b.input("x", "float32", [4, 6]);
    b.initializer("axes", int64([2], [0, 1]));
    b.initializer("zero", int64([], [0]));
    b.emit("Size", ["x"], { outputs: ["n"] });
    b.emit("Unsqueeze", ["n", "axes"], { outputs: ["matrix"] });
    b.emit("Gather", ["matrix", "zero"], { outputs: ["row"] });
    b.emit("ConstantOfShape", ["row"], { outputs: ["y"] });
    b.output({ name: "y", dtype: "float32", shape: undefined });
    expect(shapeOf(inferShapes(b.finish("g", OPSETS)), "y")).toEqual(["?"]);
  });
});

describe("operator sets", () => {
  test("before 7, the second operand was spread over named axes of the first", () => {
    const column = [float32([1], [1])];
    const attributes = { broadcast: int(1), axis: int(0) };
    expect(single("Add", [3, 1], [float32([3], [1, 1, 1])], { opset: 6, attributes })).toEqual([
      3, 1,
    ]);
    expect(single("Add", [3, 1], column)).toEqual([3, 1]);
  });
});

describe("files that contradict themselves", () => {
  test("sizes that none can have are not known", () => {
    expect(single("Pad", [3], [int64([2], [-2, -2])])).toEqual(["?"]);
    expect(single("Reshape", [6], [int64([2], [-3, 2])])).toEqual(["?", 2]);
    const attributes = { kernel_shape: ints([2]), strides: ints([0]) };
    expect(single("MaxPool", [1, 1, 8], [], { attributes })).toEqual([1, 1, "?"]);
  });

  test("lists far longer than any rank are not gone through", () => {
    const long = int64(
      [200_000],
      Array.from({ length: 200_000 }, (_, i) => i),
    );
    for (const op of ["Unsqueeze", "Squeeze", "Reshape", "Expand", "Pad", "ReduceSum"]) {
      expect(single(op, [2, 3], [long])?.length ?? 0).toBeLessThanOrEqual(64);
    }
  });

  test("the largest int64 stays it on its way through a Reshape: a Slice to the end", () => {
    const b = new GraphBuilder();
    b.input("x", "float32", [5, 3]);
    b.initializer("end", int64([], [2 ** 63]));
    for (const [name, value] of [
      ["zero", 0],
      ["one", 1],
      ["minus", -1],
    ] as const) {
      b.initializer(name, int64([1], [value]));
    }
    b.emit("Reshape", ["end", "minus"], { outputs: ["ends"] });
    b.emit("Slice", ["x", "one", "ends", "zero", "one"], { outputs: ["y"] });
    b.output({ name: "y", dtype: "float32", shape: undefined });
    expect(shapeOf(inferShapes(b.finish("g", OPSETS)), "y")).toEqual([4, 3]);
  });

  test("an op named like a property of every object is an unknown op", () => {
    for (const op of ["constructor", "toString", "__proto__", "hasOwnProperty"]) {
      expect(single(op, [2], [])).toBeUndefined();
    }
  });
});
