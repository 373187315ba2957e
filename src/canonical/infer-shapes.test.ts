import { describe, expect, test } from "vitest";
import { GraphBuilder } from "../graph/build.ts";
import { type Attribute, type Graph, int, ints, type ValueName } from "../graph/graph.ts";
import type { Shape } from "../graph/shape.ts";
import { bytesOf, float32, int64, type Tensor, tensor } from "../graph/tensor.ts";
import { graph } from "../graph/text.test-helper.ts";
import { inferShapes } from "./infer-shapes.ts";

const OPSETS = new Map([["", 20]]);

function shapeOf({ values }: Graph, name: ValueName) {
  return values.get(name)?.shape;
}

/** Reshape(x, Concat(Gather(Shape(x), 0), [-1])): how exporters write a flatten. */
const exportedFlatten = (): Graph => graph`
  flatten (float[N,4,3] x) => (y) <int64 zero = {0}, int64[1] axes = {0}, int64[1] rest = {-1}>
  {
    shape = Shape (x)
    n = Gather (shape, zero)
    n1 = Unsqueeze (n, axes)
    target = Concat <axis = 0> (n1, rest)
    y = Reshape (x, target)
  }`;

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
    const declared = graph`
      g (float[2,3] x) => (z) <float[2,7] y> { y = custom.Mystery (x)  z = Relu (y) }`;
    expect(shapeOf(inferShapes(declared), "z")).toEqual([2, 7]);
  });

  test("values keep their own names, whatever rule typed them", () => {
    const flatten = inferShapes(exportedFlatten());
    for (const [name, value] of flatten.values) expect(value.name).toBe(name);
    expect(flatten.outputs.map((value) => value.name)).toEqual(["y"]);
    const relu = inferShapes(graph`g (float[2] x) => (y) { y = Relu (x) }`);
    expect(relu.values.get("y")?.name).toBe("y");
    expect(relu.outputs[0]?.name).toBe("y");
  });

  test("says nothing of an unknown op", () => {
    const unknown = graph`g (float[2] x) => (y) { y = custom.Mystery (x) }`;
    expect(shapeOf(inferShapes(unknown), "y")).toBeUndefined();
  });

  test("does not follow a division through a cast to float, where it would not truncate", () => {
    // 7 / 2 · 2 is 7 in floats, 6 in integers.
    const halved = graph`
      g (float[7,2] x) => (y) <int64[1] i0 = {0}, int64[1] two = {2}>
      {
        s = Shape (x)
        n = Gather (s, i0)
        n_float = Cast <to = 1> (n)
        two_float = Cast <to = 1> (two)
        half = Div (n_float, two_float)
        whole = Mul (half, two_float)
        target = Cast <to = 7> (whole)
        y = ConstantOfShape (target)
      }`;
    expect(shapeOf(inferShapes(halved), "y")).toEqual(["?"]);
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
    const expanded = graph`
      g (float[N,1,3] x) => (y)
      <
        int64[1] first = {0}, int64[2] rest = {5, -1},
        int64[3] minus = {-1, -1, -1}, int64[3] ones = {1, 1, 1}
      >
      {
        own = Shape (x)
        n = Gather (own, first)
        target = Concat <axis = 0> (n, rest)
        left = Equal (target, minus)
        filled = Where (left, ones, target)
        y = Expand (x, filled)
      }`;
    expect(shapeOf(inferShapes(expanded), "y")).toEqual(["N", 5, 3]);
  });

  test("a symbol survives what does not change it, and nothing else", () => {
    const through = (op: string, operand: number): Shape | undefined => {
      const made = graph`
        g (float[N] x) => (y) <int64[1] k = {${operand}}>
        {
          n = Shape (x)
          m = ${op} (n, k)
          y = ConstantOfShape (m)
        }`;
      return shapeOf(inferShapes(made), "y");
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
    const resized = graph`
      g (float[N,3,5,5] x) => (y)
      {
        scales = Constant <value = float[4] {1, 1, 2, 3}> ()
        y = Resize (x, "", scales)
      }`;
    expect(shapeOf(inferShapes(resized), "y")).toEqual(["N", 3, 10, 15]);
  });

  test("entries are not followed into a matrix", () => {
    const made = graph`
      g (float[4,6] x) => (y) <int64[2] axes = {0, 1}, int64 zero = {0}>
      {
        n = Size (x)
        matrix = Unsqueeze (n, axes)
        row = Gather (matrix, zero)
        y = ConstantOfShape (row)
      }`;
    expect(shapeOf(inferShapes(made), "y")).toEqual(["?"]);
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
