import { describe, expect, test } from "vitest";
import { sound } from "../../test/sound.ts";
import { GraphBuilder } from "../graph/build.ts";
import { type Attribute, type Graph, int, type Node, type Value } from "../graph/graph.ts";
import type { Shape } from "../graph/shape.ts";
import { float32, int64, type Tensor, tensor } from "../graph/tensor.ts";
import { modelOf } from "../onnx/onnx-model.ts";
import { encodeModel } from "../onnx/write.ts";
import { inProcessRunner } from "../runtime/in-process.ts";
import { inferShapes } from "./infer-shapes.ts";

// Bodies are typed from what surrounds them, and what they give is held against the runtime.

const OPSETS = new Map([["", 20]]);
const float = (name: string, shape?: Shape): Value => ({ name, dtype: "float32", shape });
const body = (value: Graph): Attribute => ({ kind: "graph", value });

interface Inner {
  readonly inputs?: readonly Value[];
  readonly outputs: readonly Value[];
  readonly fill: (b: GraphBuilder) => void;
}

function bodyOf({ inputs = [], outputs, fill }: Inner): Attribute {
  const b = new GraphBuilder();
  fill(b);
  for (const output of outputs) b.output(output);
  return body({ ...b.finish("body", OPSETS), inputs });
}

function graphOf(
  inputs: readonly Value[],
  outputs: readonly string[],
  fill: (b: GraphBuilder) => void,
): Graph {
  const b = new GraphBuilder();
  for (const { name, dtype, shape } of inputs) b.input(name, dtype, shape ?? []);
  fill(b);
  for (const name of outputs) b.output(float(name));
  return b.finish("g", OPSETS);
}

async function shapesOf(graph: Graph, feeds: ReadonlyMap<string, Tensor>) {
  await using session = await inProcessRunner().load({ bytes: encodeModel(modelOf(graph)) });
  const found = await session.run(feeds);
  return graph.outputs.map(({ name }) => found.get(name)?.shape);
}

const inferred = (graph: Graph): (Shape | undefined)[] =>
  sound(inferShapes(graph)).outputs.map(({ shape }) => shape);

/** Of the first body of the first node. */
function inside(graph: Graph, name: string): Shape | undefined {
  const [node] = sound(inferShapes(graph)).nodes as [Node];
  for (const attribute of node.attributes.values()) {
    if (attribute.kind === "graph") return attribute.value.values.get(name)?.shape;
  }
  return undefined;
}

describe("If", () => {
  const asks = (columns: number): Graph =>
    graphOf([float("x", [2, 3]), { name: "c", dtype: "bool", shape: [] }], ["y"], (b) => {
      b.initializer("w", float32([3, columns], new Float32Array(3 * columns)));
      const product = bodyOf({
        outputs: [float("p")],
        fill: (inner) => inner.emit("MatMul", ["x", "w"], { outputs: ["p"] }),
      });
      const relu = bodyOf({
        outputs: [float("r")],
        fill: (inner) => inner.emit("Relu", ["x"], { outputs: ["r"] }),
      });
      const attributes = { then_branch: product, else_branch: relu };
      b.emit("If", ["c"], { attributes, outputs: ["y"] });
    });

  test("gives what both branches agree on, each typed with the values around it", async () => {
    const feeds = new Map([
      ["x", float32([2, 3], new Float32Array(6))],
      ["c", tensor("bool", [], Uint8Array.of(1))],
    ]);
    expect(inferred(asks(3))).toEqual([[2, 3]]);
    expect(await shapesOf(asks(3), feeds)).toEqual([[2, 3]]);
    expect(inferred(asks(5))).toEqual([[2, "?"]]);
    expect(await shapesOf(asks(5), feeds)).toEqual([[2, 5]]);
    expect(inside(asks(5), "p")).toEqual([2, 5]);
  });

  test("is the same graph once there is nothing to add", () => {
    const once = inferShapes(asks(5));
    expect(inferShapes(once)).toBe(once);
  });
});

