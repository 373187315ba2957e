import { describe, expect, test } from "vitest";
import { sound } from "../../../test/sound.ts";
import { SkipwayError } from "../../base/errors.ts";
import { Random } from "../../base/random.ts";
import { inlineFunctions } from "../../canonical/inline.ts";
import type { Graph } from "../../graph/graph.ts";
import { parseGraph } from "../../graph/parse.ts";
import { isStatic } from "../../graph/shape.ts";
import { float32, numbersOf, type Tensor } from "../../graph/tensor.ts";
import type { Model } from "../../onnx/model.ts";
import { modelOf, withGraph } from "../../onnx/onnx-model.ts";
import { readModel } from "../../onnx/read.ts";
import { encodeModel } from "../../onnx/write.ts";
import { schemasOf, standardOps } from "../../ops/schema.ts";
import { inProcessRunner } from "../../runtime/in-process.ts";
import { isWider, STEPS } from "./steps.ts";
import { OPSET_OF_GRADIENTS, upgradeOpset } from "./upgrade-opset.ts";

// The oracle is the runtime, which still has the kernels of old versions: a graph gives the same numbers
// before and after. Where it never had one (below operator set 7) the formula of the standard is.

const old = (opset: number, text: string): Graph =>
  parseGraph(text, { opsets: new Map([["", opset]]) });

function inputsOf(graph: Graph): Map<string, Tensor> {
  const random = new Random(7);
  const fixed = graph.inputs.filter(({ name }) => !graph.initializers.has(name));
  return new Map(
    fixed.map(({ name, shape }) => {
      const sizes = (shape ?? []).map((dim) => (typeof dim === "number" ? dim : 2));
      const count = isStatic(sizes) ? sizes.reduce((a, b) => a * b, 1) : 0;
      return [
        name,
        float32(
          sizes,
          Float32Array.from({ length: count }, () => random.normal()),
        ),
      ];
    }),
  );
}

async function run(graph: Graph): Promise<Map<string, readonly number[]>> {
  await using session = await inProcessRunner().load({ bytes: encodeModel(modelOf(graph)) });
  const found = await session.run(inputsOf(graph));
  return new Map([...found].map(([name, value]) => [name, numbersOf(value) ?? []]));
}

