// What is mended in a graph is mended in functions and bodies, with the same results.

import { describe, expect, test } from "vitest";
import { asFunction } from "../../analysis/inner.test-helper.ts";
import { lint } from "../../analysis/lint.ts";
import type { Graph } from "../../graph/graph.ts";
import { parseGraph } from "../../graph/parse.ts";
import { float32, float32Values, type Tensor, tensor } from "../../graph/tensor.ts";
import { modelOf } from "../../onnx/onnx-model.ts";
import { encodeModel } from "../../onnx/write.ts";
import { inProcessRunner } from "../../runtime/in-process.ts";
import { repair } from "./repair.ts";

const zeros = (count: number): string =>
  Array.from({ length: count }, (_, i) => (i % 5) - 2).join();

const net = (inputs: string, weights: string, nodes: string, functions = ""): Graph =>
  parseGraph(`<ir_version: 8, opset_import: ["" : 20, "own" : 1]>
    net (${inputs}) => (float[] y) <${weights}> { ${nodes} } ${functions}`);

const inOwn = (one: string): string => `<opset_import: ["" : 20, "own" : 1], domain: "own"> ${one}`;

/** All outputs for a batch of examples that are alike, on the runtime. */
async function outputs(graph: Graph, batch: number) {
  await using session = await inProcessRunner().load({ bytes: encodeModel(modelOf(graph)) });
  const feeds = graph.inputs.map(({ name, shape, dtype }): [string, Tensor] => {
    if (dtype === "bool") return [name, tensor("bool", [], Uint8Array.of(1))];
    const dims = (shape ?? []).map((dim) => (typeof dim === "number" ? dim : batch));
    const one = dims.slice(1).reduce((a, b) => a * b, 1);
    const values = Float32Array.from({ length: one * (dims[0] ?? 1) }, (_, i) => Math.sin(i % one));
    return [name, float32(dims, values)];
  });
  const found = await session.run(new Map(feeds));
  return [...found.values()].map((y) => ({ shape: y.shape, values: [...float32Values(y)] }));
}

const anyBatch = async (graph: Graph, mended: Graph): Promise<void> => {
  const was = await outputs(graph, 1);
  expect(await outputs(mended, 1)).toEqual(was);
  expect(await outputs(mended, 3)).toEqual(
    was.map(({ shape, values }) => ({
      shape: [3, ...shape.slice(1)],
      values: [...values, ...values, ...values],
    })),
  );
};

describe("functions", () => {
  test.each<[string, Graph]>([
    ["a Reshape", net("float[1,2,8] x", "int64[2] t = {1,16}", "y = Reshape (x, t)")],
    [
      "a class token",
      net("float[1,2,4] x", "float[1,1,4] c = {1,2,3,4}", "y = Concat <axis = 1> (c, x)"),
    ],
  ])("%s in a function that is called twice: any batch", async (_, plain) => {
    const graph = asFunction(plain, 2);
    const { graph: mended, fixed, unfixed } = repair(graph);
    expect(unfixed).toEqual([]);
    expect(fixed).toMatchObject([{ id: "batch/fixed-size" }]);
    await anyBatch(graph, mended);
  });

  test("what needs no mending stays a function; what calls the rest is opened with it", async () => {
    const graph = net(
      "float[1,2,8] x",
      "",
      "[a] h = own.Quiet (x) [b] y = own.Outer (h)",
      [
        "Quiet (x) => (y) { y = Relu (x) }",
        "Outer (x) => (y) { [in] h = own.Fixed (x) [out] y = own.Quiet (h) }",
        "Fixed (x) => (y) { t = Constant <value_ints = [1, 16]> () y = Reshape (x, t) }",
      ]
        .map(inOwn)
        .join("\n"),
    );
    const { graph: mended, unfixed } = repair(graph);
    expect(unfixed).toEqual([]);
    expect([...(mended.functions?.keys() ?? [])]).toEqual(["own/Quiet"]);
    expect(mended.nodes.filter(({ op }) => op === "Quiet")).toHaveLength(2);
    await anyBatch(graph, mended);
  });

  test("where nothing in them needs it, all stay", async () => {
    const graph = net(
      "float[1,2,8] x",
      "int64[2] t = {1,16}",
      "h = own.Quiet (x) y = Reshape (h, t)",
      inOwn("Quiet (x) => (y) { y = Relu (x) }"),
    );
    const { graph: mended } = repair(graph);
    expect(mended.functions).toBe(graph.functions);
    await anyBatch(graph, mended);
  });

  test("a merge is mended in each call, with weights of its own", async () => {
    const block = `Block (x, w) => (y) {
      h = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (x, w) r = Relu (h) [sum] y = Add (r, x) }`;
    const graph = net(
      "float[N,2,8,8] x",
      `float[4,2,3,3] w = {${zeros(72)}}, float[4,4,3,3] v = {${zeros(144)}}`,
      "[one] h = own.Block (x, w) [two] y = own.Block (h, v)",
      inOwn(block),
    );
    const { graph: mended, fixed, unfixed } = repair(graph);
    expect(unfixed).toEqual([]);
    expect(fixed.map(({ where }) => where)).toEqual(["node one/sum (Add)", "node two/sum (Add)"]);
    expect(lint(mended).filter(({ severity }) => severity === "error")).toEqual([]);
    expect((await outputs(mended, 2))[0]?.shape).toEqual([2, 4, 2, 2]);
  });

  test("a sum that stretches in each call says so there, with the same results", async () => {
    const graph = asFunction(
      net("float[N,2,8,8] x", "", "r = Relu (x) m = GlobalAveragePool (r) y = Add (r, m)"),
      2,
    );
    const { graph: mended, fixed } = repair(graph);
    expect(fixed).toHaveLength(2);
    expect(lint(mended).map(({ id }) => id)).not.toContain("merge/silent-broadcast");
    expect(await outputs(mended, 3)).toEqual(await outputs(graph, 3));
  });

  test("behind a choice that shapes decide, as PyTorch writes it", async () => {
    const graph = net(
      "float[1,2,8] x",
      "int64[2] t = {1,16}, int64 three = {3}",
      "[a] h = own.Mean (x, three) [b] y = own.View (h, t)",
      [
        `Mean (x, three) => (y) { s = Shape (x) r = Size (s) c = Equal (r, three)
           y = If (c) <then_branch = a () => (float[] p) { p = Relu (x) },
             else_branch = b () => (float[] q) { z = Constant <value_ints = [0]> () q = Unsqueeze (x, z) }> }`,
        "View (x, t) => (y) { y = Reshape (x, t) }",
      ]
        .map(inOwn)
        .join("\n"),
    );
    const { graph: mended, unfixed } = repair(graph);
    expect(unfixed).toEqual([]);
    expect([...(mended.functions?.keys() ?? [])]).toEqual(["own/Mean"]);
    await anyBatch(graph, mended);
  });

  test("one of another operator set stays, with the reason", () => {
    const graph = net(
      "float[1,4] x",
      "",
      "y = own.Old (x)",
      `<opset_import: ["" : 12], domain: "own"> Old (x) => (y) {
        s = Softmax <axis = 1> (x) t = Constant <value_ints = [1, 2, 2]> () y = Reshape (s, t) }`,
    );
    const { graph: same, unfixed } = repair(graph);
    expect(same).toBe(graph);
    expect(unfixed).toMatchObject([
      { reason: "function own/Old has the op Softmax of another operator set than the graph's" },
    ]);
  });
});

