import { describe, expect, test } from "vitest";
import { sound } from "../../test/sound.ts";
import { Random } from "../base/random.ts";
import { inferShapes } from "../canonical/infer-shapes.ts";
import { TypedBuilder } from "../canonical/typed-builder.ts";
import { float, type Graph, int, ints, type ValueName } from "../graph/graph.ts";
import { float32, float32Values, int64, type Tensor } from "../graph/tensor.ts";
import { modelOf } from "../onnx/onnx-model.ts";
import { encodeModel } from "../onnx/write.ts";
import { differentiate } from "../passes/gradient/differentiate.ts";
import { inProcessRunner } from "../runtime/in-process.ts";
import { OPS } from "./index.ts";

// Every op with a gradient rule is run by the real runtime: the rule's gradient of a random weighted sum
// of the outputs against central differences of the same sum, in each input.

interface Row {
  readonly op: string;
  readonly inputs: readonly (readonly number[])[];
  readonly attributes?: Parameters<TypedBuilder["emit"]>[2];
  /** Inputs that are constants, such as axes; behind the float ones. */
  readonly constants?: readonly Tensor[];
  /** Maps standard normals to the op's domain. */
  readonly domain?: (value: number) => number;
  /** Which inputs are differentiated; all if left out. */
  readonly wrt?: readonly number[];
  readonly outputs?: number;
  readonly label?: string;
}

const positive = (v: number): number => 0.5 + Math.abs(v);
/** Keeps away from the kink at 0, across which differences mean nothing. */
const awayFromZero = (v: number): number => v + (v < 0 ? -0.2 : 0.2);
const axes = (...list: number[]): Tensor => int64([list.length], list);
const at = (attributes: NonNullable<Row["attributes"]>["attributes"]): Row["attributes"] =>
  attributes === undefined ? {} : { attributes };
const image = [2, 3, 5, 4] as const;

