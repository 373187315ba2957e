import { describe, expect, test } from "vitest";
import { SkipwayError } from "../../src/base/errors.ts";
import { inferShapes } from "../../src/canonical/infer-shapes.ts";
import { TypedBuilder } from "../../src/canonical/typed-builder.ts";
import {
  type Attribute,
  float,
  type Graph,
  int,
  ints,
  type ValueName,
} from "../../src/graph/graph.ts";
import { float32, int64, type Tensor, tensor } from "../../src/graph/tensor.ts";
import { modelOf } from "../../src/onnx/onnx-model.ts";
import { encodeModel } from "../../src/onnx/write.ts";
import { differentiate } from "../../src/passes/gradient/differentiate.ts";
import { inProcessRunner } from "../../src/runtime/in-process.ts";
import { type Array64, arrayOf, floats, tensorOf } from "../float64/array.ts";
import { evaluate } from "../float64/evaluate.ts";

// Where a derivative does not exist or a formula breaks down, gradients are what PyTorch has (2.15: autograd
// in float64, and in float32 for large arguments). Each trap is sprung in the oracle and on the runtime.

type Attributes = Readonly<Record<string, Attribute>>;
type Numbers = readonly number[];

/** A graph whose loss is Σ c · y of an op on float inputs, or any other graph. */
interface Trap {
  readonly graph: Graph;
  readonly feeds: ReadonlyMap<ValueName, Array64>;
}

/** The gradients of the loss in float inputs, in double and from the runtime. */
async function gradientsOf({ graph, feeds }: Trap, wrt: readonly ValueName[]) {
  const made = differentiate(inferShapes(graph), { loss: "loss", wrt });
  const named = wrt.map((name) => made.gradients.get(name) ?? "");
  const reference = evaluate(made.graph, feeds);
  const outputs = named.map((name) => ({ name, dtype: "float32" as const, shape: undefined }));
  const bytes = encodeModel(modelOf({ ...made.graph, outputs }));
  await using session = await inProcessRunner().load({ bytes });
  const results = await session.run(
    new Map([...feeds].map(([name, value]) => [name, tensorOf(value)])),
  );
  const inDouble = named.map((name) => Array.from(reference.get(name)?.values ?? []));
  const onRuntime = named.map((name) => {
    const found = results.get(name);
    return found === undefined ? [] : Array.from(arrayOf(found).values);
  });
  return { inDouble, onRuntime };
}

/** Both ways of computing give the expected numbers: NaN where it says NaN, 0 of either sign as 0. */
async function expectGradients(trap: Trap, expected: Readonly<Record<string, Numbers>>) {
  const { inDouble, onRuntime } = await gradientsOf(trap, Object.keys(expected));
  for (const [i, [name, numbers]] of Object.entries(expected).entries()) {
    for (const found of [inDouble[i] ?? [], onRuntime[i] ?? []]) {
      expect(found.length, name).toBe(numbers.length);
      for (const [at, number] of numbers.entries()) {
        if (Number.isFinite(number)) expect(found[at], `${name}[${at}]`).toBeCloseTo(number, 5);
        else expect(found[at], `${name}[${at}]`).toBe(number);
      }
    }
  }
}

/** Σ c · op(x0, x1, …), c being ones if left out. */
function trap(
  op: string,
  inputs: readonly (readonly [shape: Numbers, values: Numbers])[],
  more: {
    readonly attributes?: Attributes;
    readonly constants?: readonly Tensor[];
    readonly weights?: Numbers;
    readonly opset?: number;
    readonly outputs?: number;
  } = {},
): Trap {
  const builder = new TypedBuilder(undefined, more.opset ?? 20);
  const feeds = new Map<ValueName, Array64>();
  const names = inputs.map(([shape, values], i) => {
    feeds.set(`x${i}`, floats(shape, values));
    return builder.input(`x${i}`, "float32", shape);
  });
  const constants = (more.constants ?? []).map((one) => builder.constant(one));
  const [y = ""] = builder.emitAll(op, [...names, ...constants], {
    attributes: more.attributes ?? {},
    outputCount: more.outputs ?? 1,
  });
  const shape = (builder.typeOf(y)?.shape ?? []).map(Number);
  const weighted =
    more.weights === undefined
      ? y
      : builder.emit("Mul", [y, builder.constant(float32(shape, more.weights))]);
  builder.emit("ReduceSum", [weighted], { attributes: { keepdims: int(0) }, outputs: ["loss"] });
  builder.output({ name: "loss", dtype: "float32", shape: [] });
  return { graph: builder.finish("trap", new Map([["", more.opset ?? 20]])), feeds };
}

