import { describe, test } from "vitest";
import { float, int, ints, string } from "../graph/graph.ts";
import { bytesOf, float32, int64, type Tensor, tensor } from "../graph/tensor.ts";
import { agrees, type Row } from "./shapes.test-helper.ts";

const list = (...values: number[]): Tensor => int64([values.length], values);
const scalarInt = (value: number): Tensor => int64([], [value]);
const mask = (...values: number[]): Tensor =>
  tensor("bool", [values.length], Uint8Array.from(values));
const image = [2, 4, 7, 9];
const window = { kernel_shape: ints([3, 2]), strides: ints([2, 1]), pads: ints([1, 0, 0, 1]) };

const pool2 = { kernel_shape: ints([2, 2]), strides: ints([2, 2]) };
const byte = tensor("uint8", [], Uint8Array.of(3));
/** A quantized tensor with its scale and zero point, as QLinear ops take them. */
const bytes = (...shape: number[]): Tensor[] => [
  tensor("uint8", shape, new Uint8Array(shape.reduce((a, b) => a * b, 1))),
  float32([], [0.1]),
  byte,
];

const tokens = tensor("int32", [2, 3], bytesOf(Int32Array.of(0, 1, 0, 1, 1, 0)));

const ROWS: readonly Row[] = [
  {
    op: "Add",
    inputs: [
      [2, 1, 3],
      [4, 1],
    ],
  },
  { op: "Greater", inputs: [[2, 3], [3]] },
  { op: "Where", inputs: [mask(1, 0, 1), [2, 3], [1]] },
  { op: "Max", inputs: [[2, 3], [3], [2, 1]] },
  { op: "Cast", inputs: [[2, 3]], attributes: { to: int(7) } },
  {
    op: "MatMul",
    inputs: [
      [2, 3, 4],
      [4, 5],
    ],
  },
  { op: "MatMul", inputs: [[4], [2, 4, 5]] },
  { op: "MatMul", inputs: [[3, 4], [4]] },
  {
    op: "Gemm",
    inputs: [
      [4, 3],
      [5, 4],
    ],
    attributes: { transA: int(1), transB: int(1) },
  },
  { op: "Conv", inputs: [image, [6, 4, 3, 2]], attributes: window },
  {
    op: "Conv",
    inputs: [image, [8, 2, 3, 3]],
    attributes: { group: int(2), dilations: ints([2, 2]) },
  },
  {
    op: "Conv",
    inputs: [image, [6, 4, 3, 3]],
    attributes: { auto_pad: string("SAME_LOWER"), strides: ints([2, 2]) },
  },
  {
    op: "ConvTranspose",
    inputs: [image, [4, 3, 3, 3]],
    attributes: { strides: ints([2, 2]), output_padding: ints([1, 0]), pads: ints([1, 1, 0, 1]) },
  },
  { op: "ConvTranspose", inputs: [image, [4, 3, 2, 2]], attributes: { group: int(2) } },
  { op: "MaxPool", inputs: [image], attributes: window, outputs: 2 },
  { op: "MaxPool", inputs: [image], attributes: { ...window, ceil_mode: int(1) } },
  {
    op: "AveragePool",
    inputs: [image],
    attributes: { kernel_shape: ints([2, 2]), strides: ints([2, 2]), ceil_mode: int(1) },
  },
  { op: "GlobalAveragePool", inputs: [image] },
  { op: "BatchNormalization", inputs: [image, [4], [4], [4], [4]] },
  { op: "LayerNormalization", inputs: [[2, 3, 4], [4]], attributes: { axis: int(-1) } },
  { op: "Softmax", inputs: [[2, 5]] },
  ...["ReduceSum", "ReduceMean", "ReduceMax", "ReduceL2"].flatMap((op) => [
    { op, inputs: [[2, 3, 4], list(-1)] },
    { op, inputs: [[2, 3, 4], list(0, 2)], attributes: { keepdims: int(0) } },
    { op, inputs: [[2, 3]] },
  ]),
  { op: "ArgMax", inputs: [[2, 3, 4]], attributes: { axis: int(1), keepdims: int(0) } },
  { op: "Reshape", inputs: [[2, 6], list(0, 2, -1)] },
  { op: "Flatten", inputs: [[2, 3, 4]], attributes: { axis: int(-1) } },
  { op: "Squeeze", inputs: [[2, 1, 3, 1], list(-1, 1)] },
  { op: "Unsqueeze", inputs: [[2, 3], list(0, -1)] },
  { op: "Transpose", inputs: [[2, 3, 4]] },
  { op: "Expand", inputs: [[3, 1], list(2, 1, 4)] },
  { op: "Tile", inputs: [[2, 3], list(2, 1)] },
  { op: "Slice", inputs: [[5, 6], list(-2, 5), list(9, 0), list(0, 1), list(1, -2)] },
  { op: "Slice", inputs: [[5, 6], list(-1), list(-100), list(1), list(-1)] },
  { op: "Slice", inputs: [[5, 6], list(4), list(2), list(0)] },
  {
    op: "Concat",
    inputs: [
      [2, 3],
      [2, 4],
    ],
    attributes: { axis: int(-1) },
  },
  { op: "Split", inputs: [[7, 2], list(3, 4)], outputs: 2 },
  { op: "Split", inputs: [[7, 2]], attributes: { num_outputs: int(3) }, outputs: 3 },
  { op: "Pad", inputs: [[3, 4], list(1, 0, 2, 1)] },
  { op: "Pad", inputs: [[3, 4], list(2, -1), float32([], [0]), list(1)] },
  {
    op: "Gather",
    inputs: [[4, 3], tensor("int64", [2, 2], bytesOf(BigInt64Array.of(0n, 1n, 2n, 0n)))],
    attributes: { axis: int(1) },
  },
  { op: "GatherElements", inputs: [[3, 3], int64([2, 3], [0, 1, 2, 0, 0, 1])] },
  { op: "GatherND", inputs: [[3, 4, 5], int64([2, 2], [0, 1, 2, 3])] },
  { op: "OneHot", inputs: [list(0, 2, 1), scalarInt(4), float32([2], [0, 1])] },
  { op: "Shape", inputs: [[2, 3, 4]], attributes: { start: int(1) } },
  { op: "Size", inputs: [[2, 3, 4]] },
  { op: "ConstantOfShape", inputs: [list(2, 3)] },
  { op: "Range", inputs: [scalarInt(1), scalarInt(8), scalarInt(3)] },
  { op: "NonZero", inputs: [[2, 3]], unknown: true },
  { op: "TopK", inputs: [[2, 5], list(3)], outputs: 2 },
  { op: "Compress", inputs: [[3, 2], mask(1, 0, 1)], attributes: { axis: int(0) }, unknown: true },
  { op: "CumSum", inputs: [[2, 3], scalarInt(1)] },
  { op: "Trilu", inputs: [[3, 3]] },
  { op: "DepthToSpace", inputs: [[1, 8, 2, 3]], attributes: { blocksize: int(2) } },
  { op: "SpaceToDepth", inputs: [[1, 2, 4, 6]], attributes: { blocksize: int(2) } },
  {
    op: "Resize",
    inputs: [image, float32([0], []), float32([4], [1, 1, 2, 1.5])],
    attributes: { mode: string("nearest") },
  },
  { op: "Resize", inputs: [image, float32([0], []), float32([0], []), list(2, 4, 3, 5)] },
  {
    op: "LayerNormalization",
    inputs: [
      [2, 3, 4],
      [3, 4],
    ],
    attributes: { axis: int(1) },
    outputs: 3,
  },
  {
    op: "GridSample",
    inputs: [
      [2, 3, 5, 5],
      [2, 4, 6, 2],
    ],
  },
  { op: "LpPool", inputs: [image], attributes: window },
  {
    op: "BitShift",
    inputs: [
      tensor("uint8", [2, 1], Uint8Array.of(1, 2)),
      tensor("uint8", [3], Uint8Array.of(1, 2, 3)),
    ],
    attributes: { direction: string("LEFT") },
  },
  { op: "DynamicQuantizeLinear", inputs: [[2, 3]], outputs: 3 },
  {
    op: "QuantizeLinear",
    inputs: [[2, 3], float32([], [0.1]), tensor("int8", [], Uint8Array.of(0))],
  },
  {
    op: "GRU",
    inputs: [
      [5, 2, 3],
      [2, 12, 3],
      [2, 12, 4],
    ],
    attributes: { hidden_size: int(4), direction: string("bidirectional") },
    outputs: 2,
  },
  {
    op: "LSTM",
    inputs: [
      [5, 2, 3],
      [1, 16, 3],
      [1, 16, 4],
    ],
    attributes: { hidden_size: int(4) },
    outputs: 3,
  },
  {
    op: "SkipLayerNormalization",
    domain: "com.microsoft",
    inputs: [[2, 3, 4], [2, 3, 4], [4]],
    outputs: 4,
  },
  {
    op: "EmbedLayerNormalization",
    domain: "com.microsoft",
    inputs: [tokens, tokens, [5, 4], [3, 4], [2, 4], [4], [4], tokens],
    outputs: 3,
  },
  {
    op: "FusedConv",
    domain: "com.microsoft",
    inputs: [image, [6, 4, 3, 3]],
    attributes: { activation: string("Relu") },
  },
  { op: "QuickGelu", domain: "com.microsoft", inputs: [[2, 3]] },
  { op: "Hardmax", inputs: [[2, 3]] },
  {
    op: "Einsum",
    inputs: [
      [2, 3, 4],
      [4, 5],
    ],
    attributes: { equation: string("bij, jk -> bk") },
  },
  {
    op: "Einsum",
    inputs: [
      [2, 3],
      [3, 4],
    ],
    attributes: { equation: string("ij,jk->ik") },
  },
  { op: "Dropout", inputs: [[2, 3]], outputs: 2 },
  { op: "SoftmaxCrossEntropyLoss", inputs: [[3, 4], list(1, 0, 2)], outputs: 2 },
  {
    op: "SoftmaxCrossEntropyLoss",
    inputs: [[3, 4], list(1, 0, 2)],
    attributes: { reduction: string("none") },
  },
  { op: "LeakyRelu", inputs: [[2]], attributes: { alpha: float(0.1) } },
  {
    op: "PRelu",
    inputs: [
      [2, 3, 4],
      [3, 1],
    ],
  },
  { op: "DepthToSpace", inputs: [[1, 98, 1, 2]], attributes: { blocksize: int(7) } },
  { op: "SpaceToDepth", inputs: [[1, 2, 7, 21]], attributes: { blocksize: int(7) } },
  {
    op: "Resize",
    inputs: [image, float32([0], []), float32([0], []), list(5, 3)],
    attributes: { axes: ints([3, 2]) },
  },
  {
    op: "Resize",
    inputs: [image, float32([0], []), float32([1], [1.7])],
    attributes: { axes: ints([-1]), mode: string("nearest") },
  },
  {
    op: "Resize",
    inputs: [image, float32([0], []), float32([0], []), list(20, 20)],
    attributes: { axes: ints([2, 3]), keep_aspect_ratio_policy: string("not_larger") },
    unknown: true,
  },
  {
    op: "ConvTranspose",
    inputs: [image, [4, 3, 3, 3]],
    attributes: { strides: ints([3, 2]), output_shape: ints([21, 18]) },
  },
  {
    op: "ConvTranspose",
    inputs: [image, [4, 3, 3, 3]],
    attributes: { strides: ints([2, 2]), auto_pad: string("SAME_UPPER") },
  },
  {
    op: "ConvTranspose",
    inputs: [image, [4, 3, 1, 1]],
    attributes: { strides: ints([2, 2]), auto_pad: string("SAME_UPPER") },
    unknown: true,
  },
  {
    op: "ConvTranspose",
    inputs: [image, [4, 3, 3, 2]],
    attributes: { strides: ints([2, 2]), auto_pad: string("VALID") },
  },
  { op: "Concat", inputs: [[2, 3]], attributes: { axis: int(0) } },
  { op: "Multinomial", inputs: [[2, 3]], attributes: { sample_size: int(5) } },
  { op: "Bernoulli", inputs: [tensor("float32", [2], new Uint8Array(8))] },
  { op: "Unique", inputs: [[2, 3]], attributes: { axis: int(1) }, outputs: 4, unknown: true },
  { op: "Unique", inputs: [[2, 3]], unknown: true },
  {
    op: "NonMaxSuppression",
    inputs: [[1, 4, 4], [1, 2, 4], list(3), float32([1], [0.5]), float32([1], [0])],
    unknown: true,
  },
  {
    op: "RoiAlign",
    inputs: [image, [3, 4], list(0, 1, 1)],
    attributes: { output_height: int(5), output_width: int(2) },
  },
  {
    op: "Col2Im",
    inputs: [[2, 12, 6], list(3, 4), list(2, 2)],
  },
  {
    op: "MaxUnpool",
    inputs: [[1, 1, 2, 2], int64([1, 1, 2, 2], [0, 2, 8, 10])],
    attributes: pool2,
  },
  {
    op: "MaxUnpool",
    inputs: [[1, 1, 2, 2], int64([1, 1, 2, 2], [0, 2, 8, 10]), list(1, 1, 5, 5)],
    attributes: pool2,
  },
  { op: "Det", inputs: [[3, 2, 2]] },
  { op: "AffineGrid", inputs: [[2, 2, 3], list(2, 3, 5, 6)] },
  { op: "AffineGrid", inputs: [[2, 3, 4], list(2, 3, 4, 5, 6)] },
  {
    op: "DeformConv",
    inputs: [
      [1, 3, 5, 5],
      [2, 3, 2, 2],
      [1, 8, 4, 4],
    ],
  },
  {
    op: "DequantizeLinear",
    inputs: [tensor("uint8", [2, 3], new Uint8Array(6)), float32([], [0.1])],
  },
  {
    op: "MatMulInteger",
    inputs: [
      tensor("uint8", [2, 3], new Uint8Array(6)),
      tensor("uint8", [3, 4], new Uint8Array(12)),
    ],
  },
  {
    op: "ConvInteger",
    inputs: [
      tensor("uint8", [1, 1, 4, 5], new Uint8Array(20)),
      tensor("uint8", [2, 1, 3, 3], new Uint8Array(18)),
    ],
  },
  ...["QLinearAdd", "QLinearMul"].map((op) => ({
    op,
    domain: "com.microsoft",
    inputs: [...bytes(2, 3), ...bytes(1, 3), float32([], [0.2]), byte],
  })),
  ...[[], [float32([], [0.2]), byte]].map((result) => ({
    op: "QGemm",
    domain: "com.microsoft",
    inputs: [
      ...bytes(4, 3),
      ...bytes(5, 4),
      tensor("int32", [5], bytesOf(new Int32Array(5))),
      ...result,
    ],
    attributes: { transA: int(1), transB: int(1) },
  })),
  ...[0, 1].map((last) => ({
    op: "QLinearConv",
    domain: "com.microsoft",
    inputs: [
      ...(last === 0 ? bytes(1, 4, 7, 9) : bytes(1, 7, 9, 4)),
      ...bytes(6, 4, 3, 2),
      float32([], [0.2]),
      byte,
    ],
    attributes: { ...window, channels_last: int(last) },
  })),
  {
    op: "QLinearWhere",
    domain: "com.microsoft",
    inputs: [mask(1, 0, 1), ...bytes(2, 1), ...bytes(1, 3), float32([], [0.2]), byte],
  },
  {
    op: "QLinearConcat",
    domain: "com.microsoft",
    inputs: [float32([], [0.2]), byte, ...bytes(2, 3), ...bytes(2, 5)],
    attributes: { axis: int(1) },
  },
  {
    op: "QLinearGlobalAveragePool",
    domain: "com.microsoft",
    inputs: [...bytes(1, 2, 3, 4), float32([], [0.2]), byte],
  },
  ...["QLinearSigmoid", "QLinearLeakyRelu"].map((op) => ({
    op,
    domain: "com.microsoft",
    inputs: [...bytes(2, 3), float32([], [0.2]), byte],
  })),
  {
    op: "FusedMatMul",
    domain: "com.microsoft",
    inputs: [
      [2, 4, 3],
      [2, 5, 4],
    ],
    attributes: { transA: int(1), transB: int(1) },
  },
];

describe("shape rules against the runtime", () => {
  test.each(ROWS.map((row, i) => [`${i} ${row.op}`, row] as const))("%s", (_name, row) =>
    agrees(row),
  );
});