const ROWS: readonly Row[] = [
  {
    op: "Add",
    inputs: [
      [2, 3],
      [2, 3],
    ],
  },
  {
    op: "Add",
    inputs: [
      [2, 3, 4],
      [3, 1],
    ],
    label: "broadcast",
  },
  { op: "Sub", inputs: [[2, 3], [3]] },
  {
    op: "Mul",
    inputs: [
      [2, 3],
      [2, 1],
    ],
  },
  { op: "Div", inputs: [[2, 3], [3]], domain: positive },
  { op: "Sum", inputs: [[2, 3], [3], [2, 1]] },
  { op: "Relu", inputs: [[3, 4]], domain: awayFromZero },
  {
    op: "LeakyRelu",
    inputs: [[3, 4]],
    domain: awayFromZero,
    attributes: at({ alpha: float(0.2) }),
  },
  ...["Sigmoid", "Tanh", "Exp", "Neg", "Identity"].map((op) => ({ op, inputs: [[3, 4]] })),
  ...["Log", "Sqrt", "Reciprocal"].map((op) => ({ op, inputs: [[3, 4]], domain: positive })),
  { op: "Abs", inputs: [[3, 4]], domain: awayFromZero },
  {
    op: "MatMul",
    inputs: [
      [3, 4],
      [4, 2],
    ],
  },
  {
    op: "MatMul",
    inputs: [
      [2, 3, 4],
      [4, 5],
    ],
    label: "broadcast batch",
  },
  { op: "Gemm", inputs: [[3, 4], [4, 2], [2]] },
  ...[0, 1].flatMap((a) =>
    [0, 1].map((b) => ({
      op: "Gemm",
      inputs: [a ? [4, 3] : [3, 4], b ? [2, 4] : [4, 2], [3, 2]],
      attributes: at({ transA: int(a), transB: int(b), alpha: float(0.5), beta: float(2) }),
      label: `transA ${a} transB ${b}`,
    })),
  ),
  { op: "Conv", inputs: [image, [4, 3, 3, 3], [4]], attributes: at({ pads: ints([1, 1, 1, 1]) }) },
  { op: "Conv", inputs: [image, [4, 3, 1, 1]], label: "1x1" },
  {
    op: "Conv",
    inputs: [image, [2, 3, 3, 2]],
    attributes: at({ pads: ints([0, 1, 2, 0]), dilations: ints([1, 2]) }),
    label: "stride 1, uneven pads",
  },
  {
    op: "Conv",
    inputs: [image, [2, 3, 3, 3]],
    attributes: at({ strides: ints([2, 2]), pads: ints([1, 1, 1, 1]) }),
    label: "stride 2",
  },
  {
    op: "Conv",
    inputs: [
      [1, 2, 7, 7],
      [3, 2, 3, 2],
    ],
    attributes: at({ strides: ints([2, 3]), pads: ints([0, 1, 2, 0]), dilations: ints([2, 1]) }),
    label: "uneven",
  },
  {
    op: "Conv",
    inputs: [
      [2, 3, 6],
      [4, 3, 3],
    ],
    attributes: at({ auto_pad: { kind: "string", value: "SAME_UPPER" } }),
    label: "1-D, auto_pad",
  },
  { op: "GlobalAveragePool", inputs: [image] },
  {
    op: "BatchNormalization",
    inputs: [image, [3], [3], [3], [3]],
    domain: positive,
    wrt: [0, 1, 2],
    label: "inference",
  },
  {
    op: "BatchNormalization",
    inputs: [[4, 3, 3, 2], [3], [3], [3], [3]],
    domain: positive,
    wrt: [0, 1, 2],
    outputs: 3,
    attributes: at({ training_mode: int(1) }),
    label: "training",
  },
  { op: "Softmax", inputs: [[3, 5]] },
  { op: "Softmax", inputs: [[2, 4, 3]], attributes: at({ axis: int(1) }), label: "axis 1" },
  { op: "LogSoftmax", inputs: [[3, 5]] },
  { op: "ReduceLogSum", inputs: [[2, 3, 4]], constants: [axes(1)], domain: positive },
  ...["ReduceSum", "ReduceMean", "ReduceSumSquare"].flatMap((op) => [
    { op, inputs: [[2, 3, 4]], constants: [axes(1)] },
    { op, inputs: [[2, 3, 4]], constants: [axes(0, -1)], attributes: at({ keepdims: int(0) }) },
    { op, inputs: [[2, 3]], label: "all axes" },
  ]),
  { op: "Reshape", inputs: [[2, 6]], constants: [axes(3, -1)] },
  { op: "Flatten", inputs: [[2, 3, 4]] },
  { op: "Squeeze", inputs: [[2, 1, 3]], constants: [axes(1)] },
  { op: "Unsqueeze", inputs: [[2, 3]], constants: [axes(0, 3)] },
  { op: "Transpose", inputs: [[2, 3, 4]], attributes: at({ perm: ints([2, 0, 1]) }) },
  { op: "Expand", inputs: [[3, 1]], constants: [axes(2, 3, 4)] },
  { op: "Slice", inputs: [[4, 6]], constants: [axes(1, -5), axes(3, -1), axes(0, 1)] },
  {
    op: "Slice",
    inputs: [[2, 7, 6]],
    constants: [axes(1, 0), axes(7, 2 ** 31 - 1), axes(1, 2), axes(2, 4)],
    label: "every second and every fourth",
  },
  {
    op: "Slice",
    inputs: [[5]],
    constants: [axes(0), axes(4), axes(0), axes(3)],
    label: "more zeros behind than room",
  },
  {
    op: "Concat",
    inputs: [
      [2, 3],
      [2, 1],
    ],
    attributes: at({ axis: int(1) }),
  },
  {
    op: "Split",
    inputs: [[6, 2]],
    constants: [axes(2, 4)],
    outputs: 2,
    attributes: at({ axis: int(0) }),
  },
  { op: "Pad", inputs: [[3, 4]], constants: [axes(1, 0, 2, 1)] },
  { op: "Pad", inputs: [[3, 4]], constants: [axes(-1, 2, 0, -1)], label: "cut" },
  {
    op: "Pad",
    inputs: [[3, 4]],
    constants: [axes(-1, 1), float32([], [0]), axes(1)],
    label: "cut along one axis",
  },
  {
    op: "ReduceSum",
    inputs: [[2, 3]],
    attributes: at({ keepdims: int(0), noop_with_empty_axes: int(1) }),
    label: "nothing",
  },
  { op: "Trilu", inputs: [[4, 4]], attributes: at({ upper: int(0) }) },
  { op: "CumSum", inputs: [[3, 4]], constants: [int64([], [1])] },
];

interface Case {
  readonly graph: Graph;
  readonly names: readonly ValueName[];
  readonly feeds: Map<string, Tensor>;
}

/** loss = Σ outputs · random weights, as a graph over the row's inputs. */
function caseOf(row: Row, random: Random): Case {
  const builder = new TypedBuilder();
  const feeds = new Map<string, Tensor>();
  const names = row.inputs.map((shape, i) => {
    const name = builder.input(`x${i}`, "float32", shape);
    const count = shape.reduce((a, b) => a * b, 1);
    const map = row.domain ?? ((v: number): number => v);
    feeds.set(
      name,
      float32(
        shape,
        Float32Array.from({ length: count }, () => map(random.normal())),
      ),
    );
    return name;
  });
  const constants = (row.constants ?? []).map((value) => builder.constant(value));
  const outputs = builder.emitAll(row.op, [...names, ...constants], {
    ...row.attributes,
    outputCount: row.outputs ?? 1,
  });
  const weighted = (row.op === "Split" ? outputs : outputs.slice(0, 1)).map((output) => {
    const shape = builder.typeOf(output)?.shape as readonly number[];
    const count = shape.reduce((a, b) => a * b, 1);
    const weights = Float32Array.from({ length: count }, () => random.normal());
    const product = builder.emit("Mul", [output, builder.constant(float32(shape, weights))]);
    return builder.emit("ReduceSum", [product], { attributes: { keepdims: int(0) } });
  });
  const loss = builder.emit("Sum", weighted, { outputs: ["loss"], name: "loss" });
  builder.output({ name: loss, dtype: "float32", shape: [] });
  return { graph: inferShapes(builder.finish("case", new Map([["", 20]]))), names, feeds };
}

