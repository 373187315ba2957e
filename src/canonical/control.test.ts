import { describe, expect, test } from "vitest";
import { sound } from "../../test/sound.ts";
import type { Graph, Node } from "../graph/graph.ts";
import type { Shape } from "../graph/shape.ts";
import { float32, type Tensor, tensor } from "../graph/tensor.ts";
import { graph } from "../graph/text.test-helper.ts";
import { modelOf } from "../onnx/onnx-model.ts";
import { encodeModel } from "../onnx/write.ts";
import { inProcessRunner } from "../runtime/in-process.ts";
import { inferShapes } from "./infer-shapes.ts";

// Bodies are typed from what surrounds them, and what they give is held against the runtime.

/** The elements of a weight, as the text form has them. */
const zeros = (count: number): string => Array<number>(count).fill(0).join();

async function shapesOf(made: Graph, feeds: ReadonlyMap<string, Tensor>) {
  await using session = await inProcessRunner().load({ bytes: encodeModel(modelOf(made)) });
  const found = await session.run(feeds);
  return made.outputs.map(({ name }) => found.get(name)?.shape);
}

const inferred = (made: Graph): (Shape | undefined)[] =>
  sound(inferShapes(made)).outputs.map(({ shape }) => shape);

/** Of the first body of the first node. */
function inside(made: Graph, name: string): Shape | undefined {
  const [node] = sound(inferShapes(made)).nodes as [Node];
  for (const attribute of node.attributes.values()) {
    if (attribute.kind === "graph") return attribute.value.values.get(name)?.shape;
  }
  return undefined;
}

describe("If", () => {
  const asks = (columns: number): Graph => graph`
    g (float[2,3] x, bool c) => (float[] y) <float[3,${columns}] w = {${zeros(3 * columns)}}>
    {
      y = If (c) <
        then_branch = product () => (float[] p) { p = MatMul (x, w) },
        else_branch = relu () => (float[] r) { r = Relu (x) }>
    }`;

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

/** `out` ← step(`in`), three times; the stack of what `in` was. */
function loop(step: string, { state = "float[]", weights = "" } = {}): Graph {
  return graph`
    g (float[2,4] h0) => (float[] h, float[] stack)
    <int64 trips = {3}, float[4,4] w = {${zeros(16)}}>
    {
      h, stack = Loop (trips, "", h0) <
        body = body (int64 i, bool go, ${state} in) => (bool go2, float[] out, float[] row) <${weights}>
        { go2 = Identity (go)  ${step}  row = Identity (in) }>
    }`;
}

describe("Loop", () => {
  const feeds = new Map([["h0", float32([2, 4], new Float32Array(8))]]);

  test("a carried value that keeps its shape has it after any number of iterations", async () => {
    const made = loop("f = MatMul (in, w)  out = Add (in, f)");
    expect(inferred(made)).toEqual([
      [2, 4],
      ["?", 2, 4],
    ]);
    expect(inside(made, "f")).toEqual([2, 4]);
    expect(await shapesOf(made, feeds)).toEqual([
      [2, 4],
      [3, 2, 4],
    ]);
  });

  test("one that grows is not taken to keep its shape", async () => {
    const made = loop("out = Concat <axis = 0> (in, in)");
    expect(inferred(made)[0]).toBeUndefined();
    expect(inside(made, "out")).toBeUndefined();
    const outputs = made.outputs.slice(0, 1);
    const alone = { ...made, outputs, nodes: made.nodes.map(withoutStack) };
    expect(await shapesOf(alone, feeds)).toEqual([[16, 4]]);
  });

  test("of which nothing is known is the same graph again", () => {
    const made = loop("out = custom.Mystery (in)");
    const inputs = made.inputs.map((value) => ({ ...value, shape: undefined }));
    const unknown = { ...made, inputs };
    const once = inferShapes(unknown);
    expect(inferShapes(once)).toBe(once);
  });

  test("no iteration at all leaves the first value", () => {
    const weights = `float[3,4] three = {${zeros(12)}}`;
    const made = loop("out = Identity (three)", { state: "float[?,4]", weights });
    expect(inside(made, "out")).toEqual([3, 4]);
    expect(inferred(made)[0]).toEqual(["?", 4]);
  });

  test("what the file declares of a body is used", () => {
    const made = loop("out = Concat <axis = 0> (in, in)", { state: "float[?,4]" });
    expect(inferred(made)).toEqual([
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
    attributes: new Map([["body", { ...attribute, value: { ...attribute.value, outputs } }]]),
  };
}

describe("Scan", () => {
  test("slices go in, a state is carried, results are stacked where asked", async () => {
    const made = graph`
      g (float[2] s0, float[2,5] x) => (float[] s, float[] y)
      {
        s, y = Scan (s0, x) <
          body = body (float[] state, float[] slice) => (float[] next, float[] row)
            { next = Add (state, slice)  row = Identity (next) },
          num_scan_inputs = 1, scan_input_axes = [1], scan_output_axes = [-1]>
      }`;
    expect(inferred(made)).toEqual([[2], [2, 5]]);
    expect(inside(made, "next")).toEqual([2]);
    const feeds = new Map([
      ["s0", float32([2], [0, 0])],
      ["x", float32([2, 5], new Float32Array(10))],
    ]);
    expect(await shapesOf(made, feeds)).toEqual([[2], [2, 5]]);
  });
});

describe("Scan of operator set 8", () => {
  test("has a batch axis, and lengths in front of the states", async () => {
    const old = graph`
      <opset_import: ["" : 8]>
      g (float[2,3] s0, float[2,5,3] x) => (float[] s, float[] y)
      {
        s, y = Scan ("", s0, x) <
          body = body (float[3] state, float[3] slice) => (float[3] next, float[3] row)
            { next = Add (state, slice)  row = Identity (next) },
          num_scan_inputs = 1>
      }`;
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
    const old = graph`
      <opset_import: ["" : 8]>
      g (float[N,3] s0, float[N,T,4] x) => (float[] s, float[] y)
      {
        s, y = Scan ("", s0, x) <
          body = body (float[] state, float[] slice) => (float[] state, float[] row)
            { row = Relu (slice) },
          num_scan_inputs = 1>
      }`;
    expect(inside(old, "row")).toEqual([4]);
    expect(inferred(old)).toEqual([
      ["N", 3],
      ["N", "T", 4],
    ]);
  });
});

test("a value that a body makes itself is not the one of the same name outside", () => {
  const hides = "hides () => (float[] r) { x = custom.Mystery ()  r = Relu (x) }";
  const made = graph`
    g (float[2] x, bool c) => (float[] y)
    { y = If (c) <then_branch = ${hides}, else_branch = ${hides}> }`;
  expect(inferShapes(made).outputs[0]?.shape).toBeUndefined();
});
