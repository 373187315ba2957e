// Norms beside the cases of the gradient suite: sizes that vary, and second derivatives.

import { describe, expect, test } from "vitest";
import { Random } from "../base/random.ts";
import { inferShapes } from "../canonical/infer-shapes.ts";
import { TypedBuilder } from "../canonical/typed-builder.ts";
import { int, ints } from "../graph/graph.ts";
import { float32 } from "../graph/tensor.ts";
import { differentiate } from "../passes/gradient/differentiate.ts";
import { castTo } from "./construct.ts";
import {
  type Check,
  checkGradient,
  normals,
  type Operand,
  open,
  valuesOf,
} from "./gradient.test-helper.ts";

const positive = (v: number): number => 0.5 + Math.abs(v);
const varying = (
  shape: readonly number[],
  declared: NonNullable<Operand["declared"]>,
): Operand => ({
  shape,
  declared,
});

/** One op on all inputs. */
function op(type: string, options: Parameters<TypedBuilder["emitAll"]>[2] = {}): Check["build"] {
  return (builder, x) => builder.emitAll(type, x, options);
}

const statistics = [[3], { shape: [3], domain: positive }] as const;
const training: Check["build"] = (builder, x) =>
  builder
    .emitAll("BatchNormalization", x, { attributes: { training_mode: int(1) }, outputCount: 3 })
    .slice(0, 1);

const CASES: readonly (readonly [string, Check])[] = [
  [
    "LayerNormalization",
    { inputs: [varying([2, 3, 4], ["N", "T", 4]), [4], [4]], build: op("LayerNormalization") },
  ],
  [
    "RMSNormalization",
    { inputs: [varying([2, 3, 4], ["N", "T", 4]), [4]], opset: 23, build: op("RMSNormalization") },
  ],
  // The runtime's kernels, and the function of the standard, are of single precision.
  [
    "InstanceNormalization",
    {
      inputs: [varying([2, 3, 4, 2], ["N", 3, "H", "W"]), [3], [3]],
      precision: "float32",
      build: op("InstanceNormalization"),
    },
  ],
  [
    "GroupNormalization-18, per group",
    {
      inputs: [varying([2, 6, 4, 2], ["N", 6, 4, 2]), [3], [3]],
      opset: 18,
      precision: "float32",
      build: op("GroupNormalization", { attributes: { num_groups: int(3) } }),
    },
  ],
  [
    "GroupNormalization-21",
    {
      inputs: [varying([2, 6, 4, 2], ["N", "C", "H", 2]), [6], [6]],
      opset: 21,
      precision: "float32",
      build: op("GroupNormalization", { attributes: { num_groups: int(3) } }),
    },
  ],
  [
    "MeanVarianceNormalization",
    {
      inputs: [varying([2, 3, 4, 2], ["N", "C", "H", 2])],
      build: op("MeanVarianceNormalization"),
      precision: "float32",
    },
  ],
  [
    "LRN",
    {
      inputs: [varying([2, 5, 3, 2], ["N", "C", 3, 2])],
      precision: "float32",
      build: op("LRN", { attributes: { size: int(3) } }),
    },
  ],
  [
    "BatchNormalization",
    {
      inputs: [varying([4, 3, 2], ["N", 3, "L"]), [3], [3], ...statistics],
      build: op("BatchNormalization"),
    },
  ],
  [
    "BatchNormalization, training",
    {
      inputs: [varying([4, 3, 2], ["N", 3, "L"]), [3], [3], ...statistics],
      build: training,
      wrt: [0, 1, 2],
    },
  ],
  [
    "BatchNormalization, training, two axes",
    {
      inputs: [varying([5, 3], ["N", 3]), [3], [3], ...statistics],
      build: training,
      wrt: [0, 1, 2],
    },
  ],
];

describe("norms whose sizes vary, with second derivatives", () => {
  test.each(CASES)("%s", async (_name, check) => {
    await checkGradient({ ...check, second: true });
  });

  test("the fused form in single precision", async () => {
    const inputs = [[2, 3, 8], [8], [8]];
    await checkGradient({
      inputs,
      precision: "float32",
      build: op("LayerNormalization"),
      second: true,
    });
  });
});

