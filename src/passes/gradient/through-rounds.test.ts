import { describe, expect, test } from "vitest";
import { inferShapes } from "../../canonical/infer-shapes.ts";
import { withBodies } from "../../canonical/inline.ts";
import { TypedBuilder } from "../../canonical/typed-builder.ts";
import type { DType } from "../../graph/dtype.ts";
import { type Attribute, type Graph, int, ints, type ValueName } from "../../graph/graph.ts";
import type { Shape } from "../../graph/shape.ts";
import { int64, scalarOf } from "../../graph/tensor.ts";
import { type Check, checkGradient } from "../../ops/gradient.test-helper.ts";
import { differentiate } from "./differentiate.ts";

type Typed = readonly [name: string, dtype: DType, shape: Shape];

/** A body of the given inputs; what it returns are its outputs. */
function bodyOf(
  builder: TypedBuilder,
  inputs: readonly Typed[],
  build: (body: TypedBuilder) => readonly ValueName[],
): Attribute {
  const body = builder.body("inside/");
  for (const [name, dtype, shape] of inputs) body.input(name, dtype, shape);
  for (const name of build(body)) {
    const own = body.emit("Identity", [name]);
    const type = body.typeOf(own);
    body.output({ name: own, dtype: type?.dtype ?? "float32", shape: type?.shape });
  }
  return { kind: "graph", value: body.finish("body", new Map([["", 20]])) };
}

const loopInputs = (...states: Typed[]): Typed[] => [
  ["i", "int64", []],
  ["go", "bool", []],
  ...states,
];

/** s ← s + tanh(s·w), so many times. */
function repeated(trips: number): Check["build"] {
  return (builder, [x = "", w = ""]) => {
    const body = bodyOf(builder, loopInputs(["s", "float64", [2, 3]]), (b) => [
      "go",
      b.emit("Add", ["s", b.emit("Tanh", [b.emit("MatMul", ["s", w])])]),
    ]);
    const count = builder.constant(int64([], [trips]));
    return builder.emitAll("Loop", [count, "", x], { attributes: { body } });
  };
}

/** Ends by its own condition, reads its round, and stacks what it makes. */
const ending: Check["build"] = (builder, [x = "", w = ""]) => {
  const body = bodyOf(builder, loopInputs(["s", "float64", [3]]), (b) => {
    const round = b.emit("Cast", ["i"], { attributes: { to: int(11) } });
    const next = b.emit("Mul", [b.emit("Sin", [b.emit("Add", ["s", round])]), w]);
    const goesOn = b.emit("Less", ["i", b.constant(int64([], [2]))]);
    return [goesOn, next, b.emit("Mul", ["s", next])];
  });
  const [count, go] = [int64([], [9]), scalarOf("bool", 1)].map((ref) => builder.constant(ref));
  return builder.emitAll("Loop", [count ?? "", go ?? "", x], {
    attributes: { body },
    outputCount: 2,
  });
};

/** Two states, one of which counts; slices along other axes from the end; two stacks. */
const scanned: Check["build"] = (builder, [state = "", x = "", u = "", w = ""]) => {
  const inputs: Typed[] = [
    ["s", "float64", [2]],
    ["n", "float64", []],
    ["a", "float64", [2]],
    ["b", "float64", [2]],
  ];
  const body = bodyOf(builder, inputs, (b) => {
    const mixed = b.emit("Add", [b.emit("Mul", ["s", w]), b.emit("Mul", ["a", "b"])]);
    const next = b.emit("Tanh", [mixed]);
    const one = b.constant(scalarOf("float64", 1));
    return [next, b.emit("Add", ["n", one]), b.emit("Mul", [next, "n"]), b.emit("Exp", ["s"])];
  });
  const zero = builder.constant(scalarOf("float64", 0));
  return builder.emitAll("Scan", [state, zero, x, u], {
    attributes: {
      body,
      num_scan_inputs: int(2),
      scan_input_axes: ints([1, 0]),
      scan_input_directions: ints([0, 1]),
      scan_output_axes: ints([1, 0]),
      scan_output_directions: ints([1, 0]),
    },
    outputCount: 4,
  });
};

/** A Loop in each round of a Scan. */
const nested: Check["build"] = (builder, [state = "", x = "", w = ""]) => {
  const outer: Typed[] = [
    ["s", "float64", [2]],
    ["a", "float64", [2]],
  ];
  const body = bodyOf(builder, outer, (b) => {
    const inner = b.body("deep/");
    for (const [name, dtype, shape] of loopInputs(["t", "float64", [2]])) {
      inner.input(`deep_${name}`, dtype, shape);
    }
    const next = inner.emit("Sin", [inner.emit("Mul", ["deep_t", w])]);
    const go = inner.emit("Identity", ["deep_go"]);
    inner.output({ name: go, dtype: "bool", shape: [] });
    inner.output({ name: next, dtype: "float64", shape: [2] });
    const value = inner.finish("deep", new Map([["", 20]]));
    const two = b.constant(int64([], [2]));
    const mixed = b.emit("Add", ["s", "a"]);
    const y = b.emit("Loop", [two, "", mixed], { attributes: { body: { kind: "graph", value } } });
    return [y, y];
  });
  return builder.emitAll("Scan", [state, x], {
    attributes: { body, num_scan_inputs: int(1) },
    outputCount: 2,
  });
};

