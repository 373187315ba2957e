// Ops of detection and warping networks: regions, grids, and columns of patches.

import { intAttribute, ints, intsAttribute, type ValueName } from "../graph/graph.ts";
import { type Dim, elementCount, type Shape, UNKNOWN_DIM } from "../graph/shape.ts";
import { float32 } from "../graph/tensor.ts";
import { castLike, knownShape, noGradient, reshapeLike, sizesOf } from "./construct.ts";
import type { GradientContext, OpDef, ShapeRule } from "./op.ts";
import { defineOp, dimsOf, integers, overDim, perOutput, typed } from "./rules.ts";
import { shapeOfParts } from "./sliding.ts";
import { windowOf } from "./window.ts";

const PLACES =
  "the places that it reads or writes come with the data, and their rule is not written";

function op(type: string, because: string, shape: ShapeRule): OpDef {
  return defineOp(type, {
    shape,
    cost: perOutput(4),
    saves: { inputs: [0, 1], outputs: [] },
    gradient: { because },
  });
}

/** Rows of batch, class and box; how many boxes are kept only the data tells. */
const nonMaxSuppression = defineOp("NonMaxSuppression", {
  shape: () => [typed("int64", [UNKNOWN_DIM, 3])],
  cost: perOutput(1),
  gradient: "zero",
});

const roiAlign = op("RoiAlign", PLACES, (c) => {
  const [, channels = UNKNOWN_DIM] = c.input(0)?.shape ?? [];
  const [regions = UNKNOWN_DIM] = c.input(1)?.shape ?? [];
  const height = intAttribute(c.node, "output_height", 1);
  const width = intAttribute(c.node, "output_width", 1);
  return [typed(c.input(0)?.dtype, [regions, channels, height, width])];
});

const maxRoiPool = op("MaxRoiPool", PLACES, (c) => {
  const [, channels = UNKNOWN_DIM] = c.input(0)?.shape ?? [];
  const [regions = UNKNOWN_DIM] = c.input(1)?.shape ?? [];
  const [height = UNKNOWN_DIM, width = UNKNOWN_DIM] = intsAttribute(c.node, "pooled_shape") ?? [];
  return [typed(c.input(0)?.dtype, [regions, channels, height, width])];
});

/** The file may hold any picture, or none that can be decoded (ONNX ImageDecoder-20). */
const imageDecoder = defineOp("ImageDecoder", {
  shape: () => [typed("uint8", [UNKNOWN_DIM, UNKNOWN_DIM, UNKNOWN_DIM])],
  cost: perOutput(1),
  gradient: "zero",
});

/** `[N, H, W, 2]` or `[N, D, H, W, 3]` from the size of the picture to be sampled. */
const affineGrid = op("AffineGrid", PLACES, (c) => {
  const size = dimsOf(c, 1);
  const [batch = UNKNOWN_DIM] = size ?? [];
  const shape = size && [batch, ...size.slice(2), size.length - 2];
  return [typed(c.input(0)?.dtype, shape)];
});

/** Columns of patches put together to a picture. */
const col2Im = defineOp("Col2Im", {
  shape: (c) => {
    const [batch = UNKNOWN_DIM, rows] = c.input(0)?.shape ?? [];
    const picture = dimsOf(c, 1);
    const block = elementCount(integers(c.constant(2)));
    const shape = picture && [batch, overDim(rows, block), ...picture];
    return [typed(c.input(0)?.dtype, shape)];
  },
  cost: perOutput(4),
  gradient: (context, [dy]) => [dy === undefined ? undefined : columnsOf(context, dy)],
});

/** A picture cut into columns: a convolution of each channel with as many kernels as a patch has pixels, each of which picks one. */
function columnsOf(context: GradientContext, dy: ValueName): ValueName {
  const { node } = context;
  const [x = "", , block = ""] = node.inputs;
  const kernel = integers(context.constantOf(block));
  if (kernel === undefined) throw noGradient(node, "the size of a patch must be known");
  const sizes = knownShape(context, dy, node).slice(2);
  const picture = sizes.map((size, i) =>
    typeof size === "number" ? size : sizesOf(context, dy, [2 + i]),
  );
  const apart = context.emit("Reshape", [dy, shapeOfParts(context, [-1, 1, ...picture])]);
  const pixels = kernel.reduce((product, size) => product * size, 1);
  const picks = new Float32Array(pixels * pixels);
  for (let pixel = 0; pixel < pixels; pixel++) picks[pixel * pixels + pixel] = 1;
  const weights = context.constant(float32([pixels, 1, ...kernel], picks), "pixels");
  const kept = ["dilations", "pads", "strides"].flatMap((name) => {
    const attribute = node.attributes.get(name);
    return attribute === undefined ? [] : [[name, attribute] as const];
  });
  const columns = context.emit("Conv", [apart, castLike(context, weights, dy)], {
    attributes: { kernel_shape: ints(kernel), ...Object.fromEntries(kept) },
  });
  return reshapeLike(context, columns, x);
}

/** The picture that a MaxPool of this window has seen, if that is not given. */
const maxUnpool = op("MaxUnpool", PLACES, (c) => {
  const x = c.input(0)?.shape;
  const given = (c.node.inputs[2] ?? "") !== "";
  if (given) return [typed(c.input(0)?.dtype, dimsOf(c, 2))];
  const window = x && windowOf(c.node, undefined, x.slice(2));
  const shape = x?.map((size, i): Dim => {
    const axis = i - 2;
    if (axis < 0) return size;
    if (window === undefined || typeof size !== "number") return UNKNOWN_DIM;
    const pads = (window.padsBegin[axis] ?? 0) + (window.padsEnd[axis] ?? 0);
    return (size - 1) * (window.strides[axis] ?? 1) + (window.kernel[axis] ?? 1) - pads;
  });
  return [typed(c.input(0)?.dtype, shape)];
});

/** Determinants of the matrices in the last two axes. */
const det = op("Det", "its slope is an inverse matrix, for which there is no op", (c) => {
  const x: Shape | undefined = c.input(0)?.shape;
  return [typed(c.input(0)?.dtype, x?.slice(0, -2))];
});

/** All ops of this family. */
export const visions: readonly OpDef[] = [
  nonMaxSuppression,
  roiAlign,
  maxRoiPool,
  imageDecoder,
  affineGrid,
  col2Im,
  maxUnpool,
  det,
];
