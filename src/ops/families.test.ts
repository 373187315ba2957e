import { describe, expect, test } from "vitest";
import { TypedBuilder } from "../canonical/typed-builder.ts";
import { type Attribute, int, ints, string, type ValueType } from "../graph/graph.ts";
import type { Shape } from "../graph/shape.ts";
import { bytesOf, float32, int64, scalar, type Tensor, tensor } from "../graph/tensor.ts";
import { typeOnly } from "../graph/value-type.ts";
import { modelOf } from "../onnx/onnx-model.ts";
import { encodeModel } from "../onnx/write.ts";
import { inProcessRunner } from "../runtime/in-process.ts";
import { agrees, fits, type Row } from "./shapes.test-helper.ts";

// Signals, learners, text, optimizers: what networks with skips seldom hold, and files do.

const list = (...values: number[]): Tensor => int64([values.length], values);
const whole = (value: number): Tensor => int64([], [value]);
const strings = (...value: string[]): Attribute => ({ kind: "strings", value });
const floats = (...value: number[]): Attribute => ({ kind: "floats", value });
const ml = (op: string, inputs: Row["inputs"], rest: Partial<Row> = {}): Row => ({
  op,
  inputs,
  domain: "ai.onnx.ml",
  ...rest,
});
/** One tree with one leaf on each side. */
const tree = {
  nodes_treeids: ints([0, 0, 0]),
  nodes_nodeids: ints([0, 1, 2]),
  nodes_featureids: ints([0, 0, 0]),
  nodes_values: floats(0.5, 0, 0),
  nodes_modes: strings("BRANCH_LEQ", "LEAF", "LEAF"),
  nodes_truenodeids: ints([1, 0, 0]),
  nodes_falsenodeids: ints([2, 0, 0]),
};