/** The gradient of Σ op(x) in x. */
async function slope(op: string, x: Numbers, expected: Numbers, attributes: Attributes = {}) {
  await expectGradients(trap(op, [[[x.length], x]], { attributes }), { x0: expected });
}

const list = (...values: number[]): Tensor => int64([values.length], values);
const NONE = Number.NaN;
const { POSITIVE_INFINITY: INF } = Number;

describe("kinks and poles", () => {
  test("Relu, Abs and their kin at 0", async () => {
    await slope("Relu", [0, -0, 1], [0, 0, 1]);
    await slope("Abs", [0, -0, -2], [0, 0, -1]);
    await slope("LeakyRelu", [0, -1, 1], [0.125, 0.125, 1], { alpha: float(0.125) });
    await slope("Elu", [0, 1], [2, 1], { alpha: float(2) });
    await slope("Celu", [0, 1], [1, 1], { alpha: float(2) });
    await slope("ThresholdedRelu", [0.5, 1, 0], [0, 1, 0], { alpha: float(0.5) });
  });

  test("PRelu at 0: the slope, and nothing for it", async () => {
    const found = trap("PRelu", [
      [[3], [0, -1, 2]],
      [[1], [0.25]],
    ]);
    await expectGradients(found, { x0: [0.25, 0.25, 1], x1: [-1] });
  });

  test("Sqrt, Log and Reciprocal at 0", async () => {
    await slope("Sqrt", [0, 4], [INF, 0.25]);
    await slope("Log", [0, 4], [INF, 0.25]);
    await slope("Reciprocal", [0, 2], [-INF, -0.25]);
  });

  test.each([
    [0, [0, 0]],
    [1, [1, 1]],
    [2, [0, 4]],
    [3, [0, 12]],
    [0.5, [INF, 0.35355339]],
  ] as const)("Pow at 0 with the exponent %d", async (exponent, expected) => {
    const constants = [float32([], [exponent])];
    await expectGradients(trap("Pow", [[[2], [0, 2]]], { constants }), { x0: expected });
  });

  // Below 0 the logarithm of the base is no number, as PyTorch has it; skipway says 0 there.
  test("the exponent of Pow: nothing at a base of 0", async () => {
    const found = trap("Pow", [
      [[3], [0, 0, 2]],
      [[3], [2, 0, 0]],
    ]);
    await expectGradients(found, { x0: [0, 0, 0], x1: [0, 0, Math.LN2] });
  });

  test("HardSigmoid and HardSwish at their ends", async () => {
    const attributes = { alpha: float(0.25), beta: float(0.5) };
    await slope("HardSigmoid", [-2, 2, 0], [0, 0, 0.25], attributes);
    await slope("HardSwish", [-4, 4, 0], [0, 1, 0.5]);
  });

  test("norms of zeros", async () => {
    const nothing: [Numbers, Numbers] = [[2], [0, 0]];
    await expectGradients(trap("ReduceL2", [nothing]), { x0: [0, 0] });
    await expectGradients(trap("ReduceL1", [nothing]), { x0: [0, 0] });
  });
});

describe("ties and zeros", () => {
  test("the first of equal elements has the gradient of a maximum pool", async () => {
    const window = { kernel_shape: ints([2]), strides: ints([2]) };
    const apart = trap(
      "MaxPool",
      [
        [
          [1, 1, 4],
          [1, 1, 3, 3],
        ],
      ],
      { attributes: window },
    );
    await expectGradients(apart, { x0: [1, 0, 1, 0] });
    const attributes = { kernel_shape: ints([3]) };
    const overlapping = trap(
      "MaxPool",
      [
        [
          [1, 1, 4],
          [1, 1, 1, 1],
        ],
      ],
      { attributes },
    );
    await expectGradients(overlapping, { x0: [1, 1, 0, 0] });
  });

  test("equal operands of a maximum or minimum share its gradient", async () => {
    const pair: [Numbers, Numbers][] = [
      [[2], [1, 2]],
      [[2], [1, 1]],
    ];
    await expectGradients(trap("Max", pair), { x0: [0.5, 1], x1: [0.5, 0] });
    await expectGradients(trap("Min", pair), { x0: [0.5, 0], x1: [0.5, 1] });
    const three: [Numbers, Numbers] = [[3], [1, 3, 3]];
    await expectGradients(trap("ReduceMax", [three]), { x0: [0, 0.5, 0.5] });
    const same = trap("GlobalMaxPool", [
      [
        [1, 1, 3],
        [1, 3, 3],
      ],
    ]);
    await expectGradients(same, { x0: [0, 0.5, 0.5] });
  });

  test("products with one and with two zeros", async () => {
    await expectGradients(trap("ReduceProd", [[[3], [0, 2, 3]]]), { x0: [6, 0, 0] });
    await expectGradients(trap("ReduceProd", [[[3], [0, 0, 3]]]), { x0: [0, 0, 0] });
  });
});

