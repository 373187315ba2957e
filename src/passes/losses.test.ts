import { describe, expect, test } from "vitest";
import { sound } from "../../test/sound.ts";
import { SkipwayError } from "../base/errors.ts";
import { Random } from "../base/random.ts";
import { TypedBuilder } from "../canonical/typed-builder.ts";
import type { DType } from "../graph/dtype.ts";
import type { Graph } from "../graph/graph.ts";
import type { Shape } from "../graph/shape.ts";
import {
  float32,
  float32Values,
  int64,
  numbersOf,
  type Tensor,
  vectorOf,
} from "../graph/tensor.ts";
import { modelOf } from "../onnx/onnx-model.ts";
import { encodeModel } from "../onnx/write.ts";
import { inProcessRunner } from "../runtime/in-process.ts";
import { differentiate } from "./gradient/differentiate.ts";
import { appendLoss, type Loss, targetType } from "./losses.ts";

// Each loss against its formula, written down here in float64: the number on the runtime, and its gradient
// against central differences of the formula.

/** A graph of scores and a target to the loss. */
function valueGraph(shape: Shape, loss: Loss, dtype: DType = "float32"): Graph {
  const builder = new TypedBuilder(undefined, 21);
  builder.input("scores", dtype, shape);
  const type = targetType("scores", { dtype, shape }, loss);
  builder.input("target", type.dtype, type.shape ?? []);
  appendLoss(builder, loss, { scores: "scores", target: "target", name: "loss" });
  builder.output({ name: "loss", dtype, shape: [] });
  return sound(builder.finish("loss", new Map([["", 21]])));
}

/** And to its gradient. */
function lossGraph(shape: Shape, loss: Loss): Graph {
  const forward = valueGraph(shape, loss);
  const { graph, gradients } = differentiate(forward, { loss: "loss", wrt: ["scores"] });
  const gradient = { name: gradients.get("scores") ?? "", dtype: "float32" as const, shape };
  return sound({ ...graph, outputs: [...graph.outputs, gradient] });
}

async function run(graph: Graph, scores: Tensor, target: Tensor): Promise<[number, Float32Array]> {
  await using session = await inProcessRunner().load({ bytes: encodeModel(modelOf(graph)) });
  const feeds = new Map([
    ["scores", scores],
    ["target", target],
  ]);
  const [loss, gradient] = [...(await session.run(feeds)).values()].map(float32Values);
  return [loss?.[0] ?? Number.NaN, gradient ?? new Float32Array()];
}

/** A formula over rows of scores, one row for each label or distribution. */
type Formula = (scores: readonly (readonly number[])[], target: readonly number[][]) => number;

const sum = (list: readonly number[]): number => list.reduce((a, b) => a + b, 0);
const mean = (list: readonly number[]): number => sum(list) / list.length;
const logSoftmax = (row: readonly number[]): number[] => {
  const most = Math.max(...row);
  const all = most + Math.log(sum(row.map((x) => Math.exp(x - most))));
  return row.map((x) => x - all);
};
const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));
const each =
  (
    f: (x: number, t: number) => number,
    total: (list: readonly number[]) => number = mean,
  ): Formula =>
  (scores, target) =>
    total(scores.flatMap((row, r) => row.map((x, i) => f(x, target[r]?.[i] ?? Number.NaN))));

/** The definition in the documentation of torch.nn.CrossEntropyLoss. */
function crossEntropy(loss: Extract<Loss, { kind: "cross-entropy" }>): Formula {
  const { labelSmoothing = 0, ignoreIndex, classWeights, reduction = "mean" } = loss;
  return (scores, target) => {
    let [total, weights] = [0, 0];
    for (const [r, row] of scores.entries()) {
      const label = target[r]?.[0] ?? -1;
      if (label === ignoreIndex) continue;
      const log = logSoftmax(row);
      const weight = (c: number): number => classWeights?.[c] ?? 1;
      const right = -weight(label) * (log[label] ?? Number.NaN);
      const spread = -sum(log.map((one, c) => weight(c) * one)) / row.length;
      total += (1 - labelSmoothing) * right + labelSmoothing * spread;
      weights += weight(label);
    }
    return reduction === "mean" ? total / weights : total;
  };
}