const ROWS: readonly Row[] = [
  ...["HannWindow", "HammingWindow", "BlackmanWindow"].map((op) => ({ op, inputs: [whole(9)] })),
  { op: "HannWindow", inputs: [whole(4)], attributes: { output_datatype: int(11) } },
  {
    op: "MelWeightMatrix",
    inputs: [whole(8), whole(16), whole(8192), scalar(0), scalar(4096)],
  },
  { op: "DFT", inputs: [[2, 10, 1]] },
  { op: "DFT", inputs: [[2, 10, 3, 2], whole(7), whole(1)] },
  { op: "DFT", inputs: [[2, 10, 1]], attributes: { onesided: int(1) } },
  { op: "DFT", inputs: [[2, 10, 1], whole(7), whole(-2)], attributes: { onesided: int(1) } },
  { op: "DFT", inputs: [[2, 10, 2]], attributes: { inverse: int(1) } },
  { op: "STFT", inputs: [[2, 40, 1], whole(8), [16]] },
  { op: "STFT", inputs: [[2, 41, 1], whole(3), [16], whole(16)], attributes: { onesided: int(0) } },
  { op: "CenterCropPad", inputs: [[5, 8, 3], list(7, 4, 3)] },
  { op: "CenterCropPad", inputs: [[5, 8, 3], list(4, 7)], attributes: { axes: ints([-1, 0]) } },
  { op: "GlobalLpPool", inputs: [[2, 3, 4, 5]] },
  {
    op: "MaxRoiPool",
    inputs: [[1, 2, 8, 8], float32([3, 5], [0, 0, 0, 3, 3, 0, 1, 1, 6, 6, 0, 2, 2, 7, 7])],
    attributes: { pooled_shape: ints([2, 3]) },
  },
  ml("ArrayFeatureExtractor", [[3, 4], list(0, 3)]),
  ml("ArrayFeatureExtractor", [[3, 4], int64([1, 2], [1, 0])]),
  ml("ArrayFeatureExtractor", [[4], list(0, 3, 2)]),
  ml("Binarizer", [[2, 3]], { attributes: { threshold: { kind: "float", value: 0.3 } } }),
  ml(
    "FeatureVectorizer",
    [
      [2, 3],
      [2, 1],
    ],
    { attributes: { inputdimensions: ints([3, 1]) } },
  ),
  ml("Imputer", [[2, 3]], { attributes: { imputed_value_floats: floats(1) } }),
  ml("LabelEncoder", [[2, 3]], {
    attributes: { keys_floats: floats(1, 2), values_int64s: ints([5, 6]) },
    unknown: true,
  }),
  ml("LabelEncoder", [list(1, 2, 9)], {
    attributes: { keys_int64s: ints([1, 2]), values_floats: floats(5, 6) },
  }),
  ml("LinearClassifier", [[4, 2]], {
    attributes: {
      coefficients: floats(1, 2, 3, 4, 5, 6),
      intercepts: floats(0, 0, 0),
      classlabels_ints: ints([0, 1, 2]),
    },
    outputs: 2,
  }),
  ml("LinearRegressor", [[4, 2]], {
    attributes: { coefficients: floats(1, 2, 3, 4), targets: int(2) },
  }),
  ml("Normalizer", [[2, 3]]),
  ml("Scaler", [[2, 3]], { attributes: { offset: floats(1), scale: floats(2) } }),
  ml("OneHotEncoder", [list(1, 3)], { attributes: { cats_int64s: ints([1, 2, 3]) } }),
  ml("SVMRegressor", [[4, 2]], {
    attributes: {
      kernel_params: floats(1, 0, 3),
      n_supports: int(1),
      support_vectors: floats(1, 2),
      coefficients: floats(1),
      rho: floats(0),
    },
  }),
  ml("SVMClassifier", [[4, 2]], {
    attributes: {
      kernel_params: floats(1, 0, 3),
      vectors_per_class: ints([1, 1]),
      support_vectors: floats(1, 2, 3, 4),
      coefficients: floats(1, -1),
      rho: floats(0),
      classlabels_ints: ints([0, 1]),
    },
    outputs: 2,
    unknown: true,
  }),
  ml("TreeEnsembleRegressor", [[4, 2]], {
    attributes: {
      ...tree,
      n_targets: int(2),
      target_treeids: ints([0, 0]),
      target_nodeids: ints([1, 2]),
      target_ids: ints([0, 1]),
      target_weights: floats(1, 2),
    },
  }),
  ml("TreeEnsembleClassifier", [[4, 2]], {
    attributes: {
      ...tree,
      class_treeids: ints([0, 0]),
      class_nodeids: ints([1, 2]),
      class_ids: ints([0, 1]),
      class_weights: floats(1, 2),
      classlabels_int64s: ints([7, 8]),
    },
    outputs: 2,
  }),
];

describe("shape rules against the runtime", () => {
  test.each(ROWS.map((row, i) => [`${i} ${row.op}`, row] as const))("%s", (_name, row) =>
    agrees(row),
  );
});

function typeOf(b: TypedBuilder, name: string): ValueType | undefined {
  const value = b.typeOf(name);
  return value && typeOnly(value);
}

/** Types of a node on strings, and the shapes that the runtime gives: strings do not cross to here. */
async function ofStrings(
  op: string,
  inputs: readonly (readonly string[])[],
  attributes: Readonly<Record<string, Attribute>>,
  { domain = "", shape = [], outputs = 1 }: { domain?: string; shape?: number[]; outputs?: number },
): Promise<{ types: (ValueType | undefined)[]; truths: (readonly number[])[] }> {
  const b = new TypedBuilder();
  const names = inputs.map((words) => {
    const flat = b.emit("Constant", [], { attributes: { value_strings: strings(...words) } });
    return shape.length === 0 ? flat : b.emit("Reshape", [flat, b.constant(list(...shape))]);
  });
  const made = b.emitAll(op, names, { attributes, domain, outputCount: outputs });
  const sizes = made.map((name) => b.emit("Shape", [name]));
  for (const name of sizes) b.output({ name, dtype: "int64", shape: undefined });
  const opsets = new Map([
    ["", 20],
    ["ai.onnx.ml", 3],
  ]);
  const bytes = encodeModel(modelOf(b.finish("case", opsets)));
  await using session = await inProcessRunner().load({ bytes });
  const found = await session.run(new Map());
  const truths = sizes.map((name) => {
    const { data } = found.get(name) as Tensor;
    return Array.from(new BigInt64Array(data.bytes.slice().buffer), Number);
  });
  return { types: made.map((name) => typeOf(b, name)), truths };
}