/** A row: what it shows, its operator set, its graph. */
const ROWS: readonly (readonly [string, number, string])[] = [
  ["Softmax of a matrix", 11, "g (float[2,3,4] x) => (float[2,3,4] y) { y = Softmax (x) }"],
  [
    "Softmax over several axes",
    9,
    "g (float[N,3,4] x) => (float[N,3,4] y) { y = Softmax <axis = 0> (x) }",
  ],
  [
    "Softmax of channels alone",
    11,
    "g (float[2,5,1,1] x) => (float[2,5,1,1] y) { y = Softmax <axis = 1> (x) }",
  ],
  [
    "LogSoftmax along the last axis",
    11,
    "g (float[2,3,4] x) => (float[2,3,4] y) { y = LogSoftmax <axis = 2> (x) }",
  ],
  ["Hardmax", 11, "g (float[2,3,4] x) => (float[2,3,4] y) { y = Hardmax (x) }"],
  [
    "Reduce… with axes",
    11,
    `g (float[2,3,4] x) => (float[M] a, float[M] b, float[M] c, float[M,3] d)
     { a = ReduceSum <axes = [1, 2], keepdims = 0> (x)  b = ReduceMean <axes = [1, -1], keepdims = 0> (x)
       c = ReduceL2 <axes = [1, 2], keepdims = 0> (x)  d = ReduceMax <axes = [2], keepdims = 0> (x) }`,
  ],
  ["Reduce… of all", 8, "g (float[2,3] x) => (float[1,1] y) { y = ReduceProd (x) }"],
  [
    "Squeeze and Unsqueeze",
    11,
    `g (float[2,1,3,1] x) => (float[2,3] a, float[2,1,3] b, float[1,2,1,3,1,1] c)
     { a = Squeeze (x)  b = Squeeze <axes = [-1]> (x)  c = Unsqueeze <axes = [0, 4]> (x) }`,
  ],
  [
    "Slice",
    9,
    "g (float[4,5] x) => (float[2,4] y) { y = Slice <starts = [1, 0], ends = [3, -1]> (x) }",
  ],
  [
    "Slice to the end along an axis",
    8,
    "g (float[4,5] x) => (float[4,2] y) { y = Slice <starts = [3], ends = [9223372036854775807], axes = [1]> (x) }",
  ],
  [
    "Split by sizes and into equal parts",
    11,
    `g (float[4,6] x) => (float[4,2] a, float[4,4] b, float[2,6] c, float[2,6] d)
     { a, b = Split <axis = 1, split = [2, 4]> (x)  c, d = Split (x) }`,
  ],
  [
    "Pad",
    10,
    `g (float[2,3] x) => (float[4,4] a, float[2,5] b)
     { a = Pad <pads = [1, 0, 1, 1], value = 1.5> (x)  b = Pad <mode = "reflect", pads = [0, 1, 0, 1]> (x) }`,
  ],
  [
    "Clip",
    7,
    `g (float[3,4] x) => (float[3,4] a, float[3,4] b)
     { a = Clip <min = -0.5, max = 0.5> (x)  b = Clip <min = 0.0> (x) }`,
  ],
  ["TopK", 9, "g (float[2,5] x) => (float[2,3] y, int64[2,3] i) { y, i = TopK <k = 3> (x) }"],
  [
    "Upsample by a list",
    7,
    `g (float[1,2,3,3] x) => (float[1,2,6,9] a, float[1,2,6,6] b)
     { a = Upsample <mode = "nearest", scales = [1.0, 1.0, 2.0, 3.0]> (x)
       b = Upsample <mode = "linear", scales = [1.0, 1.0, 2.0, 2.0]> (x) }`,
  ],
  [
    "Upsample by an input, by a fraction",
    9,
    `g (float[1,1,3,5] x) => (float[1,1,H,W] y) <float[4] s = {1.0, 1.0, 1.5, 2.3}>
     { y = Upsample <mode = "nearest"> (x, s) }`,
  ],
  [
    "Resize that shrinks, grows, and both",
    10,
    `g (float[1,1,4,6] x) => (float[1,1,A,B] a, float[1,1,C,D] b, float[1,1,E,F] c, float[1,1,G,H] d)
     <float[4] s = {1, 1, 0.6, 0.6}, float[4] t = {1, 1, 1.7, 2}, float[4] u = {1, 1, 0.6, 1.7}>
     { a = Resize (x, s)  b = Resize (x, t)  c = Resize (x, u)  d = Resize <mode = "linear"> (x, u) }`,
  ],
  [
    "Resize with empty inputs",
    11,
    `g (float[1,1,4,6] x) => (float[1,1,8,3] y) <float[0] none = {}, int64[4] sizes = {1, 1, 8, 3}>
     { y = Resize <mode = "linear", coordinate_transformation_mode = "pytorch_half_pixel"> (x, none, none, sizes) }`,
  ],
  [
    "BatchNormalization",
    7,
    `g (float[2,2,3,3] x) => (float[2,2,3,3] y)
     <float[2] s = {1, 2}, float[2] b = {0, 1}, float[2] m = {0.5, -0.5}, float[2] v = {1, 4}>
     { y = BatchNormalization <momentum = 0.9> (x, s, b, m, v) }`,
  ],
  ["Dropout", 7, "g (float[2,3] x) => (float[2,3] y) { y = Dropout <ratio = 0.4> (x) }"],
  ["Dropout with a mask", 10, "g (float[2,3] x) => (float[2,3] y) { y, mask = Dropout (x) }"],
  [
    "Scatter",
    9,
    `g (float[3,3] x) => (float[3,3] y) <int64[1,3] i = {2, 0, 1}, float[1,3] u = {7, 8, 9}>
     { y = Scatter (x, i, u) }`,
  ],
  [
    "GridSample",
    16,
    `g (float[1,1,4,4] x, float[1,3,3,2] grid) => (float[1,1,3,3] a, float[1,1,3,3] b)
     { a = GridSample (x, grid)  b = GridSample <mode = "bicubic"> (x, grid) }`,
  ],
  [
    "GroupNormalization",
    18,
    `g (float[2,6,3] x) => (float[2,6,3] y) <float[2] s = {1, 2}, float[2] b = {-1, 1}>
     { y = GroupNormalization <num_groups = 2> (x, s, b) }`,
  ],
  [
    "RoiAlign",
    10,
    `g (float[1,1,6,6] x) => (float[1,1,2,2] y) <float[1,4] r = {0, 0, 4, 4}, int64[1] i = {0}>
     { y = RoiAlign <output_height = 2, output_width = 2, sampling_ratio = 2> (x, r, i) }`,
  ],
  ["DFT", 17, "g (float[1,4,2,2] x) => (float[1,4,2,2] y) { y = DFT (x) }"],
  [
    "Scan over a batch",
    8,
    `g (float[2,3] h, float[2,4,3] x) => (float[2,3] last, float[2,4,3] all)
     { last, all = Scan <num_scan_inputs = 1, body =
         step (float[3] before, float[3] now) => (float[3] after, float[3] out)
         { after = Add (before, now)  out = Identity (after) }> (, h, x) }`,
  ],
  [
    "bodies of control flow",
    11,
    `g (float[3,4] x) => (float[3] y) <bool c = {1}>
     { y = If <then_branch = yes () => (float[3] a) { a = ReduceSum <axes = [1], keepdims = 0> (x) },
               else_branch = no () => (float[3] b) { s = Softmax (x)  b = ReduceMax <axes = [1], keepdims = 0> (s) }> (c) }`,
  ],
];