/** h ← step(h), three times; the stack of what h was before. */
function loop(step: (b: GraphBuilder) => void, declared?: Shape): Graph {
  return graphOf([float("h0", [2, 4])], ["h", "stack"], (b) => {
    b.initializer("trips", int64([], [3]));
    b.initializer("w", float32([4, 4], new Float32Array(16)));
    const attribute = bodyOf({
      inputs: [
        { name: "i", dtype: "int64", shape: [] },
        { name: "go", dtype: "bool", shape: [] },
        float("in", declared),
      ],
      outputs: [{ name: "go2", dtype: "bool", shape: [] }, float("out"), float("row")],
      fill: (inner) => {
        inner.emit("Identity", ["go"], { outputs: ["go2"] });
        step(inner);
        inner.emit("Identity", ["in"], { outputs: ["row"] });
      },
    });
    b.emit("Loop", ["trips", "", "h0"], {
      attributes: { body: attribute },
      outputs: ["h", "stack"],
    });
  });
}

describe("Loop", () => {
  const feeds = new Map([["h0", float32([2, 4], new Float32Array(8))]]);

  test("a carried value that keeps its shape has it after any number of iterations", async () => {
    const graph = loop((b) => {
      b.emit("MatMul", ["in", "w"], { outputs: ["f"] });
      b.emit("Add", ["in", "f"], { outputs: ["out"] });
    });
    expect(inferred(graph)).toEqual([
      [2, 4],
      ["?", 2, 4],
    ]);
    expect(inside(graph, "f")).toEqual([2, 4]);
    expect(await shapesOf(graph, feeds)).toEqual([
      [2, 4],
      [3, 2, 4],
    ]);
  });

  test("one that grows is not taken to keep its shape", async () => {
    const graph = loop((b) => {
      b.emit("Concat", ["in", "in"], { outputs: ["out"], attributes: { axis: int(0) } });
    });
    expect(inferred(graph)[0]).toBeUndefined();
    expect(inside(graph, "out")).toBeUndefined();
    const outputs = graph.outputs.slice(0, 1);
    const alone = { ...graph, outputs, nodes: graph.nodes.map(withoutStack) };
    expect(await shapesOf(alone, feeds)).toEqual([[16, 4]]);
  });

  test("of which nothing is known is the same graph again", () => {
    const graph = loop((b) => {
      b.emit("Mystery", ["in"], { outputs: ["out"], domain: "custom" });
    });
    const unknown = { ...graph, inputs: graph.inputs.map((value) => float(value.name)) };
    const once = inferShapes(unknown);
    expect(inferShapes(once)).toBe(once);
  });

  test("no iteration at all leaves the first value", () => {
    const graph = loop(
      (b) => {
        b.initializer("three", float32([3, 4], new Float32Array(12)));
        b.emit("Identity", ["three"], { outputs: ["out"] });
      },
      ["?", 4],
    );
    expect(inside(graph, "out")).toEqual([3, 4]);
    expect(inferred(graph)[0]).toEqual(["?", 4]);
  });

  test("what the file declares of a body is used", () => {
    const graph = loop(
      (b) => {
        b.emit("Concat", ["in", "in"], { outputs: ["out"], attributes: { axis: int(0) } });
      },
      ["?", 4],
    );
    expect(inferred(graph)).toEqual([
      ["?", 4],
      ["?", "?", 4],
    ]);
  });
});

/** A loop whose rows differ cannot stack them: the body without its last output. */
function withoutStack(node: Node): Node {
  const attribute = node.attributes.get("body");
  if (attribute?.kind !== "graph") return node;
  const outputs = attribute.value.outputs.slice(0, 2);
  return {
    ...node,
    outputs: node.outputs.slice(0, 1),
    attributes: new Map([["body", body({ ...attribute.value, outputs })]]),
  };
}