describe("masks", () => {
  test("Softmax of -inf: nothing for what is masked, numbers for the rest", async () => {
    const found = trap("Softmax", [[[3], [-INF, 0, 1]]], { weights: [1, 2, 3] });
    await expectGradients(found, { x0: [0, -0.19661193, 0.19661193] });
  });

  test("a row of nothing but masks spoils no other row", async () => {
    const rows: [Numbers, Numbers] = [
      [2, 2],
      [-INF, -INF, 0, 1],
    ];
    const found = trap("Softmax", [rows], { weights: [1, 2, 1, 2] });
    const { inDouble, onRuntime } = await gradientsOf(found, ["x0"]);
    for (const [gradient = []] of [inDouble, onRuntime]) {
      expect(gradient[2]).toBeCloseTo(-0.19661193, 5);
      expect(gradient[3]).toBeCloseTo(0.19661193, 5);
    }
  });

  test("LogSoftmax of far-apart scores", async () => {
    const found = trap("LogSoftmax", [[[3], [1000, -1000, 0]]], { weights: [1, 2, 3] });
    await expectGradients(found, { x0: [-5, 2, 3] });
  });

  test("ReduceLogSumExp beside -inf", async () => {
    const found = trap("ReduceLogSumExp", [[[3], [-INF, 0, 1]]]);
    await expectGradients(found, { x0: [0, 0.26894142, 0.73105858] });
  });

  test("Where: a NaN in the branch that is not taken stays there", async () => {
    const builder = new TypedBuilder();
    const x = builder.input("x", "float32", [2]);
    const taken = builder.emit("Greater", [x, builder.constant(float32([], [0]))]);
    const log = builder.emit("Log", [x]);
    const nan = builder.constant(float32([2], [0, NONE]));
    const y = builder.emit("Where", [taken, log, x]);
    const z = builder.emit("Where", [taken, nan, y]);
    const total = builder.emit("Sum", [y, z]);
    builder.emit("ReduceSum", [total], { attributes: { keepdims: int(0) }, outputs: ["loss"] });
    builder.output({ name: "loss", dtype: "float32", shape: [] });
    const graph = builder.finish("where", new Map([["", 20]]));
    // At -1 the logarithm is no number, and is not taken; at 2 it is.
    await expectGradients(
      { graph, feeds: new Map([["x", floats([2], [-1, 2])]]) },
      { x: [2, 0.5] },
    );
  });
});

describe("large arguments", () => {
  test.each([
    ["Sigmoid", [0, 0]],
    ["Tanh", [0, 0]],
    ["Softplus", [0, 1]],
    ["Mish", [0, 1]],
    ["Elu", [0, 1]],
    ["Selu", [0, 1.05070102]],
    ["Celu", [0, 1]],
    ["Gelu", [0, 1]],
    ["Erf", [0, 0]],
    ["Softsign", [0.0000247, 0.0000247]],
  ] as const)("%s at -200 and 200 has a slope", async (op, expected) => {
    await slope(op, [-200, 200], expected);
  });
});

describe("losses", () => {
  const loss = (attributes: Attributes, labels: Numbers): Trap =>
    trap(
      "SoftmaxCrossEntropyLoss",
      [
        [
          [2, 2],
          [1, 2, 0, 1],
        ],
      ],
      {
        constants: [int64([2], labels)],
        attributes: { ignore_index: int(-100), ...attributes },
      },
    );

  test("ignored labels have no gradient and no share in the mean", async () => {
    await expectGradients(loss({}, [-100, 1]), { x0: [0, 0, 0.26894142, -0.26894142] });
  });

  test("a batch of nothing but ignored labels has no gradient", async () => {
    await expectGradients(loss({}, [-100, -100]), { x0: [0, 0, 0, 0] });
  });
});