describe("the same numbers on the runtime, before and after", () => {
  test.each(ROWS)("%s (operator set %i)", async (_name, opset, text) => {
    const before = old(opset, text);
    const after = sound(upgradeOpset(before));
    expect(after.opsets.get("")).toBe(OPSET_OF_GRADIENTS);
    expect(await run(after)).toEqual(await run(before));
  });

  test("a sound graph of the target, and later ones, stay the same object", () => {
    const text = "g (float[2] x) => (float[2] y) { y = Relu (x) }";
    for (const opset of [21, 24]) {
      const graph = old(opset, text);
      expect(upgradeOpset(graph)).toBe(graph);
    }
  });

  test("a graph of other domains alone gets a standard operator set", () => {
    const graph = parseGraph(
      `<opset_import: ["ai.onnx.ml" : 3]> g (float[2] x) => (float[2] y) { y = ai.onnx.ml.Binarizer (x) }`,
    );
    expect(sound(upgradeOpset(graph)).opsets.get("")).toBe(OPSET_OF_GRADIENTS);
  });

  test("up to the newest operator set", async () => {
    for (const [, opset, text] of ROWS.slice(0, 6)) {
      const graph = old(opset, text);
      // The runtime of the tests ends before the newest of the table.
      expect(await run(sound(upgradeOpset(graph, 23)))).toEqual(await run(graph));
    }
  });
});

describe("before operator set 7, by the formulas of the standard", () => {
  const numbers = async (opset: number, text: string): Promise<readonly number[]> => {
    const graph = sound(upgradeOpset(old(opset, text)));
    return (await run(graph)).get("y") ?? [];
  };

  test("the second operand is aligned at an axis", async () => {
    const y = await numbers(
      6,
      `g () => (float[1,2,2] y) <float[1,2,2] a = {1, 2, 3, 4}, float[2] b = {10, 20}>
       { y = Add <broadcast = 1, axis = 1> (a, b) }`,
    );
    expect(y).toEqual([11, 12, 23, 24]);
  });

  test("and at the end without one", async () => {
    const y = await numbers(
      6,
      `g () => (float[2,2] y) <float[2,2] a = {1, 2, 3, 4}, float[2] b = {10, 20}>
       { y = Mul <broadcast = 1> (a, b) }`,
    );
    expect(y).toEqual([10, 40, 30, 80]);
  });

  test("a slope is that of a channel", async () => {
    const y = await numbers(
      6,
      `g () => (float[1,2,2] y) <float[1,2,2] a = {-1, -2, -3, 4}, float[2] b = {10, 20}>
       { y = PRelu (a, b) }`,
    );
    expect(y).toEqual([-10, -20, -60, 4]);
  });

  test("types have names", async () => {
    const text = `g () => (int32[2] y) <float[2] a = {1.5, -2.5}> { y = Cast <to = "INT32"> (a) }`;
    expect(await numbers(5, text)).toEqual([1, -2]);
  });

  test("a Dropout and a BatchNormalization of a test do not train", () => {
    const text = `g (float[2,2] x) => (float[2,2] y)
      <float[2] s = {1, 2}, float[2] b = {0, 1}, float[2] m = {0.5, -0.5}, float[2] v = {1, 4}>
      { n = BatchNormalization <is_test = IS> (x, s, b, m, v)  y = Dropout <is_test = IS> (n) }`;
    const testing = sound(upgradeOpset(old(6, text.replaceAll("IS", "1"))));
    expect(testing.nodes.map((node) => [node.inputs.length, node.outputs.length])).toEqual([
      [5, 1],
      [1, 1],
    ]);
    const training = sound(upgradeOpset(old(6, text.replaceAll("IS", "0"))));
    expect(training.nodes.map((node) => [node.inputs.length, node.outputs.length])).toEqual([
      [5, 3],
      [3, 1],
    ]);
  });
});

