import { describe, expect, test } from "vitest";
import { sound } from "../../test/sound.ts";
import { census } from "../analysis/census.ts";
import { SkipwayError } from "../base/errors.ts";
import { GraphBuilder } from "../graph/build.ts";
import { float, type Graph, type GraphFunction, int, type Node } from "../graph/graph.ts";
import { int64 } from "../graph/tensor.ts";
import { canonicalize } from "./canonical.ts";
import { decideBranches } from "./decide.ts";
import { inlineFunctions } from "./inline.ts";

function node(op: string, inputs: string[], outputs: string[], more: Partial<Node> = {}): Node {
  return {
    name: outputs[0] ?? op,
    op,
    domain: "",
    inputs,
    outputs,
    attributes: new Map(),
    ...more,
  };
}

function called(nodes: Node[], outputs = ["out"], inputs = ["in"]): GraphFunction {
  return { inputs, outputs, nodes, defaults: new Map(), opsets: new Map([["", 18]]) };
}

function graphOf(nodes: Node[], functions: Record<string, GraphFunction>, output = "y"): Graph {
  const b = new GraphBuilder();
  b.input("x", "float32", ["N", 4, 8, 8]);
  const weight = {
    dtype: "float32" as const,
    shape: [4, 4, 1, 1],
    data: { kind: "absent" as const },
  };
  b.initializer("w", weight);
  for (const one of nodes) b.append(one);
  b.output({ name: output, dtype: "float32", shape: undefined });
  return { ...b.finish("g", new Map([["", 18]])), functions: new Map(Object.entries(functions)) };
}

const call = (name: string, inputs: string[], outputs: string[], more: Partial<Node> = {}): Node =>
  node(name, inputs, outputs, { domain: "pkg", ...more });

describe("functions", () => {
  test("stand for their nodes; names inside are the call's own, attributes are bound", () => {
    const leaky = called([
      node("LeakyRelu", ["in"], ["out"], {
        attributes: new Map([["alpha", { kind: "reference", attribute: "slope" }]]),
      }),
    ]);
    const outer = called([
      call("leaky", ["in"], ["mid"], { attributes: new Map([["slope", float(0.3)]]) }),
      node("Neg", ["mid"], ["out"]),
    ]);
    const graph = graphOf([call("outer", ["x"], ["a"]), call("outer", ["a"], ["y"])], {
      "pkg/leaky": { ...leaky, defaults: new Map([["slope", float(0.1)]]) },
      "pkg/outer": outer,
    });
    const flat = inlineFunctions(graph);
    sound(flat);
    expect(flat.nodes.map((one) => one.op)).toEqual(["LeakyRelu", "Neg", "LeakyRelu", "Neg"]);
    expect(flat.nodes[0]?.attributes.get("alpha")).toEqual(float(0.3));
    expect(new Set(flat.nodes.map((one) => one.name)).size).toBe(4);
    expect(flat.nodes.at(-1)?.outputs).toEqual(["y"]);
    const plain = graphOf([call("leaky", ["x"], ["y"])], {
      "pkg/leaky": { ...leaky, defaults: new Map([["slope", float(0.1)]]) },
    });
    expect(inlineFunctions(plain).nodes[0]?.attributes.get("alpha")).toEqual(float(0.1));
  });

  test("a body inside a function sees the renamed values", () => {
    const branch = new GraphBuilder();
    branch.append(node("Neg", ["in"], ["inner"]));
    branch.output({ name: "inner", dtype: "float32", shape: undefined });
    const body = branch.finish("then", new Map());
    const attributes = new Map([
      ["then_branch", { kind: "graph" as const, value: body }],
      ["else_branch", { kind: "graph" as const, value: body }],
    ]);
    const choose = called(
      [node("Not", ["flag"], ["c"]), node("If", ["c"], ["out"], { attributes })],
      ["out"],
      ["in", "flag"],
    );
    const b = new GraphBuilder();
    b.input("x", "float32", [2]);
    b.input("f", "bool", []);
    b.append(call("choose", ["x", "f"], ["y"]));
    b.output({ name: "y", dtype: "float32", shape: undefined });
    const graph = { ...b.finish("g", new Map()), functions: new Map([["pkg/choose", choose]]) };
    sound(inlineFunctions(graph));
  });

  test("an input that is handed on as an output, and an output under two names", () => {
    const twin = called([node("Neg", ["in"], ["out"])], ["in", "out", "out"]);
    const graph = graphOf(
      [call("twin", ["x"], ["a", "b", "c"]), node("Sum", ["a", "b", "c"], ["y"])],
      { "pkg/twin": twin },
    );
    const flat = inlineFunctions(graph);
    sound(flat);
    expect(flat.nodes.map((one) => one.op)).toEqual(["Neg", "Identity", "Identity", "Sum"]);
    expect(flat.nodes[0]?.inputs).toEqual(["x"]);
  });

  test("a graph without functions is the same graph", () => {
    const { functions: _none, ...graph } = graphOf([node("Neg", ["x"], ["y"])], {});
    expect(inlineFunctions(graph)).toBe(graph);
  });

  test("functions that call themselves, or that explode, are refused", () => {
    const refusal = (graph: Graph): unknown => {
      try {
        return inlineFunctions(graph);
      } catch (error) {
        return error instanceof SkipwayError && error.diagnostics[0]?.id;
      }
    };
    const loop = called([call("loop", ["in"], ["out"])]);
    expect(refusal(graphOf([call("loop", ["x"], ["y"])], { "pkg/loop": loop }))).toBe(
      "onnx/function-recursion",
    );
    const bomb: Record<string, GraphFunction> = {
      "pkg/f0": called([node("Neg", ["in"], ["out"])]),
    };
    for (let i = 1; i < 30; i++) {
      bomb[`pkg/f${i}`] = called([
        call(`f${i - 1}`, ["in"], ["mid"]),
        call(`f${i - 1}`, ["mid"], ["out"]),
      ]);
    }
    expect(refusal(graphOf([call("f29", ["x"], ["y"])], bomb))).toBe("onnx/function-recursion");
  });

  test("a residual block in a function has the skip that it would have outside", () => {
    const block = called(
      [
        node("Conv", ["in", "weight"], ["c"]),
        node("Relu", ["c"], ["r"]),
        node("Conv", ["r", "weight"], ["c2"]),
        node("Add", ["c2", "in"], ["out"]),
      ],
      ["out"],
      ["in", "weight"],
    );
    const graph = graphOf([call("block", ["x", "w"], ["h"]), call("block", ["h", "w"], ["y"])], {
      "pkg/block": block,
    });
    expect(census(graph).counts).toMatchObject({ total: 2, additiveIdentity: 2 });
    expect(census(graph).hazards).toEqual([]);
  });
});

