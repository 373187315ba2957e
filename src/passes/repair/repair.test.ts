import { describe, expect, test } from "vitest";
import { lint } from "../../analysis/lint.ts";
import { inferShapes } from "../../canonical/infer-shapes.ts";
import type { Graph } from "../../graph/graph.ts";
import { parseGraph } from "../../graph/parse.ts";
import { float32, float32Values } from "../../graph/tensor.ts";
import { modelOf } from "../../onnx/onnx-model.ts";
import { encodeModel } from "../../onnx/write.ts";
import { inProcessRunner } from "../../runtime/in-process.ts";
import { repair } from "./repair.ts";

const zeros = (count: number): string =>
  Array.from({ length: count }, (_, i) => (i % 5) - 2).join();

const net = (inputs: string, weights: string, nodes: string, opset = 20): Graph =>
  parseGraph(`<ir_version: 8, opset_import: ["" : ${opset}]>
    net (${inputs}) => (float y) <${weights}> { ${nodes} }`);

/** The output for a batch, on the runtime. */
async function outputs(graph: Graph, batch: number) {
  await using session = await inProcessRunner().load({ bytes: encodeModel(modelOf(graph)) });
  const feeds = graph.inputs.map(({ name, shape }) => {
    const dims = (shape ?? []).map((dim) => (typeof dim === "number" ? dim : batch));
    const one = dims.slice(1).reduce((a, b) => a * b, 1);
    const values = Float32Array.from({ length: one * (dims[0] ?? 1) }, (_, i) => Math.sin(i % one));
    return [name, float32(dims, values)] as const;
  });
  const y = (await session.run(new Map(feeds))).get("y");
  return y === undefined ? undefined : { shape: y.shape, values: [...float32Values(y)] };
}

const conv = `float[4,2,3,3] w = {${zeros(72)}}`;
const half = "h = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (x, w) r = Relu (h)";