describe("functions", () => {
  const model = (attributes: string): Graph =>
    parseGraph(
      `<opset_import: ["" : 11, "own" : 1]>
       g (float[2,3] x) => (float[2,1] y) { y = own.Norm (x) }
       <opset_import: ["" : 11], domain: "own"> Norm (x) => (y) { s = Softmax (x)  y = ReduceSum <${attributes}> (s) }`,
    );

  test("have constants as nodes, and compute the same", async () => {
    const before = model("axes = [1]");
    const after = upgradeOpset(before);
    const [called] = [...(after.functions?.values() ?? [])];
    expect(called?.nodes.map((node) => node.op)).toContain("Constant");
    expect(called?.opsets.get("")).toBe(OPSET_OF_GRADIENTS);
    expect(await run(sound(after))).toEqual(await run(before));
  });
});

describe("a model that was read", () => {
  const text = `<opset_import: ["" : 11, "own" : 1]>
     g (float[2,3] x) => (float[2,1] y) { y = own.Norm (x) }
     <opset_import: ["" : 11], domain: "own"> Norm (x) => (y) { s = Softmax (x)  y = ReduceSum <axes = [1]> (s) }`;
  const read = (): Model => readModel(encodeModel(modelOf(parseGraph(text))));

  test("is written with the functions that its graph has now", async () => {
    const model = read();
    const upgraded = upgradeOpset(model.graph);
    const again = readModel(encodeModel(withGraph(model, upgraded))).graph;
    const [called] = [...(again.functions?.values() ?? [])];
    expect(called?.opsets.get("")).toBe(OPSET_OF_GRADIENTS);
    expect(await run(again)).toEqual(await run(model.graph));
  });

  test("and without those that were inlined", () => {
    const model = read();
    const again = readModel(encodeModel(withGraph(model, inlineFunctions(model.graph))));
    expect(again.functions).toEqual([]);
  });
});

describe("what has no newer form is named", () => {
  const found = (opset: number, text: string): readonly string[] => {
    try {
      upgradeOpset(old(opset, text));
    } catch (error) {
      if (error instanceof SkipwayError) {
        return error.diagnostics.map(({ id, where, fix }) => `${id} ${where} ${fix !== undefined}`);
      }
    }
    return [];
  };

  test.each([
    ["NoSuchOp", 9, "{ y = NoSuchOp (x) }", "upgrade/unknown-op node NoSuchOp_0 (NoSuchOp) true"],
    [
      "statistics of each place",
      7,
      "{ y = BatchNormalization <spatial = 0> (x, x, x, x, x) }",
      "upgrade/no-form node BatchNormalization_0 (BatchNormalization) true",
    ],
    [
      "places of TensorFlow",
      11,
      `{ y = Resize <coordinate_transformation_mode = "tf_half_pixel_for_nn"> (x, , x) }`,
      "upgrade/no-form node Resize_0 (Resize) true",
    ],
    [
      "an axis of what has no rank",
      6,
      "{ n = NonZero (x)  y = Add <broadcast = 1, axis = 0> (x, n) }",
      "upgrade/no-form node Add_1 (Add) true",
    ],
  ] as const)("%s", (_name, opset, nodes, expected) => {
    const text = `g (float[] x) => (float[] y) ${nodes}`;
    expect(found(opset, text)).toContain(expected);
  });
});

describe("the table against the schemas", () => {
  /** Ops whose change below operator set 7 nobody has needed; met in a file, they are refused. */
  const REFUSED = new Set(["Tile 6", "Split 2", "LpPool 2", "GRU 3", "LSTM 7", "RNN 7"]);

  test("every change of a form has a way, and every way a version", () => {
    const missing: string[] = [];
    for (const key of standardOps().filter((one) => one.startsWith("/"))) {
      const op = key.slice(1);
      const versions = schemasOf("", op);
      for (const [i, next] of versions.entries()) {
        const before = versions[i - 1];
        if (before === undefined || isWider(before, next)) continue;
        const known = STEPS.get(op)?.some(({ since }) => since === next.since) ?? false;
        const name = `${op} ${next.since}`;
        if (!known && !REFUSED.has(name)) missing.push(name);
      }
    }
    expect(missing).toEqual([]);
    const made = [...STEPS].flatMap(([op, steps]) =>
      steps.map(({ since }) => [op, since] as const),
    );
    const idle = made.filter(
      ([op, since]) => !schemasOf("", op).some((one) => one.since === since),
    );
    expect(idle).toEqual([]);
  });
});
