// Small models for tests that run something.

import { GraphBuilder } from "../src/graph/build.ts";
import type { DType } from "../src/graph/dtype.ts";
import { type Graph, int, ints } from "../src/graph/graph.ts";
import type { Shape } from "../src/graph/shape.ts";
import { float32, int64, tensor } from "../src/graph/tensor.ts";
import { modelOf } from "../src/onnx/onnx-model.ts";
import { encodeModel } from "../src/onnx/write.ts";

const OPSETS = new Map([["", 20]]);

/** y = 2x + 1 over `[N, 3]`, and z = -x. */
export function affineModel(): Uint8Array {
  const b = new GraphBuilder();
  b.input("x", "float32", ["N", 3]);
  b.initializer("two", float32([], [2]));
  b.initializer("one", float32([], [1]));
  b.emit("Mul", ["x", "two"], { outputs: ["m"] });
  b.emit("Add", ["m", "one"], { outputs: ["y"] });
  b.emit("Neg", ["x"], { outputs: ["z"] });
  b.output({ name: "y", dtype: "float32", shape: ["N", 3] });
  b.output({ name: "z", dtype: "float32", shape: ["N", 3] });
  return encodeModel(modelOf(b.finish("affine", OPSETS)));
}

/** y = x, and h, the same in half precision. */
export function halfModel(): Uint8Array {
  const b = new GraphBuilder();
  b.input("x", "float32", ["N", 3]);
  b.emit("Identity", ["x"], { outputs: ["y"] });
  b.emit("Cast", ["x"], { outputs: ["h"], attributes: { to: int(10) } });
  b.output({ name: "y", dtype: "float32", shape: ["N", 3] });
  b.output({ name: "h", dtype: "float16", shape: ["N", 3] });
  return encodeModel(modelOf(b.finish("half", OPSETS)));
}

/** The value as it is. */
export function identityModel(dtype: DType, shape: Shape, input = "x"): Uint8Array {
  const b = new GraphBuilder();
  b.input(input, dtype, shape);
  b.emit("Identity", [input], { outputs: ["y"] });
  b.output({ name: "y", dtype, shape });
  return encodeModel(modelOf(b.finish("identity", OPSETS)));
}

/** bfloat16 as it is, out of the body of an If that captures it, and made of float32. */
export function bfloat16Model(): Uint8Array {
  const body = (): Graph => {
    const inner = new GraphBuilder();
    inner.emit("Identity", ["x"], { outputs: ["inner"] });
    inner.output({ name: "inner", dtype: "bfloat16", shape: ["N"] });
    return inner.finish("body", OPSETS);
  };
  const b = new GraphBuilder();
  b.input("x", "bfloat16", ["N"]);
  b.input("f", "float32", ["N"]);
  b.initializer("yes", tensor("bool", [], Uint8Array.of(1)));
  b.emit("Identity", ["x"], { outputs: ["same"] });
  b.emit("If", ["yes"], {
    outputs: ["captured"],
    attributes: {
      then_branch: { kind: "graph", value: body() },
      else_branch: { kind: "graph", value: body() },
    },
  });
  b.emit("Cast", ["f"], { outputs: ["rounded"], attributes: { to: int(16) } });
  for (const name of ["same", "captured", "rounded"]) {
    b.output({ name, dtype: "bfloat16", shape: ["N"] });
  }
  return encodeModel(modelOf(b.finish("bfloat16", OPSETS)));
}

/** Two inputs that share a symbol. */
export function pairModel(): Uint8Array {
  const b = new GraphBuilder();
  b.input("a", "float32", ["N"]);
  b.input("b", "float32", ["N"]);
  b.emit("Add", ["a", "b"], { outputs: ["y"] });
  b.output({ name: "y", dtype: "float32", shape: ["N"] });
  return encodeModel(modelOf(b.finish("pair", OPSETS)));
}

/** A model with an op that no runtime has. */
export function unknownOpModel(): Uint8Array {
  const b = new GraphBuilder();
  b.input("x", "float32", [1]);
  b.emit("NoSuchOp", ["x"], { outputs: ["y"], domain: "nowhere" });
  b.output({ name: "y", dtype: "float32", shape: [1] });
  return encodeModel(
    modelOf(
      b.finish(
        "unknown",
        new Map([
          ["", 20],
          ["nowhere", 1],
        ]),
      ),
    ),
  );
}

/** Reshapes to four columns inside, whatever comes in: a run of odd sizes fails in the runtime. */
export function brittleModel(): Uint8Array {
  const b = new GraphBuilder();
  b.input("x", "float32", ["N"]);
  b.initializer("to", int64([2], [-1, 4]));
  b.emit("Reshape", ["x", "to"], { outputs: ["y"] });
  b.output({ name: "y", dtype: "float32", shape: ["M", 4] });
  return encodeModel(modelOf(b.finish("brittle", OPSETS)));
}