describe("merges", () => {
  test.each<[string, Graph, readonly number[], string]>([
    [
      "a projection with stride",
      net("float[N,2,8,8] x", conv, `${half} y = Add (r, x)`),
      [4, 4, 4],
      "Conv",
    ],
    [
      "a projection and a crop",
      net(
        "float[N,2,9,9] x",
        `float[4,2,2,2] w = {${zeros(32)}}`,
        "h = Conv <strides = [2, 2]> (x, w) y = Add (h, x)",
      ),
      [4, 4, 4],
      "Slice",
    ],
    [
      "a dense layer",
      net("float[N,2] x", "float[2,3] w = {1,2,3,4,5,6}", "h = MatMul (x, w) y = Add (h, x)"),
      [3],
      "MatMul",
    ],
    [
      "padding on both axes",
      net(
        "float[N,2,9,9] x",
        `float[2,2,2,2] w = {${zeros(16)}}`,
        "a = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x) u = ConvTranspose <strides = [2, 2]> (a, w) y = Concat <axis = 1> (u, x)",
      ),
      [4, 9, 9],
      "Pad",
    ],
    [
      "the same in an old operator set",
      net(
        "float[N,2,9,9] x",
        `float[2,2,2,2] w = {${zeros(16)}}`,
        "a = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x) u = ConvTranspose <strides = [2, 2]> (a, w) y = Concat <axis = 1> (u, x)",
        9,
      ),
      [4, 9, 9],
      "Pad",
    ],
    [
      "a crop",
      net(
        "float[N,4,16,16] x",
        `float[4,4,3,3] w = {${zeros(144)}}`,
        "h = Conv (x, w) y = Concat <axis = 1> (h, x)",
      ),
      [8, 14, 14],
      "Slice",
    ],
    [
      "another layout",
      net(
        "float[N,8,8,2] z, float[N,2,8,8] x",
        `float[2,2,1,1] w = {1,2,3,4}`,
        "h = Conv (x, w) y = Add (h, z)",
      ),
      [2, 8, 8],
      "Transpose",
    ],
    [
      "another axis of a Concat",
      net("float[N,2,8,8] x, float[N,3,8,8] z", "", "y = Concat <axis = 2> (x, z)"),
      [5, 8, 8],
      "Concat",
    ],
    [
      "tokens",
      net("float[N,4,3] z, float[N,3,2,2] x", "", "h = Relu (z) y = Add (h, x)"),
      [4, 3],
      "Reshape",
    ],
  ])("%s", async (_, graph, shape, op) => {
    const { graph: mended, fixed, unfixed } = repair(graph);
    expect(unfixed).toEqual([]);
    expect(fixed).toMatchObject([{ id: "shape/mismatch" }]);
    expect(mended.nodes.map((node) => node.op)).toContain(op);
    expect(lint(mended).filter(({ severity }) => severity === "error")).toEqual([]);
    expect(inferShapes(mended).outputs[0]?.shape).toEqual(["N", ...shape]);
    expect((await outputs(mended, 3))?.shape).toEqual([3, ...shape]);
  });

  test("a merge behind a mended one is seen with its new shapes", async () => {
    const graph = net(
      "float[N,2,8,8] x",
      `${conv}, float[4,4,1,1] v = {${zeros(16)}}`,
      `${half} s = Add (r, x) t = Conv <strides = [2, 2]> (s, v) y = Add (t, s)`,
    );
    const { graph: mended, fixed } = repair(graph);
    expect(fixed).toHaveLength(2);
    expect((await outputs(mended, 2))?.shape).toEqual([2, 4, 2, 2]);
  });

  test("what the file declares behind a mended merge is let go", () => {
    const graph = net("float[N,4,3] z, float[N,3,2,2] x", "", "h = Relu (z) y = Add (h, x)");
    const y = { name: "y", dtype: "float32", shape: ["N", 3, 2, 2] } as const;
    const declared = { ...graph, outputs: [y], values: new Map([["y", y]]) };
    expect(repair(declared).graph.outputs).toMatchObject([{ shape: ["N", 4, 3] }]);
  });

  test("a repair that brings an error to light does not count", () => {
    const graph = net(
      "float[N,2,8,8] x, float[N,4,2,9] z",
      conv,
      `${half} s = Add (r, x) [last] y = Add (s, z)`,
    );
    const { graph: same, fixed, unfixed } = repair(graph);
    expect(same).toBe(graph);
    expect(fixed).toEqual([]);
    expect(unfixed.at(-1)?.reason).toMatch(/^the result would have shape\/mismatch at node last/);
  });

  test("new weights follow from the seed and are neither zero nor alike", () => {
    const graph = net("float[N,2,8,8] x", conv, `${half} y = Add (r, x)`);
    const weight = (seed: number) =>
      [...repair(graph, { seed }).graph.initializers].find(([name]) =>
        name.endsWith(".weight"),
      )?.[1].data;
    expect(weight(1)).toEqual(weight(1));
    expect(weight(1)).not.toEqual(weight(2));
  });

  test.each([
    ["float[4,2] x, float[8,2] z", "y = Add (x, z)", /two batches/],
    ["float[N,2,8,8] x, float[N,2,5,3] z", "y = Add (x, z)", /for the author/],
    ["float[N,4] x, float[N,3] z", "y = Mul (x, z)", /before a sum/],
    ["float[N,70000] x, float[N,60000] z", "y = Add (x, z)", /too large/],
  ])("%s is left, with the reason", (inputs, nodes, reason) => {
    const graph = net(inputs, "", nodes);
    const outcome = repair(graph, { wanted: (id) => id === "shape/mismatch" });
    expect(outcome.graph).toBe(graph);
    expect(outcome.unfixed).toMatchObject([{ reason: expect.stringMatching(reason) }]);
  });
});

describe("broadcasts", () => {
  test.each<[string, Graph, number]>([
    [
      "a pooled map",
      net("float[N,2,8,8] x", "", "r = Relu (x) m = GlobalAveragePool (r) y = Add (r, m)"),
      1,
    ],
    [
      "both operands",
      net("float[N,1,4] x, float[N,3,1] z", "", "a = Relu (x) b = Relu (z) y = Add (a, b)"),
      2,
    ],
  ])("%s: an Expand says so, with the same results", async (_, graph, count) => {
    const { graph: mended, fixed, unfixed } = repair(graph);
    expect(unfixed).toEqual([]);
    expect(fixed).toMatchObject([{ id: "merge/silent-broadcast" }]);
    expect(mended.nodes.filter(({ op }) => op === "Expand")).toHaveLength(count);
    expect(lint(mended)).toEqual([]);
    expect(await outputs(mended, 3)).toEqual(await outputs(graph, 3));
  });
});