interface Row {
  readonly name: string;
  readonly loss: Loss;
  readonly formula: Formula;
  /** Rows and columns of the scores. */
  readonly size?: readonly [number, number];
  readonly target?: "labels" | "probabilities" | "numbers";
}

const WEIGHTS = [0.5, 2, 1, 0.25];
const labelled = (name: string, loss: Extract<Loss, { kind: "cross-entropy" }>): Row => ({
  ...{ name, loss, formula: crossEntropy(loss), target: "labels" },
});

const ROWS: readonly Row[] = [
  labelled("cross-entropy", { kind: "cross-entropy" }),
  labelled("its sum", { kind: "cross-entropy", reduction: "sum" }),
  labelled("with smoothing", { kind: "cross-entropy", labelSmoothing: 0.2 }),
  labelled("with the sum of smoothing", {
    ...{ kind: "cross-entropy", labelSmoothing: 0.2, reduction: "sum" },
  }),
  labelled("with ignored labels", { kind: "cross-entropy", ignoreIndex: 1 }),
  labelled("with weights", { kind: "cross-entropy", classWeights: WEIGHTS }),
  labelled("with all of them", {
    ...{ kind: "cross-entropy", classWeights: WEIGHTS, ignoreIndex: 1, labelSmoothing: 0.1 },
  }),
  {
    name: "binary cross-entropy",
    loss: { kind: "binary-cross-entropy" },
    target: "probabilities",
    formula: each((x, t) => -t * Math.log(sigmoid(x)) - (1 - t) * Math.log(1 - sigmoid(x))),
  },
  {
    name: "binary cross-entropy with weights",
    loss: { kind: "binary-cross-entropy", positiveWeight: [3] },
    target: "probabilities",
    formula: each((x, t) => -3 * t * Math.log(sigmoid(x)) - (1 - t) * Math.log(1 - sigmoid(x))),
  },
  { name: "mse", loss: { kind: "mse" }, formula: each((x, t) => (x - t) ** 2) },
  {
    name: "the sum of mse",
    loss: { kind: "mse", reduction: "sum" },
    formula: each((x, t) => (x - t) ** 2, sum),
  },
  { name: "l1", loss: { kind: "l1" }, formula: each((x, t) => Math.abs(x - t)) },
  {
    name: "huber",
    loss: { kind: "huber", delta: 0.7 },
    formula: each((x, t) => {
      const d = Math.abs(x - t);
      return d < 0.7 ? 0.5 * d * d : 0.7 * (d - 0.35);
    }),
  },
  {
    name: "distillation",
    loss: { kind: "kl-divergence", temperature: 2 },
    formula: (scores, target) =>
      mean(
        scores.map((row, r) => {
          const student = logSoftmax(row.map((x) => x / 2));
          const teacher = logSoftmax((target[r] ?? []).map((x) => x / 2));
          return 4 * sum(teacher.map((t, c) => Math.exp(t) * (t - (student[c] ?? Number.NaN))));
        }),
      ),
  },
  {
    name: "dice",
    loss: { kind: "dice" },
    target: "probabilities",
    formula: (scores, target) =>
      mean(
        scores.map((row, r) => {
          const p = row.map(sigmoid);
          const t = target[r] ?? [];
          const overlap = sum(p.map((one, i) => one * (t[i] ?? Number.NaN)));
          return 1 - (2 * overlap + 1) / (sum(p) + sum(t) + 1);
        }),
      ),
  },
];

function targetsOf(
  row: Row,
  [rows, columns]: readonly [number, number],
  random: Random,
): number[][] {
  const width = row.target === "labels" ? 1 : columns;
  return Array.from({ length: rows }, () =>
    Array.from({ length: width }, () => {
      if (row.target === "labels") return random.integer(columns);
      return row.target === "probabilities" ? random.integer(2) : random.normal();
    }),
  );
}

function expectClose(found: ArrayLike<number>, wanted: readonly number[]): void {
  const scale = Math.max(...wanted.map(Math.abs), 1e-3);
  expect(found.length).toBe(wanted.length);
  for (const [i, v] of wanted.entries()) {
    expect(Math.abs((found[i] ?? Number.NaN) - v) / scale).toBeLessThan(1e-4);
  }
}