/** What a round does is taken apart into other ops. */
const takenApart: Check["build"] = (builder, [state = "", x = ""]) => {
  const inputs: Typed[] = [
    ["s", "float64", [2]],
    ["a", "float64", [2]],
  ];
  const body = bodyOf(builder, inputs, (b) => {
    const sum = b.emit("ReduceLogSum", [b.emit("Exp", [b.emit("Add", ["s", "a"])])]);
    return [b.emit("Mul", ["s", sum])];
  });
  return builder.emitAll("Scan", [state, x], { attributes: { body, num_scan_inputs: int(1) } });
};

const CASES: readonly (readonly [string, Check])[] = [
  [
    "a Loop",
    {
      inputs: [
        [2, 3],
        [3, 3],
      ],
      build: repeated(3),
    },
  ],
  ["a Loop that ends by itself", { inputs: [[3], [3]], build: ending }],
  ["a Scan", { inputs: [[2], [2, 4], [4, 2], [2]], build: scanned }],
  [
    "a Scan of a length that varies",
    {
      inputs: [
        [2],
        { shape: [2, 4], declared: [2, "T"] },
        { shape: [4, 2], declared: ["T", 2] },
        [2],
      ],
      build: scanned,
    },
  ],
  ["a Loop in a Scan", { inputs: [[2], [3, 2], [2]], build: nested }],
  ["an op in a round that is taken apart", { inputs: [[2], [3, 2]], build: takenApart }],
];

describe("gradients through Loop and Scan", () => {
  test.each(CASES)("%s, twice", async (_name, check) => {
    await checkGradient({ ...check, second: true });
  });

  test("no round at all hands the gradient on", async () => {
    const graph = await checkGradient({
      inputs: [
        [2, 3],
        [3, 3],
      ],
      build: repeated(0),
      second: true,
    });
    expect(graph.nodes.filter((node) => node.op === "If")).toHaveLength(1);
  });

  test("rounds that are sure to run are gone through by one Scan", async () => {
    const graph = await checkGradient({
      inputs: [
        [2, 3],
        [3, 3],
      ],
      build: repeated(2),
    });
    const ops = graph.nodes.map((node) => node.op);
    expect(ops.filter((op) => op === "Scan")).toHaveLength(1);
    expect(ops).not.toContain("If");
  });

  test("a body need not say the shapes of its inputs", async () => {
    const shapeless = (graph: Graph): Graph => ({
      ...graph,
      nodes: graph.nodes.map((node) =>
        withBodies(node, (body) => ({
          ...body,
          inputs: body.inputs.map((value) => ({ ...value, shape: undefined })),
          values: new Map(),
        })),
      ),
    });
    const builder = new TypedBuilder();
    const names = [builder.input("x", "float64", [2, 3]), builder.input("w", "float64", [3, 3])];
    const [y = ""] = repeated(2)(builder, names);
    builder.emit("ReduceSum", [y], { outputs: ["loss"], attributes: { keepdims: int(0) } });
    const graph = builder.finish("bare", new Map([["", 20]]));
    const request = { loss: "loss", wrt: names };
    const told = differentiate(graph, request).graph.nodes.map((node) => node.op);
    const bare = differentiate(inferShapes(shapeless(graph)), request).graph.nodes;
    expect(bare.map((node) => node.op)).toEqual(told);
  });

  test("an op without a gradient inside is refused by name", () => {
    const builder = new TypedBuilder();
    builder.input("x", "float64", [2, 2]);
    const body = bodyOf(builder, loopInputs(["s", "float64", [2, 2]]), (b) => [
      "go",
      b.emit("Cast", [b.emit("Own", ["s"], { domain: "example" })], {
        attributes: { to: int(11) },
      }),
    ]);
    const count = builder.constant(int64([], [1]));
    const y = builder.emit("Loop", [count, "", "x"], { attributes: { body } });
    builder.emit("ReduceSum", [y], { outputs: ["loss"], attributes: { keepdims: int(0) } });
    const graph = builder.finish("own", new Map([["", 20]]));
    expect(() => differentiate(graph, { loss: "loss", wrt: ["x"] })).toThrow(/example\.Own/);
  });
});