async function open(graph: Graph) {
  return inProcessRunner().load({ bytes: encodeModel(modelOf(graph)) });
}

const EPSILON = 1e-2;

async function checkRow(row: Row, seed: number): Promise<void> {
  const { graph, names, feeds } = caseOf(row, new Random(seed));
  const wrt = (row.wrt ?? names.map((_, i) => i)).map((i) => names[i] ?? "");
  const made = differentiate(graph, { loss: "loss", wrt });
  sound(made.graph);
  const outputs = wrt.map((name) => {
    const gradient = made.gradients.get(name) ?? "";
    return { name: gradient, dtype: "float32" as const, shape: undefined };
  });
  await using backward = await open({ ...made.graph, outputs });
  await using forward = await open(graph);
  const found = await backward.run(feeds);
  for (const name of wrt) {
    const gradient = float32Values(found.get(made.gradients.get(name) ?? "") as Tensor);
    const input = feeds.get(name) as Tensor;
    expect(found.get(made.gradients.get(name) ?? "")?.shape).toEqual(input.shape);
    const values = float32Values(input);
    const scale = Math.max(1, ...Array.from(gradient, Math.abs));
    for (let i = 0; i < values.length; i++) {
      const moved = async (by: number): Promise<number> => {
        const shifted = Float32Array.from(values);
        shifted[i] = (shifted[i] ?? 0) + by;
        const result = await forward.run(new Map(feeds).set(name, float32(input.shape, shifted)));
        return float32Values(result.get("loss") as Tensor)[0] ?? Number.NaN;
      };
      const difference = ((await moved(EPSILON)) - (await moved(-EPSILON))) / (2 * EPSILON);
      expect(Math.abs((gradient[i] ?? Number.NaN) - difference) / scale).toBeLessThan(1e-2);
    }
  }
}

describe("gradient rules against central differences on the runtime", () => {
  test.each(ROWS.map((row) => [`${row.op} ${row.label ?? ""}`.trim(), row] as const))(
    "%s",
    async (_name, row) => {
      for (const seed of [1, 2]) await checkRow(row, seed);
    },
  );

  test("every op with a gradient rule has a row", () => {
    const ruled = [...OPS.values()].filter((op) => typeof op.gradient === "function");
    const rows = new Set([...ROWS.map((row) => row.op), "SoftmaxCrossEntropyLoss"]);
    expect(ruled.map((op) => op.type).filter((type) => !rows.has(type))).toEqual([]);
  });
});

describe("cross-entropy", () => {
  test("the gradient is softmax minus the label, over the batch", async () => {
    const random = new Random(3);
    const builder = new TypedBuilder();
    builder.input("scores", "float32", [4, 3]);
    builder.input("label", "int64", [4]);
    builder.emitAll("SoftmaxCrossEntropyLoss", ["scores", "label"], {
      name: "loss",
      outputs: ["loss", "log"],
    });
    builder.output({ name: "loss", dtype: "float32", shape: [] });
    const graph = inferShapes(builder.finish("loss", new Map([["", 20]])));
    const made = differentiate(graph, { loss: "loss", wrt: ["scores"] });
    const gradient = made.gradients.get("scores") ?? "";
    const outputs = [{ name: gradient, dtype: "float32" as const, shape: undefined }];
    await using session = await open({ ...made.graph, outputs });
    const scores = Array.from({ length: 12 }, () => random.normal());
    const labels = [2, 0, 1, 1];
    const found = await session.run(
      new Map([
        ["scores", float32([4, 3], scores)],
        ["label", int64([4], labels)],
      ]),
    );
    const values = float32Values(found.get(gradient) as Tensor);
    for (let row = 0; row < 4; row++) {
      const powers = [0, 1, 2].map((c) => Math.exp(scores[row * 3 + c] ?? 0));
      const total = powers.reduce((a, b) => a + b, 0);
      for (let c = 0; c < 3; c++) {
        const expected = ((powers[c] ?? 0) / total - Number(labels[row] === c)) / 4;
        expect(values[row * 3 + c]).toBeCloseTo(expected, 5);
      }
    }
  });
});
