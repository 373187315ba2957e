// The nodes of a graph put into a function, the body of a Loop, or a branch.

import { type Attribute, type Graph, NO_ATTRIBUTES, type Node } from "../graph/graph.ts";
import { int64, scalar } from "../graph/tensor.ts";

const node = (op: string, given: Partial<Node>): Node => ({
  name: op.toLowerCase(),
  op,
  domain: "",
  inputs: [],
  outputs: [],
  attributes: NO_ATTRIBUTES,
  ...given,
});

/** The nodes as a function that is called so often. */
export function asFunction(graph: Graph, count: number): Graph {
  const weights = [...graph.initializers.keys()];
  const inputs = [...new Set([...graph.inputs.map(({ name }) => name), ...weights])];
  const outputs = graph.outputs.map(({ name }) => name);
  const one = { inputs, outputs, nodes: graph.nodes, defaults: new Map(), opsets: graph.opsets };
  const names = Array.from({ length: count }, (_, i) => `call${i}`);
  const calls = names.map((name) =>
    node("Part", { name, domain: "own", inputs, outputs: outputs.map((o) => `${name}_${o}`) }),
  );
  return {
    ...graph,
    nodes: calls,
    outputs: names.flatMap((call) =>
      graph.outputs.map((value) => ({ ...value, name: `${call}_${value.name}` })),
    ),
    values: new Map(),
    opsets: new Map([...graph.opsets, ["own", 1]]),
    functions: new Map([...(graph.functions ?? []), ["own/Part", one]]),
  };
}

/** The nodes as the body of a Loop, which gathers what they give. */
export function asBody(graph: Graph, weights: "inside" | "outside"): Graph {
  const body: Graph = {
    ...graph,
    name: "body",
    inputs: [
      { name: "i", dtype: "int64", shape: [] },
      { name: "go", dtype: "bool", shape: [] },
    ],
    outputs: [{ name: "go", dtype: "bool", shape: [] }, ...graph.outputs],
    initializers: weights === "inside" ? graph.initializers : new Map(),
  };
  const outputs = graph.outputs.map((value) => ({
    ...value,
    name: `all_${value.name}`,
    shape: value.shape && ["T", ...value.shape],
  }));
  return {
    ...graph,
    nodes: [
      node("Loop", {
        inputs: ["times", ""],
        outputs: outputs.map(({ name }) => name),
        attributes: new Map<string, Attribute>([["body", { kind: "graph", value: body }]]),
      }),
    ],
    outputs,
    values: new Map(),
    initializers: new Map([
      ...(weights === "outside" ? graph.initializers : []),
      ["times", int64([], [2])],
    ]),
  };
}

/** The nodes as one branch of a choice that the caller makes. */
export function asBranch(graph: Graph): Graph {
  const branch = { ...graph, name: "then", inputs: [] };
  const other: Graph = {
    ...branch,
    name: "else",
    nodes: graph.outputs.map(({ name, dtype }) =>
      node("Constant", {
        name: `other_${name}`,
        outputs: [`other_${name}`],
        attributes: new Map<string, Attribute>([
          ["value", { kind: "tensor", value: { ...scalar(1), dtype } }],
        ]),
      }),
    ),
    outputs: graph.outputs.map((value) => ({ ...value, name: `other_${value.name}` })),
    initializers: new Map(),
    values: new Map(),
  };
  return {
    ...graph,
    inputs: [...graph.inputs, { name: "which", dtype: "bool", shape: [] }],
    nodes: [
      node("If", {
        inputs: ["which"],
        outputs: graph.outputs.map(({ name }) => `chosen_${name}`),
        attributes: new Map<string, Attribute>([
          ["then_branch", { kind: "graph", value: branch }],
          ["else_branch", { kind: "graph", value: other }],
        ]),
      }),
    ],
    outputs: graph.outputs.map((value) => ({ ...value, name: `chosen_${value.name}` })),
    values: new Map(),
    initializers: new Map(),
  };
}