/** If (rank of x == 4) then Neg(x) else Abs(x), as exporters ask whether there is a batch axis. */
function asked(rank: number): Graph {
  const side = (op: string): Graph => {
    const b = new GraphBuilder();
    b.append(node(op, ["x"], ["inner"]));
    b.output({ name: "inner", dtype: "float32", shape: undefined });
    return b.finish(op, new Map());
  };
  const b = new GraphBuilder();
  b.input("x", "float32", ["N", 4, 8, 8]);
  b.initializer("rank", int64([], [rank]));
  b.emit("Shape", ["x"], { outputs: ["s"] });
  b.emit("Size", ["s"], { outputs: ["r"] });
  b.emit("Equal", ["r", "rank"], { outputs: ["same"] });
  b.emit("Not", ["same"], { outputs: ["differs"] });
  b.emit("Cast", ["differs"], { outputs: ["condition"], attributes: { to: int(9) } });
  for (const [from, to] of [
    ["x", "y"],
    ["x", "z"],
  ] as const) {
    b.emit("If", ["condition"], {
      name: `if_${to}_${from}`,
      outputs: [to],
      attributes: {
        then_branch: { kind: "graph", value: side("Abs") },
        else_branch: { kind: "graph", value: side("Neg") },
      },
    });
    b.output({ name: to, dtype: "float32", shape: undefined });
  }
  return b.finish("asked", new Map([["", 20]]));
}

describe("decided branches", () => {
  test.each([
    [4, "Neg"],
    [3, "Abs"],
  ])("a rank of %i takes %s; siblings with the same inner names do not collide", (rank, op) => {
    const graph = sound(decideBranches(asked(rank)));
    sound(graph);
    expect(graph.nodes.filter((one) => one.op === op)).toHaveLength(2);
    expect(graph.nodes.some((one) => one.op === "If")).toBe(false);
    expect(graph.values.get("y")?.shape).toEqual(["N", 4, 8, 8]);
    const canonical = sound(canonicalize(asked(rank)));
    expect(canonicalize(canonical)).toBe(canonical);
  });

  test("a condition that depends on data stays a question", () => {
    const graph = asked(4);
    const inputs = [...graph.inputs, { name: "condition", dtype: "bool" as const, shape: [] }];
    const nodes = graph.nodes.filter((one) => !one.outputs.includes("condition"));
    expect(
      decideBranches({ ...graph, inputs, nodes }).nodes.filter((one) => one.op === "If"),
    ).toHaveLength(2);
  });
});