describe("values and gradients are those of the formulas", () => {
  test.each(ROWS)("$name", async (row) => {
    const size = row.size ?? [5, 4];
    const random = new Random(11);
    const [rows, columns] = size;
    const scores = Array.from({ length: rows }, () =>
      Array.from({ length: columns }, () => Math.fround(2 * random.normal())),
    );
    const target = targetsOf(row, size, random);
    const fed =
      row.target === "labels" ? int64([rows], target.flat()) : float32([...size], target.flat());
    // Sizes that are not known when the graph is built work as well.
    for (const shape of [
      [rows, columns],
      ["N", columns],
      ["N", "C"],
    ] satisfies Shape[]) {
      const graph = lossGraph(shape, row.loss);
      const [value, gradient] = await run(graph, float32([...size], scores.flat()), fed);
      const exact = target.map((list) => list.map(Math.fround));
      expectClose([value], [row.formula(scores, exact)]);
      const step = 1e-5;
      const differences = scores.flatMap((list, r) =>
        list.map((_, c) => {
          const moved = (by: number): number[][] =>
            scores.map((other, q) => other.map((x, d) => (q === r && d === c ? x + by : x)));
          return (row.formula(moved(step), exact) - row.formula(moved(-step), exact)) / (2 * step);
        }),
      );
      expectClose(gradient, differences);
    }
  });

  test("classes may lie along any axis", async () => {
    const random = new Random(3);
    const [n, c, h] = [2, 3, 4];
    const map = Float32Array.from({ length: n * c * h }, () => random.normal());
    const labels = Array.from({ length: n * h }, () => random.integer(c));
    const graph = lossGraph([n, c, h], { kind: "cross-entropy", classAxis: 1 });
    const [value] = await run(graph, float32([n, c, h], map), int64([n, h], labels));
    const rows = labels.map((_, at) => {
      const [i, k] = [Math.floor(at / h), at % h];
      return Array.from({ length: c }, (__, j) => map[(i * c + j) * h + k] ?? Number.NaN);
    });
    expectClose(
      [value],
      [
        crossEntropy({ kind: "cross-entropy" })(
          rows,
          labels.map((one) => [one]),
        ),
      ],
    );
  });

  test("one label alone", async () => {
    const graph = lossGraph([3], { kind: "cross-entropy" });
    const [value] = await run(graph, float32([3], [1, 2, 3]), int64([], [2]));
    expectClose([value], [-(logSoftmax([1, 2, 3])[2] ?? Number.NaN)]);
  });
});

describe("labels that count for nothing, and weights of classes", () => {
  const value = async (loss: Loss, labels: readonly number[]): Promise<number> => {
    const random = new Random(5);
    const scores = Float32Array.from({ length: labels.length * 4 }, () => random.normal());
    const graph = valueGraph([labels.length, 4], loss);
    return (
      await run(graph, float32([labels.length, 4], scores), int64([labels.length], labels))
    )[0];
  };
  const formulaOf = (
    loss: Extract<Loss, { kind: "cross-entropy" }>,
    labels: readonly number[],
  ): number => {
    const random = new Random(5);
    const rows = labels.map(() => Array.from({ length: 4 }, () => Math.fround(random.normal())));
    return crossEntropy(loss)(
      rows,
      labels.map((label) => [label]),
    );
  };

  test.each([
    { kind: "cross-entropy", ignoreIndex: -100 },
    { kind: "cross-entropy", ignoreIndex: -100, labelSmoothing: 0.1 },
    { kind: "cross-entropy", classWeights: WEIGHTS },
    { kind: "cross-entropy", classWeights: WEIGHTS, reduction: "sum" },
    { kind: "cross-entropy", classWeights: WEIGHTS, ignoreIndex: 1, labelSmoothing: 0.1 },
  ] as const)("%j", async (loss) => {
    const labels = [0, 3, "ignoreIndex" in loss ? loss.ignoreIndex : 1, 2];
    expectClose([await value(loss, labels)], [formulaOf(loss, labels)]);
  });

  test("a mean over no label at all is NaN, its sum 0", async () => {
    const loss = { kind: "cross-entropy", ignoreIndex: 1 } as const;
    expect(await value(loss, [1, 1])).toBeNaN();
    expect(await value({ ...loss, labelSmoothing: 0.1 }, [1, 1])).toBeNaN();
    expect(await value({ ...loss, reduction: "sum" }, [1, 1])).toBeCloseTo(0);
  });
});