describe("batch", () => {
  test.each<[string, Graph]>([
    ["inputs alone", net("float[1,2,8,8] x", conv, `${half} y = Relu (r)`)],
    [
      "a Reshape that keeps it",
      net("float[1,2,8,8] x", "int64[2] t = {1,128}", "y = Reshape (x, t)"),
    ],
    [
      "a Reshape with -1 elsewhere",
      net("float[1,2,8,8] x", "int64[2] t = {1,-1}", "y = Reshape (x, t)"),
    ],
    [
      "a Reshape that merges it",
      net(
        "float[1,2,4] x",
        "int64[2] t = {2,-1}, int64[3] u = {1,2,4}",
        "a = Reshape (x, t) b = Relu (a) y = Reshape (b, u)",
      ),
    ],
    ["an Expand", net("float[1,1,4] x", "int64[3] t = {1,2,4}", "y = Expand (x, t)")],
    [
      "attention in which heads and examples share an axis, as PyTorch writes it",
      net(
        "float[1,3,4] x",
        `float[4,4] w = {${zeros(16)}}, int64[3] heads = {3,2,2}, int64[2] rows = {3,4},
         int64[3] back = {3,1,4}, float[1,1,4] c = {1,2,3,4}`,
        `t = Transpose <perm = [1,0,2]> (x) h = Reshape (t, heads)
         q = Transpose <perm = [1,0,2]> (h) k = Transpose <perm = [1,2,0]> (h)
         s = MatMul (q, k) p = Softmax <axis = 2> (s) a = MatMul (p, q)
         u = Transpose <perm = [1,0,2]> (a) r = Reshape (u, rows) o = Gemm (r, w)
         b = Reshape (o, back) z = Transpose <perm = [1,0,2]> (b) e = Add (z, x)
         y = Concat <axis = 1> (c, e)`,
      ),
    ],
    [
      "a target that is computed",
      net(
        "float[1,4] x",
        "int64[1] two = {2}, int64[2] t = {1,4}",
        "c = Concat <axis = 0> (two, two) a = Reshape (x, c) b = Reshape (a, t) y = Add (x, b)",
      ),
    ],
    [
      "a class token as a weight",
      net(
        "float[1,2,4] x",
        "float[1,1,4] c = {1,2,3,4}, float[1,3,4] p = {1,2,3,4,5,6,7,8,9,10,11,12}",
        "t = Concat <axis = 1> (c, x) y = Add (t, p)",
      ),
    ],
    [
      "a class token that is expanded",
      net(
        "float[1,2,4] x",
        "float[1,1,4] c = {1,2,3,4}, int64[3] s = {1,1,4}",
        "e = Expand (c, s) y = Concat <axis = 1> (e, x)",
      ),
    ],
    [
      "a class token that is expanded to a shape that is computed",
      net(
        "float[1,2,4] x",
        "float[1,1,4] c = {1,2,3,4}, int64[3] s = {1,-1,-1}, int64[3] o = {1,1,1}, int64 m = {-1}",
        `k = Mul (o, m) q = Equal (s, k) t = Where (q, o, s) e = Expand (c, t)
         y = Concat <axis = 1> (e, x)`,
      ),
    ],
    [
      "zeros in front of the channels",
      net(
        "float[1,2,4] x",
        "int64[3] s = {1,3,4}",
        "z = ConstantOfShape (s) y = Concat <axis = 1> (z, x)",
      ),
    ],
    [
      "the first states of a recurrent layer",
      net(
        "float[1,2,4] x",
        `float[1,12,4] w = {${zeros(48)}}, float[1,12,3] r = {${zeros(36)}},
         float[1,1,3] h0 = {1,2,3}, int64[3] s = {1,1,3}, int64[1] one = {1}`,
        `t = Transpose <perm = [1,0,2]> (x) c0 = ConstantOfShape (s)
         q = LSTM <hidden_size = 3> (t, w, r, , , h0, c0) u = Squeeze (q, one)
         y = Transpose <perm = [1,0,2]> (u)`,
      ),
    ],
    [
      "a Resize to sizes",
      net("float[1,2,2,2] x", "int64[4] s = {1,2,4,4}", 'y = Resize <mode = "nearest"> (x, , , s)'),
    ],
    [
      "a target that others read",
      net(
        "float[1,4] x",
        "int64[2] t = {1,4}",
        "a = Reshape (x, t) c = ConstantOfShape (t) y = Add (a, c)",
      ),
    ],
  ])("%s: any batch, the same results", async (_, graph) => {
    const { graph: mended, fixed, unfixed } = repair(graph);
    expect(unfixed).toEqual([]);
    expect(fixed).toMatchObject([{ id: "batch/fixed-size", where: "input x" }]);
    const told = lint(mended).map(({ id }) => id);
    expect(told).not.toContain("batch/fixed-size");
    // A target that has another in its place is gone.
    expect(told).not.toContain("artifact/unused");
    const [was, one, three] = [
      await outputs(graph, 1),
      await outputs(mended, 1),
      await outputs(mended, 3),
    ];
    expect(one).toEqual(was);
    expect(three?.shape).toEqual([3, ...(was?.shape.slice(1) ?? [])]);
    // Each example of the batch is the same, so each answer is.
    expect(three?.values).toEqual([
      ...(was?.values ?? []),
      ...(was?.values ?? []),
      ...(was?.values ?? []),
    ]);
  });

  test.each<[string, Graph]>([
    [
      "a class token with a row for each example",
      net("float[2,2,4] x", "float[2,1,4] c = {1,2,3,4,1,2,3,4}", "y = Concat <axis = 1> (c, x)"),
    ],
    [
      "a class token that is expanded",
      net(
        "float[2,2,4] x",
        "float[1,1,4] c = {1,2,3,4}, int64[3] s = {2,1,4}",
        "e = Expand (c, s) y = Concat <axis = 1> (e, x)",
      ),
    ],
    [
      "a class token that is tiled",
      net(
        "float[2,2,4] x",
        "float[1,1,4] c = {1,2,3,4}, int64[3] s = {2,1,1}",
        "e = Tile (c, s) y = Concat <axis = 1> (e, x)",
      ),
    ],
    [
      "positions with a row for each example",
      net("float[2,1,4] x", "float[2,1,4] p = {1,2,3,4,1,2,3,4}", "y = Add (x, p)"),
    ],
    [
      "queries that are expanded, in a MatMul",
      net(
        "float[2,4,3] x",
        "float[1,1,4] c = {1,2,3,4}, int64[3] s = {2,1,4}",
        "e = Expand (c, s) y = MatMul (e, x)",
      ),
    ],
    [
      "the bias of a Gemm",
      net(
        "float[2,2] x",
        "float[2,3] w = {1,2,3,4,5,6}, float[2,3] c = {1,2,3,1,2,3}",
        "y = Gemm (x, w, c)",
      ),
    ],
    [
      "the first states of a recurrent layer",
      net(
        "float[2,2,4] x",
        `float[1,12,4] w = {${zeros(48)}}, float[1,12,3] r = {${zeros(36)}},
         float[1,2,3] h0 = {1,2,3,1,2,3}, int64[1] one = {1}`,
        `t = Transpose <perm = [1,0,2]> (x) q = LSTM <hidden_size = 3> (t, w, r, , , h0)
         u = Squeeze (q, one) y = Transpose <perm = [1,0,2]> (u)`,
      ),
    ],
  ])("%s, for two examples: any batch, the same results", async (_, graph) => {
    const { graph: mended, unfixed } = repair(graph);
    expect(unfixed).toEqual([]);
    const [was, two] = [await outputs(graph, 2), await outputs(mended, 2)];
    expect(two).toEqual(was);
    const one = was?.values.slice(0, was.values.length / 2) ?? [];
    expect((await outputs(mended, 1))?.values).toEqual(one);
    expect((await outputs(mended, 3))?.values).toEqual([...one, ...one, ...one]);
  });

  test("rows in a file of their own are not compared, and that is said", () => {
    const graph = net(
      "float[2,2,4] x",
      "float[2,1,4] c = {1,2,3,4,1,2,3,4}",
      "y = Concat <axis = 1> (c, x)",
    );
    const data = { kind: "external", location: "c.data", offset: 0, length: undefined } as const;
    const c = { dtype: "float32", shape: [2, 1, 4], data } as const;
    const { unfixed } = repair({ ...graph, initializers: new Map([["c", c]]) });
    expect(unfixed).toMatchObject([{ reason: expect.stringContaining("a file of their own") }]);
  });

  test("a batch of more than one, in an Expand", async () => {
    const graph = net("float[2,1,4] x", "int64[3] t = {2,2,4}", "y = Expand (x, t)");
    const { graph: mended, unfixed } = repair(graph);
    expect(unfixed).toEqual([]);
    expect(await outputs(mended, 2)).toEqual(await outputs(graph, 2));
    expect((await outputs(mended, 3))?.shape).toEqual([3, 2, 4]);
  });

  test.each([
    [
      "float[1,4] x",
      "int64[1] a = {0}",
      "s = Squeeze (x, a) u = Unsqueeze (s, a) y = Relu (u)",
      /room for one|cannot be followed|first axis/,
    ],
    [
      "float[2,4] x",
      "float[2,4] c = {1,2,3,4,5,6,7,8}",
      "y = Concat <axis = 1> (x, c)",
      /reads c with a row for each example, whose rows differ/,
    ],
    [
      "float[2,4] x",
      "float[2,4] c = {1,2,3,4,5,6,7,8}",
      "y = Add (x, c)",
      /reads c with a row for each example, whose rows differ/,
    ],
    [
      "float[1,4,4] x",
      "int64[1] z = {0}, int64[1] o = {1}",
      "[pick] s = Slice (x, z, o, z) y = MatMul (s, x)",
      /^node pick \(Slice\) takes some examples/,
    ],
    [
      "float[1,3,2] x",
      "int64[3] t = {1,3,2}",
      "s = Transpose <perm = [1,0,2]> (x) y = Reshape (s, t)",
      /first axis/,
    ],
    [
      "float[1,3,2] x",
      "int64[3] t = {-1,3,2}",
      "s = Transpose <perm = [1,0,2]> (x) [torn] y = Reshape (s, t)",
      /^node torn \(Reshape\) takes/,
    ],
    [
      "float[1,4] x",
      "",
      "t = Transpose (x) [pair] p = MatMul (x, t) y = MatMul (p, x)",
      /^node pair \(MatMul\) takes/,
    ],
    [
      "float[2,4] x",
      "",
      "n = Neg (x) i = ArgMax <axis = 1> (n) [swap] y = GatherElements <axis = 0> (x, i)",
      /^node swap \(GatherElements\) takes/,
    ],
    [
      "float[2,4] x",
      "int64[1] s = {-1}, int64[1] e = {-9000000}, int64[1] a = {0}",
      "[turn] y = Slice (x, s, e, a, s)",
      /^node turn \(Slice\) takes/,
    ],
    ["float[4,4] x", "", "[upper] y = Trilu (x)", /^node upper \(Trilu\) takes/],
    ["float[2,3] x", "", "[eye] y = EyeLike (x)", /^node eye \(EyeLike\) takes/],
    [
      "float[2,3] x",
      "int64[2,1] i = {1,0}, float[2,3] u = {1,2,3,4,5,6}",
      "[put] y = ScatterND (x, i, u)",
      /^node put \(ScatterND\)/,
    ],
    ["float[1009,4] x", "float[1] c = {1}", "[sum] s = ReduceSum (x) y = Mul (x, s)", /node sum/],
    [
      "float[1,2,4] x",
      `float[1,12,4] w = {${zeros(48)}}, float[1,12,3] r = {${zeros(36)}}, int64[1] one = {1}`,
      `n = RandomNormal <shape = [1,1,3]> () v = Transpose <perm = [1,0,2]> (x)
       [cell] q = LSTM <hidden_size = 3> (v, w, r, , , n) u = Squeeze (q, one)
       y = Transpose <perm = [1,0,2]> (u)`,
      /^LSTM cell reads n with a row for each example, which is computed for one batch size/,
    ],
    ["float[1,1,3,3] x, float[1,2,3,3] w", "", "y = ConvTranspose (x, w)", /room for one/],
    ["float[1,4] x", "", "y = ReduceSum <keepdims = 0> (x)", /first axis|mixes/],
  ])("%s with %s is left", (inputs, weights, nodes, reason) => {
    const graph = net(inputs, weights, nodes);
    const outcome = repair(graph);
    expect(outcome.graph).toBe(graph);
    expect(outcome.unfixed).toMatchObject([
      { id: "batch/fixed-size", reason: expect.stringMatching(reason) },
    ]);
  });
});