describe("bodies", () => {
  test("a Reshape in both branches: any batch", async () => {
    const graph = net(
      "float[1,2,8] x, bool c",
      "int64[2] t = {1,16}",
      `y = If (c) <then_branch = a () => (float[1,16] p) { p = Reshape (x, t) },
         else_branch = b () => (float[1,16] q) { n = Neg (x) q = Reshape (n, t) }>`,
    );
    const { graph: mended, fixed, unfixed } = repair(graph);
    expect(unfixed).toEqual([]);
    expect(fixed).toMatchObject([{ id: "batch/fixed-size" }]);
    await anyBatch(graph, mended);
  });

  test("a Reshape of the state of a Loop: any batch", async () => {
    const graph = net(
      "float[1,2,8] x",
      "int64[2] t = {1,16}, int64[3] u = {1,2,8}, int64 times = {3}",
      `y = Loop <body = b (int64 i, bool go, float[1,2,8] s) => (bool go, float[1,2,8] z)
         { f = Reshape (s, t) r = Tanh (f) z = Reshape (r, u) }> (times, , x)`,
    );
    const { graph: mended, unfixed } = repair(graph);
    expect(unfixed).toEqual([]);
    await anyBatch(graph, mended);
  });

  test("a merge in a branch: weights come in beside the graph's", async () => {
    const graph = net(
      "float[N,2] x, bool c",
      "float[2,3] w = {1,2,3,4,5,6}",
      `[choice] y = If (c) <then_branch = a () => (float[] p) { h = MatMul (x, w) [sum] p = Add (h, x) },
         else_branch = b () => (float[] q) { q = MatMul (x, w) }>`,
    );
    const { graph: mended, fixed, unfixed } = repair(graph);
    expect(unfixed).toEqual([]);
    expect(fixed).toMatchObject([{ id: "shape/mismatch", where: "node choice/sum (Add)" }]);
    expect(lint(mended).filter(({ severity }) => severity === "error")).toEqual([]);
    expect((await outputs(mended, 2))[0]?.shape).toEqual([2, 3]);
  });

  test("a Loop whose state grows is left: what fits in one iteration does not in the next", () => {
    const graph = net(
      "float[N,4] x, float[N,6] z",
      "int64 times = {3}",
      `y, all = Loop <body = b (int64 i, bool go, float[] s) => (bool go, float[] t, float[] a)
         { t = Concat <axis = 1> (s, x) a = Add (s, z) }> (times, , x)`,
    );
    const outcome = repair(graph, { wanted: (id) => id === "shape/mismatch" });
    expect(outcome.graph).toBe(graph);
    expect(outcome.fixed).toEqual([]);
  });

  test("a sum that stretches in a Loop", async () => {
    const graph = net(
      "float[N,2,8,8] x",
      "int64 times = {2}",
      `y = Loop <body = b (int64 i, bool go, float[] s) => (bool go, float[] z)
         { r = Relu (s) m = GlobalAveragePool (r) z = Add (r, m) }> (times, , x)`,
    );
    const { graph: mended, fixed } = repair(graph);
    expect(fixed).toHaveLength(1);
    expect(lint(mended).map(({ id }) => id)).not.toContain("merge/silent-broadcast");
    expect(await outputs(mended, 3)).toEqual(await outputs(graph, 3));
  });
});