/** y = x + w, where w is an input with a default: an initializer of its name (ONNX, from IR version 4). */
export function defaultInputModel(): Uint8Array {
  const b = new GraphBuilder();
  b.input("x", "float32", [2]);
  b.input("w", "float32", [2]);
  b.emit("Add", ["x", "w"], { outputs: ["y"] });
  b.output({ name: "y", dtype: "float32", shape: [2] });
  const graph = b.finish("default", OPSETS);
  const initializers = new Map([["w", float32([2], [10, 20])]]);
  return encodeModel(modelOf({ ...graph, initializers }));
}

/** Looks up in a table of four rows of two: `op` of Gather, GatherElements, GatherND, ScatterElements, ScatterND. */
export function lookupModel(op: string): Uint8Array {
  const b = new GraphBuilder();
  b.input("i", "int64", ["N", 1]);
  b.initializer("table", float32([4, 2], [0, 1, 2, 3, 4, 5, 6, 7]));
  if (op.startsWith("Scatter")) {
    b.input("v", "float32", ["N", op === "ScatterND" ? 2 : 1]);
    b.emit(op, ["table", "i", "v"], { outputs: ["y"] });
  } else {
    b.emit(op, ["table", "i"], { outputs: ["y"] });
  }
  b.output({ name: "y", dtype: "float32", shape: op === "Gather" ? ["N", 1, 2] : ["M", "K"] });
  return encodeModel(modelOf(b.finish("lookup", OPSETS)));
}

/**
 * Multiplies large matrices `rounds` times in a Loop: about a second for 40 rounds on one core. Without a
 * number they are an input.
 */
export function slowModel(rounds?: number): Uint8Array {
  const size = 700;
  const body = new GraphBuilder();
  body.input("i", "int64", []);
  body.input("go", "bool", []);
  body.input("h", "float32", [size, size]);
  body.emit("Identity", ["go"], { outputs: ["go.next"] });
  body.emit("MatMul", ["h", "h"], { outputs: ["hh"] });
  body.emit("Tanh", ["hh"], { outputs: ["h.next"] });
  body.output({ name: "go.next", dtype: "bool", shape: [] });
  body.output({ name: "h.next", dtype: "float32", shape: [size, size] });
  const b = new GraphBuilder();
  b.input("x", "float32", ["N"]);
  if (rounds === undefined) b.input("rounds", "int64", []);
  else b.initializer("rounds", int64([], [rounds]));
  b.initializer("square", int64([2], [size, size]));
  b.emit("ReduceSum", ["x"], { outputs: ["s"], attributes: { keepdims: int(0) } });
  b.emit("Expand", ["s", "square"], { outputs: ["h0"] });
  b.emit("Loop", ["rounds", "", "h0"], {
    outputs: ["h"],
    attributes: { body: { kind: "graph", value: body.finish("body", OPSETS) } },
  });
  b.emit("ReduceMean", ["h"], { outputs: ["y"], attributes: { keepdims: int(0) } });
  b.output({ name: "y", dtype: "float32", shape: [] });
  return encodeModel(modelOf(b.finish("slow", OPSETS)));
}

/** Takes half a minute to load: the runtime multiplies constants beforehand. */
export function slowToLoadModel(): Uint8Array {
  const size = 700;
  const b = new GraphBuilder();
  b.input("x", "float32", ["N"]);
  b.initializer("h0", float32([size, size], new Float32Array(size * size).fill(1 / size)));
  const rounds = 1500;
  for (let i = 0; i < rounds; i++) {
    b.emit("MatMul", [`h${i}`, `h${i}`], { outputs: [`h${i + 1}`] });
  }
  b.emit("ReduceMean", [`h${rounds}`], { outputs: ["m"], attributes: { keepdims: int(0) } });
  b.emit("Add", ["x", "m"], { outputs: ["y"] });
  b.output({ name: "y", dtype: "float32", shape: ["N"] });
  return encodeModel(modelOf(b.finish("slow_to_load", OPSETS)));
}

/** One number as often as is asked for; without a number that is an input. */
export function expandModel(count?: number): Uint8Array {
  const b = new GraphBuilder();
  b.input("x", "float32", [1]);
  if (count === undefined) b.input("to", "int64", [1]);
  else b.initializer("to", int64([1], [count]));
  b.emit("Expand", ["x", "to"], { outputs: ["y"] });
  b.output({ name: "y", dtype: "float32", shape: ["N"] });
  return encodeModel(modelOf(b.finish("expand", OPSETS)));
}

/** A small convolution over digits `[N, 1, 8, 8]`, scores `[N, 10]`. */
export function tinyClassifier(): Uint8Array {
  const b = new GraphBuilder();
  b.input("image", "float32", ["N", 1, 8, 8]);
  b.initializer(
    "w",
    float32(
      [10, 1, 8, 8],
      Array.from({ length: 640 }, (_, i) => ((i * 7) % 13) / 13 - 0.5),
    ),
  );
  b.emit("Conv", ["image", "w"], { outputs: ["c"], attributes: { kernel_shape: ints([8, 8]) } });
  b.emit("Flatten", ["c"], { outputs: ["logits"], attributes: { axis: int(1) } });
  b.output({ name: "logits", dtype: "float32", shape: ["N", 10] });
  return encodeModel(modelOf(b.finish("tiny", OPSETS)));
}
