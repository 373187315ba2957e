import { describe, expect, test } from "vitest";
import { comparable } from "../../scripts/comparable.ts";
import { GraphBuilder } from "../graph/build.ts";
import type { Attribute, Graph, GraphFunction, Node } from "../graph/graph.ts";
import { originalName, originalsOf, outermost } from "../graph/original.ts";
import { float32, int64 } from "../graph/tensor.ts";
import { modelOf } from "../onnx/onnx-model.ts";
import { readModel } from "../onnx/read.ts";
import { encodeModel } from "../onnx/write.ts";
import { canonicalize } from "./canonical.ts";

const OPSETS = new Map([["", 20]]);

function node(op: string, inputs: string[], output: string, more: Partial<Node> = {}): Node {
  return {
    name: `n_${output}`,
    op,
    domain: "",
    inputs,
    outputs: [output],
    attributes: new Map(),
    ...more,
  };
}

function names(graph: Graph, output: string): string[] {
  const producer = graph.nodes.find((one) => one.outputs.includes(output));
  return producer === undefined ? [] : originalsOf(graph, producer).map(originalName);
}

function called(nodes: Node[]): GraphFunction {
  return { inputs: ["in"], outputs: ["out"], nodes, defaults: new Map(), opsets: OPSETS };
}

function branch(op: string): Attribute {
  const b = new GraphBuilder();
  b.append(node(op, ["in"], "r"));
  b.output({ name: "r", dtype: "float32", shape: undefined });
  return { kind: "graph", value: b.finish("branch", new Map()) };
}

/** x → outer(x), where outer calls inner, and inner takes a branch by a constant. */
function nested(): Graph {
  const b = new GraphBuilder();
  b.input("x", "float32", ["N", 4]);
  b.append(node("outer", ["x"], "a", { domain: "pkg", name: "call/one" }));
  b.append(node("Relu", ["a"], "y"));
  b.output({ name: "y", dtype: "float32", shape: undefined });
  const decided = node("If", ["c"], "out", {
    name: "choice",
    attributes: new Map([
      ["then_branch", branch("Neg")],
      ["else_branch", branch("Abs")],
    ]),
  });
  const truth = node("Equal", ["rank", "rank"], "c");
  const rank = node("Size", ["shape"], "rank");
  const inner = called([node("Shape", ["in"], "shape"), rank, truth, decided]);
  const outer = called([node("inner", ["in"], "out", { domain: "pkg", name: "deep" })]);
  const functions = new Map([
    ["pkg/outer", outer],
    ["pkg/inner", inner],
  ]);
  return { ...b.finish("g", OPSETS), functions };
}

describe("provenance", () => {
  test("a node of the file stands for itself", () => {
    const graph = canonicalize(nested(), { idioms: false });
    expect(graph.nodes.find((one) => one.op === "Relu")?.originals).toBeUndefined();
    expect(names(graph, "y")).toEqual(["n_y"]);
  });

  test("what comes out of calls and a branch in them is found through all of them", () => {
    const graph = canonicalize(nested());
    const negated = graph.nodes.find((one) => one.op === "Neg");
    expect(negated && originalsOf(graph, negated)).toEqual([
      {
        name: "n_r",
        within: { name: "choice", within: { name: "deep", within: { name: "call/one" } } },
      },
    ]);
    expect(negated?.originals?.map(originalName)).toEqual(["call/one/deep/choice/n_r"]);
    expect(negated?.originals?.map(outermost)).toEqual(["call/one"]);
  });

  test("a weight that was computed is found back to all the nodes that computed it", () => {
    const b = new GraphBuilder();
    b.input("x", "float32", ["N", 2]);
    b.initializer("shape", int64([1], [2]));
    b.initializer("w0", float32([2], [1, 2]));
    b.append(node("ConstantOfShape", ["shape"], "w1"));
    b.append(node("Neg", ["w1"], "w2"));
    b.append(node("Abs", ["w0"], "other"));
    b.append(node("Add", ["w2", "w2"], "w3"));
    b.append(node("Add", ["x", "w3"], "y"));
    b.output({ name: "y", dtype: "float32", shape: undefined });
    const graph = canonicalize(b.finish("g", OPSETS));
    expect(originalsOf(graph, "w3").map(originalName)).toEqual(["n_w3", "n_w2", "n_w1"]);
    expect(originalsOf(graph, "w0")).toEqual([]);
    expect(originalsOf(graph, "x")).toEqual([]);
  });

  test("is no difference between graphs, and no file carries it", () => {
    const graph = canonicalize(nested());
    const bare = { ...graph, nodes: graph.nodes.map(({ originals: _, ...rest }) => rest) };
    expect(comparable(bare)).toBe(comparable(graph));
    const again = readModel(encodeModel(modelOf(graph))).graph;
    expect(again.nodes.every((one) => one.originals === undefined)).toBe(true);
  });
});