describe("Scan", () => {
  test("slices go in, a state is carried, results are stacked where asked", async () => {
    const graph = graphOf([float("s0", [2]), float("x", [2, 5])], ["s", "y"], (b) => {
      const attribute = bodyOf({
        inputs: [float("state"), float("slice")],
        outputs: [float("next"), float("row")],
        fill: (inner) => {
          inner.emit("Add", ["state", "slice"], { outputs: ["next"] });
          inner.emit("Identity", ["next"], { outputs: ["row"] });
        },
      });
      b.emit("Scan", ["s0", "x"], {
        attributes: {
          body: attribute,
          num_scan_inputs: int(1),
          scan_input_axes: { kind: "ints", value: [1] },
          scan_output_axes: { kind: "ints", value: [-1] },
        },
        outputs: ["s", "y"],
      });
    });
    expect(inferred(graph)).toEqual([[2], [2, 5]]);
    expect(inside(graph, "next")).toEqual([2]);
    const feeds = new Map([
      ["s0", float32([2], [0, 0])],
      ["x", float32([2, 5], new Float32Array(10))],
    ]);
    expect(await shapesOf(graph, feeds)).toEqual([[2], [2, 5]]);
  });
});

describe("Scan of operator set 8", () => {
  test("has a batch axis, and lengths in front of the states", async () => {
    const graph = graphOf([float("s0", [2, 3]), float("x", [2, 5, 3])], ["s", "y"], (b) => {
      const attribute = bodyOf({
        inputs: [float("state", [3]), float("slice", [3])],
        outputs: [float("next", [3]), float("row", [3])],
        fill: (inner) => {
          inner.emit("Add", ["state", "slice"], { outputs: ["next"] });
          inner.emit("Identity", ["next"], { outputs: ["row"] });
        },
      });
      b.emit("Scan", ["", "s0", "x"], {
        attributes: { body: attribute, num_scan_inputs: int(1) },
        outputs: ["s", "y"],
      });
    });
    const old = { ...graph, opsets: new Map([["", 8]]) };
    expect(inferred(old)).toEqual([
      [2, 3],
      [2, 5, 3],
    ]);
    const feeds = new Map([
      ["s0", float32([2, 3], new Float32Array(6))],
      ["x", float32([2, 5, 3], new Float32Array(30))],
    ]);
    expect(await shapesOf(old, feeds)).toEqual([
      [2, 3],
      [2, 5, 3],
    ]);
  });

  test("enters its body without batch and step", () => {
    const graph = graphOf([float("s0", ["N", 3]), float("x", ["N", "T", 4])], ["s", "y"], (b) => {
      const attribute = bodyOf({
        inputs: [float("state"), float("slice")],
        outputs: [float("state"), float("row")],
        fill: (inner) => inner.emit("Relu", ["slice"], { outputs: ["row"] }),
      });
      b.emit("Scan", ["", "s0", "x"], {
        attributes: { body: attribute, num_scan_inputs: int(1) },
        outputs: ["s", "y"],
      });
    });
    const old = { ...graph, opsets: new Map([["", 8]]) };
    expect(inside(old, "row")).toEqual([4]);
    expect(inferred(old)).toEqual([
      ["N", 3],
      ["N", "T", 4],
    ]);
  });
});

test("a value that a body makes itself is not the one of the same name outside", () => {
  const graph = graphOf([float("x", [2]), { name: "c", dtype: "bool", shape: [] }], ["y"], (b) => {
    const hides = bodyOf({
      outputs: [float("r")],
      fill: (inner) => {
        inner.emit("Mystery", [], { outputs: ["x"], domain: "custom" });
        inner.emit("Relu", ["x"], { outputs: ["r"] });
      },
    });
    b.emit("If", ["c"], {
      attributes: { then_branch: hides, else_branch: hides },
      outputs: ["y"],
    });
  });
  expect(inferShapes(graph).outputs[0]?.shape).toBeUndefined();
});