/** The default locale is not on every machine. */
const neutral = { locale: string("C") };

describe("text", () => {
  test.each<[string, string[][], Record<string, Attribute>, number[], string[], number]>([
    ["StringConcat", [["a", "b"], ["c"]], {}, [], ["string"], 1],
    ["StringSplit", [["a b c", "d"]], {}, [1, 2], ["string", "int64"], 2],
    [
      "StringNormalizer",
      [["a", "b", "c"]],
      { stopwords: strings("b"), ...neutral },
      [],
      ["string"],
      1,
    ],
    [
      "StringNormalizer",
      [["a", "b"]],
      { stopwords: strings("a", "b"), ...neutral },
      [1, 2],
      ["string"],
      1,
    ],
    ["RegexFullMatch", [["a", "b"]], { pattern: string("a+") }, [2, 1], ["bool"], 1],
  ])("%s", async (op, inputs, attributes, shape, dtypes, outputs) => {
    const { types, truths } = await ofStrings(op, inputs, attributes, { shape, outputs });
    expect(types.map((type) => type?.dtype)).toEqual(dtypes);
    for (const [i, truth] of truths.entries()) {
      expect(types[i]?.shape?.length).toBe(truth.length);
      fits(types[i], truth);
    }
  });

  test("n-grams: a column up to the highest index", async () => {
    const b = new TypedBuilder();
    b.input("x", "int64", ["N", 6]);
    const attributes = {
      mode: string("TF"),
      min_gram_length: int(1),
      max_gram_length: int(1),
      max_skip_count: int(0),
      ngram_counts: ints([0]),
      ngram_indexes: ints([0, 4, 2]),
      pool_int64s: ints([3, 5, 7]),
    };
    const y = b.emit("TfIdfVectorizer", ["x"], { attributes });
    b.output({ name: y, dtype: "float32", shape: undefined });
    expect(b.typeOf(y)?.shape).toEqual(["N", 5]);
    const bytes = encodeModel(modelOf(b.finish("case", new Map([["", 20]]))));
    await using session = await inProcessRunner().load({ bytes });
    const x = tensor("int64", [2, 6], bytesOf(new BigInt64Array(12)));
    expect((await session.run(new Map([["x", x]]))).get(y)?.shape).toEqual([2, 5]);
  });

  test("words to numbers, and to columns", async () => {
    const domain = "ai.onnx.ml";
    const cats = { cats_strings: strings("a", "b", "c") };
    const hot = await ofStrings("OneHotEncoder", [["a", "b"]], cats, { domain });
    expect(hot.truths).toEqual([[2, 3]]);
    expect(hot.types).toEqual([{ dtype: "float32", shape: [2, 3] }]);
    const table = { keys_strings: strings("a"), values_int64s: ints([4]) };
    const coded = await ofStrings("LabelEncoder", [["a", "b"]], table, { domain });
    expect(coded.truths).toEqual([[2]]);
    expect(coded.types).toEqual([{ dtype: "int64", shape: [2] }]);
  });
});