/** Gradients of Σ weights · op(inputs) with respect to all inputs, by name, in a type of the runtime. */
async function gradientsIn(
  dtype: "float16" | "float32",
  check: Pick<Check, "build" | "opset">,
  inputs: readonly (readonly number[])[],
  values: readonly (readonly number[])[],
): Promise<number[][]> {
  const opset = check.opset ?? 20;
  const builder = new TypedBuilder(undefined, opset);
  const weights = builder.input("weights", "float32", inputs[0] ?? []);
  const singles = inputs.map((shape, i) => builder.input(`x${i}`, "float32", shape));
  const given = singles.map((name) => castTo(builder, name, dtype));
  const [y = ""] = check.build(builder, given);
  const single = castTo(builder, y, "float32");
  const weighted = builder.emit("Mul", [single, weights]);
  builder.emit("ReduceSum", [weighted], { outputs: ["loss"], attributes: { keepdims: int(0) } });
  const graph = inferShapes(
    builder.finish(
      "half",
      new Map([
        ["", opset],
        ["com.microsoft", 1],
      ]),
    ),
  );
  const made = differentiate(graph, { loss: "loss", wrt: given });
  const names = given.map((name) => made.gradients.get(name) ?? "");
  const copies = new TypedBuilder(made.graph);
  const outputs = names.map((name) => castTo(copies, name, "float32"));
  await using session = await open(copies.finish("half", graph.opsets), outputs);
  const feeds = singles.map(
    (name, i) => [name, float32(inputs[i] ?? [], values[i] ?? [])] as const,
  );
  const pull = normals(new Random(11), inputs[0] ?? []);
  const found = await session.run(new Map(feeds).set("weights", float32(inputs[0] ?? [], pull)));
  return outputs.map((name) => valuesOf(found, name));
}

/** Of rows. */
const mvn = op("MeanVarianceNormalization", { attributes: { axes: ints([1]) } });

const HALVES: readonly (readonly [
  string,
  Pick<Check, "build" | "opset">,
  readonly (readonly number[])[],
])[] = [
  ["LayerNormalization", { build: op("LayerNormalization") }, [[3, 8], [8], [8]]],
  ["RMSNormalization", { build: op("RMSNormalization"), opset: 23 }, [[3, 8], [8]]],
  [
    "GroupNormalization",
    { build: op("GroupNormalization", { attributes: { num_groups: int(2) } }), opset: 21 },
    [[2, 4, 3], [4], [4]],
  ],
  ["Softmax", { build: op("Softmax") }, [[3, 8]]],
  ["MeanVarianceNormalization", { build: mvn }, [[3, 8]]],
  ["LogSoftmax", { build: op("LogSoftmax") }, [[3, 8]]],
];

describe("norms in half precision", () => {
  test.each(HALVES)("%s is near the one in single", async (_name, check, inputs) => {
    const random = new Random(7);
    const values = inputs.map((shape) => normals(random, shape));
    const half = await gradientsIn("float16", check, inputs, values);
    const single = await gradientsIn("float32", check, inputs, values);
    for (const [i, expected] of single.entries()) {
      const scale = Math.max(...expected.map(Math.abs));
      const error = expected.map((v, at) => Math.abs(v - (half[i]?.[at] ?? NaN)) / scale);
      expect(Math.max(...error)).toBeLessThan(1e-2);
    }
  });
});

describe("rows that have no direction", () => {
  const zeros = new Array<number>(4).fill(0);

  test.each([1, 2])("of zeros: the gradient of LpNormalization of order %i is 0", async (p) => {
    const check = { build: op("LpNormalization", { attributes: { p: int(p) } }) };
    const [found] = await gradientsIn("float32", check, [[2, 4]], [[1, 2, 3, 4, ...zeros]]);
    expect(found?.slice(0, 4).some((v) => v !== 0)).toBe(true);
    expect(found?.slice(4).map(Math.abs)).toEqual(zeros);
  });

  test("all the same: that of MeanVarianceNormalization is finite", async () => {
    const check = { build: mvn };
    const [found] = await gradientsIn("float32", check, [[2, 4]], [[1, 2, 3, 4, 1, 1, 1, 1]]);
    expect(found?.every(Number.isFinite)).toBe(true);
  });

  test("an empty batch has an empty gradient, and sums of 0", async () => {
    const layer = { build: op("LayerNormalization") };
    const found = await gradientsIn("float32", layer, [[0, 4], [4], [4]], [[], zeros, zeros]);
    expect(found).toEqual([[], zeros, zeros]);
  });
});