describe("graphs", () => {
  test("a batch of none", async () => {
    const builder = new TypedBuilder();
    const x = builder.input("x", "float32", [0, 3]);
    const w = builder.input("w", "float32", [3, 2]);
    const b = builder.input("b", "float32", [2]);
    const y = builder.emit("Relu", [builder.emit("Add", [builder.emit("MatMul", [x, w]), b])]);
    builder.emit("ReduceSum", [y], { attributes: { keepdims: int(0) }, outputs: ["loss"] });
    builder.output({ name: "loss", dtype: "float32", shape: [] });
    const feeds = new Map([
      ["x", floats([0, 3], [])],
      ["w", floats([3, 2], [1, 2, 3, 4, 5, 6])],
      ["b", floats([2], [1, 2])],
    ]);
    const graph = builder.finish("empty", new Map([["", 20]]));
    await expectGradients({ graph, feeds }, { x: [], w: [0, 0, 0, 0, 0, 0], b: [0, 0] });
  });

  test("a weight that is read twice has the sum of both gradients", async () => {
    const builder = new TypedBuilder();
    const x = builder.input("x", "float32", [1, 2]);
    const w = builder.initializer("w", float32([2, 2], [1, 2, 3, 4]));
    const y = builder.emit("MatMul", [builder.emit("MatMul", [x, w]), w]);
    builder.emit("ReduceSum", [y], { attributes: { keepdims: int(0) }, outputs: ["loss"] });
    builder.output({ name: "loss", dtype: "float32", shape: [] });
    const graph = builder.finish("shared", new Map([["", 20]]));
    const feeds = new Map([["x", floats([1, 2], [1, 10])]]);
    // xᵀ·(1·Wᵀ) + (xW)ᵀ·1 with x = [1 10].
    await expectGradients({ graph, feeds }, { w: [34, 38, 72, 112] });
  });

  test("what reads a value without moving the loss adds nothing", async () => {
    const found = trap("Split", [[[4], [1, 2, 3, 4]]], {
      constants: [list(1, 3)],
      outputs: 2,
    });
    await expectGradients(found, { x0: [1, 0, 0, 0] });
  });

  test("an input that the loss does not depend on is refused by name", () => {
    const { graph } = trap("Relu", [[[1], [1]]]);
    const inputs = [...graph.inputs, { name: "idle", dtype: "float32" as const, shape: [1] }];
    const ask = () => differentiate({ ...graph, inputs }, { loss: "loss", wrt: ["x0", "idle"] });
    expect(ask).toThrow(SkipwayError);
    expect(ask).toThrow(/idle/);
  });

  test("no gradient flows through integers, and what goes around them keeps its own", async () => {
    const builder = new TypedBuilder();
    const x = builder.input("x", "float32", [2]);
    const whole = builder.emit("Cast", [x], { attributes: { to: int(7) } });
    const back = builder.emit("Cast", [whole], { attributes: { to: int(1) } });
    const y = builder.emit("Mul", [back, x]);
    builder.emit("ReduceSum", [y], { attributes: { keepdims: int(0) }, outputs: ["loss"] });
    builder.output({ name: "loss", dtype: "float32", shape: [] });
    const graph = builder.finish("integers", new Map([["", 20]]));
    await expectGradients(
      { graph, feeds: new Map([["x", floats([2], [2.5, -3.5])]]) },
      { x: [2, -3] },
    );
  });

  test("indices and conditions are no reason to refuse", async () => {
    const builder = new TypedBuilder();
    const x = builder.input("x", "float32", [3]);
    const best = builder.emit("ArgMax", [x], { attributes: { keepdims: int(0) } });
    const y = builder.emit("Gather", [x, best]);
    builder.emit("ReduceSum", [y], { attributes: { keepdims: int(0) }, outputs: ["loss"] });
    builder.output({ name: "loss", dtype: "float32", shape: [] });
    const graph = builder.finish("argmax", new Map([["", 20]]));
    await expectGradients(
      { graph, feeds: new Map([["x", floats([3], [1, 5, 2])]]) },
      { x: [0, 1, 0] },
    );
  });

  test("a truth value picks without a gradient of its own", async () => {
    const found = trap("Where", [
      [[2], [1, 2]],
      [[2], [3, 4]],
    ]);
    const mask = tensor("bool", [2], Uint8Array.of(1, 0));
    const nodes = found.graph.nodes.map((node) =>
      node.op === "Where" ? { ...node, inputs: ["mask", "x0", "x1"] } : node,
    );
    const initializers = new Map(found.graph.initializers).set("mask", mask);
    await expectGradients(
      { graph: { ...found.graph, nodes, initializers }, feeds: found.feeds },
      { x0: [1, 0], x1: [0, 1] },
    );
  });
});