/** Types as onnx 1.23 infers them, or its text states them; the runtime has no such ops. */
describe("ops that the runtime does not have", () => {
  function types(
    op: string,
    shapes: readonly Shape[],
    given: { attributes?: Record<string, Attribute>; domain?: string; outputCount?: number },
  ): (ValueType | undefined)[] {
    const b = new TypedBuilder();
    const names = shapes.map((shape, i) => b.input(`x${i}`, "float32", shape));
    return b.emitAll(op, names, given).map((name) => typeOf(b, name));
  }
  const float = (...shape: Shape): ValueType => ({ dtype: "float32", shape });

  test("an optimizer gives weights and states, each as what it replaces", () => {
    const domain = "ai.onnx.preview.training";
    const group: Shape[] = [["N", 3], [4]];
    const given = { domain, outputCount: 4 };
    const inputs = [[], [], ...group, ...group, ...group];
    const [first, second] = [float("N", 3), float(4)];
    expect(types("Momentum", inputs, given)).toEqual([first, second, first, second]);
    const adam = types("Adam", [...inputs, ...group], { domain, outputCount: 6 });
    expect(adam).toEqual([first, second, first, second, first, second]);
    // A group that lacks a tensor says nothing.
    expect(types("Adagrad", inputs.slice(1), given)).toEqual([1, 2, 3, 4].map(() => undefined));
  });

  test("a gradient is shaped as what it is taken by", () => {
    const domain = "ai.onnx.preview.training";
    expect(types("Gradient", [[2, "M"], []], { domain, outputCount: 2 })).toEqual([
      float(2, "M"),
      float(),
    ]);
  });

  test("the inverse of half the frequencies has real samples, by default an even number", () => {
    const attributes = { inverse: int(1), onesided: int(1) };
    expect(types("DFT", [["N", 6, 2]], { attributes })).toEqual([float("N", 10, 1)]);
  });

  test("a picture may be of any size, or none", () => {
    expect(types("ImageDecoder", [[9]], {})).toEqual([{ dtype: "uint8", shape: ["?", "?", "?"] }]);
  });

  test("trees of the fifth version say how many targets they have, in the type of their input", () => {
    const attributes = { n_targets: int(3) };
    const domain = "ai.onnx.ml";
    expect(types("TreeEnsemble", [["N", 4]], { attributes, domain })).toEqual([float("N", 3)]);
  });

  test("maps from names to scores", () => {
    const attributes = { classlabels_strings: strings("a", "b") };
    const domain = "ai.onnx.ml";
    const [maps] = types("ZipMap", [[5, 2]], { attributes, domain });
    expect(maps?.container).toEqual({
      kind: "sequence",
      length: 5,
      of: {
        dtype: "float32",
        shape: undefined,
        container: { kind: "map", key: "string", of: { dtype: "float32", shape: [] } },
      },
    });
  });
});

test("an einsum may cover axes by an ellipsis, and leave its result unsaid", () => {
  const b = new TypedBuilder();
  const x = b.input("x", "float32", ["N", 3, 4]);
  const y = b.input("y", "float32", [1, 4, 5]);
  const shapeOf = (equation: string, ...inputs: string[]): Shape | undefined =>
    b.typeOf(b.emit("Einsum", inputs, { attributes: { equation: string(equation) } }))?.shape;
  expect(shapeOf("...ij,...jk->...ik", x, y)).toEqual(["N", 3, 5]);
  expect(shapeOf("...ij,...jk", x, y)).toEqual(["N", 3, 5]);
  expect(shapeOf("b...a", x)).toEqual([3, 4, "N"]);
  expect(shapeOf("ba,", x)).toBeUndefined();
  expect(shapeOf("abcd->a", x)).toBeUndefined();
  expect(shapeOf("a...bcd->a", x)).toBeUndefined();
});

test("a float constant in the place of a size is read as a number, a broken one as unknown", () => {
  const b = new TypedBuilder();
  const half = b.emit("HannWindow", [b.constant(float32([], [2.5]))]);
  expect(b.typeOf(half)?.shape).toEqual(["?"]);
  const negative = b.emit("HannWindow", [b.constant(whole(-3))]);
  expect(b.typeOf(negative)?.shape).toEqual(["?"]);
});
