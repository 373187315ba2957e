import { describe, expect, test } from "vitest";
import { sound } from "../../test/sound.ts";
import { GraphBuilder } from "../graph/build.ts";
import { type Graph, type GraphFunction, int, type Node } from "../graph/graph.ts";
import { int64 } from "../graph/tensor.ts";
import { decideBranches } from "./decide.ts";
import { inlineFunctions } from "./inline.ts";

// Functions as a text could not have them: names that collide, and bodies of thousands of weights.

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

describe("functions", () => {
  // Exporters name values by scopes, with slashes.
  test("names inside give way to those that the graph has, in bodies too", () => {
    const twice = called([
      node("Neg", ["in"], ["a"], { name: "n" }),
      node("Abs", ["a"], ["out"], { name: "m" }),
    ]);
    const body = new GraphBuilder();
    body.append(node("Exp", ["x"], ["f/a_1"], { name: "f/n" }));
    body.append(call("twice", ["f/a_1"], ["inner"], { name: "f" }));
    body.output({ name: "inner", dtype: "float32", shape: undefined });
    const branch = { kind: "graph", value: body.finish("body", new Map()) } as const;
    const graph = graphOf(
      [
        node("Relu", ["x"], ["f/a"], { name: "f/n" }),
        call("twice", ["x"], ["u"], { name: "f" }),
        node("Not", ["flag"], ["no"]),
        node("If", ["no"], ["v"], {
          attributes: new Map([
            ["then_branch", branch],
            ["else_branch", branch],
          ]),
        }),
        node("Sum", ["f/a", "u", "v"], ["y"]),
      ],
      { "pkg/twice": twice },
    );
    const flag = { name: "flag", dtype: "bool", shape: [] } as const;
    const flat = sound(inlineFunctions({ ...graph, inputs: [...graph.inputs, flag] }));
    const names = flat.nodes.map((one) => one.name);
    expect(new Set(names).size).toBe(names.length);
    const [relu, neg, abs] = flat.nodes;
    expect([relu?.outputs, neg?.inputs]).toEqual([["f/a"], ["x"]]);
    expect(neg?.outputs).toEqual(abs?.inputs);
    expect(neg?.outputs).not.toContain("f/a");
  });

  test("functions whose few nodes are long are refused too, before they unfold", () => {
    const many = Array.from({ length: 5000 }, (_, i) => `i${i}`);
    const long = called([node("Sum", many.fill("in"), ["out"])]);
    const body = new GraphBuilder();
    for (let i = 0; i < 5000; i++) body.initializer(`i${i}`, int64([], [i]));
    body.output({ name: "i0", dtype: "int64", shape: [] });
    const branch = { kind: "graph", value: body.finish("body", new Map()) } as const;
    const attributes = new Map([
      ["then_branch", branch],
      ["else_branch", branch],
    ]);
    const heavy = called([node("If", ["in"], ["out"], { attributes })]);
    for (const one of [long, heavy]) {
      const calls = Array.from({ length: 1000 }, (_, i) =>
        call("f", [i === 0 ? "x" : `v${i - 1}`], [i === 999 ? "y" : `v${i}`]),
      );
      expect(() => inlineFunctions(graphOf(calls, { "pkg/f": one }))).toThrow("beyond the limit");
    }
  });

  test("names of a branch give way to those that the graph has", () => {
    const given = asked(4);
    const first = node("Exp", ["x"], ["if_y_x/inner"], { name: "if_y_x/Neg" });
    const taken = given.outputs.concat({
      name: "if_y_x/inner",
      dtype: "float32",
      shape: undefined,
    });
    const graph = sound(
      decideBranches({ ...given, nodes: [first, ...given.nodes], outputs: taken }),
    );
    const names = graph.nodes.map((one) => one.name);
    expect(new Set(names).size).toBe(names.length);
    expect(graph.nodes.filter((one) => one.op === "Neg")).toHaveLength(2);
  });
});
