// Norms beside the cases of the gradient suite: sizes that vary, and second derivatives.

import { describe, test } from "vitest";
import type { TypedBuilder } from "../canonical/typed-builder.ts";
import { int } from "../graph/graph.ts";
import { type Check, checkGradient, type Operand } from "./gradient.test-helper.ts";

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