describe("floats of other sizes", () => {
  test.each(ROWS)("$name", async (row) => {
    const random = new Random(13);
    const scores = [0, 1, 2].map(() => [0, 1, 2, 3].map(() => Math.round(8 * random.normal()) / 8));
    const target = targetsOf(row, [3, 4], random).map((list) =>
      list.map((v) => Math.round(v * 8) / 8),
    );
    for (const [dtype, bound] of [
      ["float64", 1e-12],
      ["float16", 2e-2],
    ] as const) {
      const graph = valueGraph([3, 4], row.loss, dtype);
      const like = (values: readonly number[][]): Tensor => ({
        ...vectorOf(dtype, values.flat()),
        shape: [3, 4],
      });
      const fed = row.target === "labels" ? int64([3], target.flat()) : like(target);
      await using session = await inProcessRunner().load({ bytes: encodeModel(modelOf(graph)) });
      const found = await session.run(
        new Map([
          ["scores", like(scores)],
          ["target", fed],
        ]),
      );
      const loss = found.get("loss");
      const value = (loss && numbersOf(loss)?.[0]) ?? Number.NaN;
      const wanted = row.formula(scores, target);
      expect(Math.abs(value - wanted) / Math.abs(wanted), dtype).toBeLessThan(bound);
    }
  });
});

describe("at the edges", () => {
  test.each([
    ["-1", [-1], {}],
    ["the number of classes", [3], {}],
    ["-2 where -1 is ignored", [-2], { ignoreIndex: -1 }],
    ["-1 with weights", [-1], { classWeights: [1, 2, 3] }],
    ["-1 with smoothing", [-1], { labelSmoothing: 0.1 }],
  ])("the label %s is refused", async (_name, wrong, options) => {
    const graph = lossGraph([2, 3], { kind: "cross-entropy", ...options });
    const scores = float32([2, 3], new Float32Array(6));
    await expect(run(graph, scores, int64([2], [0, ...wrong]))).rejects.toThrow(SkipwayError);
    await expect(run(graph, scores, int64([2], [0, 2]))).resolves.toBeDefined();
  });

  test("large scores do not overflow", async () => {
    const scores = float32([1, 2], [1000, -1000]);
    const graph = lossGraph([1, 2], { kind: "binary-cross-entropy" });
    const [value, gradient] = await run(graph, scores, float32([1, 2], [0, 1]));
    expect(value).toBe(1000);
    expectClose(gradient, [0.5, -0.5]);
  });

  test("a batch of no images has loss 0, and no gradient", async () => {
    const graph = lossGraph(["N", 2], { kind: "mse" });
    const [value, gradient] = await run(graph, float32([0, 2], []), float32([0, 2], []));
    expect(value).toBe(0);
    expect(gradient).toHaveLength(0);
  });

  test("a class of which the teacher is sure leaves no NaN", async () => {
    const graph = lossGraph([1, 2], { kind: "kl-divergence" });
    const [value] = await run(graph, float32([1, 2], [0, 0]), float32([1, 2], [200, -200]));
    expectClose([value], [Math.log(2)]);
  });

  test.each([
    ["integers", { dtype: "int64", shape: [2, 3] } as const, undefined],
    ["no rank", { dtype: "float32", shape: undefined } as const, undefined],
    ["no such axis", { dtype: "float32", shape: [2, 3] } as const, 2],
    [
      "a sequence",
      {
        dtype: "float32",
        shape: undefined,
        container: { kind: "sequence", of: { dtype: "float32", shape: [2] } },
      } as const,
      undefined,
    ],
  ])("%s are refused", (_name, type, classAxis) => {
    const loss: Loss = { kind: "cross-entropy", ...(classAxis === undefined ? {} : { classAxis }) };
    expect(() => targetType("scores", type, loss)).toThrow(SkipwayError);
  });
});
