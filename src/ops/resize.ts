// Resizing by interpolation. Along each axis it is a product with a matrix of weights, and its way back is the
// product with the transpose: exact for every mode (ONNX Resize-19).

import {
  floatAttribute,
  intAttribute,
  intsAttribute,
  stringAttribute,
  type ValueName,
} from "../graph/graph.ts";
import { type Dim, type Shape, sameDim, UNKNOWN_DIM } from "../graph/shape.ts";
import { float32, int64, numbersOf } from "../graph/tensor.ts";
import { castLike, knownShape, noGradient, reduce, sizesOf, transpose } from "./construct.ts";
import { type Mapping, weightsOf } from "./interpolation.ts";
import { weightMatrix } from "./interpolation-matrix.ts";
import type { GradientContext, OpDef, ShapeContext } from "./op.ts";
import { defineOp, integers, perOutput, typed } from "./rules.ts";
import { axesOf } from "./slicing.ts";
import { shapeOfParts } from "./sliding.ts";

/** Elements of the largest matrix that is made for one axis: 64 MB of float32. */
const MATRIX_ELEMENTS_MAX = 2 ** 24;

/** Resize and Upsample: sizes if given, else scales, rounded down (ONNX Resize-19). */
function resized(c: ShapeContext): Shape | undefined {
  const x = c.input(0)?.shape;
  const upsample = c.node.op === "Upsample";
  const sizes = upsample ? undefined : c.entries(3);
  const scalesAt = upsample || c.opset < 11 ? 1 : 2;
  const scales = floats(c, "scales") ?? integers(c.constant(scalesAt));
  if (x === undefined) return undefined;
  const axes = axesOf(x.length, intsAttribute(c.node, "axes"));
  const keepsRatio = stringAttribute(c.node, "keep_aspect_ratio_policy", "stretch") !== "stretch";
  return x.map((dim, axis): Dim => {
    const i = axes.indexOf(axis);
    if (i < 0) return dim;
    if (sizes?.length === axes.length) return keepsRatio ? UNKNOWN_DIM : (sizes[i] ?? UNKNOWN_DIM);
    const scale = scales?.length === axes.length ? scales[i] : undefined;
    if (scale === 1) return dim;
    if (scale === undefined || typeof dim !== "number") return UNKNOWN_DIM;
    return Math.floor(Math.fround(dim * scale));
  });
}

function floats(c: ShapeContext, name: string): readonly number[] | undefined {
  const attribute = c.node.attributes.get(name);
  return attribute?.kind === "floats" ? attribute.value : undefined;
}

/** A resized axis: how it is mapped, or how often each element is repeated where sizes are not known. */
interface Resized {
  readonly axis: number;
  readonly mapping: Mapping | undefined;
  /** A number, or float32 `[1]`. */
  readonly scale: number | ValueName | undefined;
}

/** Numbers of an optional constant input. */
function given(context: GradientContext, i: number): readonly number[] | undefined {
  const name = context.node.inputs[i] ?? "";
  const ref = name === "" ? undefined : context.constantOf(name);
  const values = ref && numbersOf(ref);
  return values?.length === 0 ? undefined : values;
}

function resizedAxes(context: GradientContext, dy: ValueName): Resized[] {
  const { node } = context;
  const x = knownShape(context, node.inputs[0] ?? "", node);
  const y = knownShape(context, dy, node);
  const axes = axesOf(x.length, intsAttribute(node, "axes"));
  const [roi, scales, sizes] = [1, 2, 3].map((i) => given(context, i));
  // Scales that the graph computes.
  const computed = scales === undefined && hasElements(context, 2) ? (node.inputs[2] ?? "") : "";
  const policy = stringAttribute(node, "keep_aspect_ratio_policy", "stretch");
  const ratios = axes.map((axis, i) => (sizes?.[i] ?? Number.NaN) / Number(x[axis]));
  const common = policy === "not_larger" ? Math.min(...ratios) : Math.max(...ratios);
  return axes.flatMap((axis, i): Resized[] => {
    const [input, output] = [x[axis], y[axis]];
    const isKnown = typeof input === "number" && typeof output === "number";
    const ofSizes = policy === "stretch" ? undefined : common;
    const ratio = isKnown ? output / input : undefined;
    // The same symbol on both sides: sizes are given, and this axis keeps its own.
    const isKept = computed === "" && input !== undefined && sameDim(input, output ?? "?");
    const scale = scales?.[i] ?? ofSizes ?? (isKept ? 1 : ratio);
    const box: [number, number] = [roi?.[i] ?? 0, roi?.[i + axes.length] ?? 1];
    const isSame = scales?.[i] === 1 || (scale === 1 && (isKept || input === output));
    if (isSame && box[0] === 0 && box[1] === 1) return [];
    const mapping = isKnown && scale !== undefined ? { input, output, scale, roi: box } : undefined;
    if (mapping !== undefined || computed === "") return [{ axis, mapping, scale }];
    const place = context.constant(int64([1], [i]), "axis");
    return [{ axis, mapping, scale: scale ?? context.emit("Gather", [computed, place]) }];
  });
}

/** Whether an optional input is there and holds something: older operator sets have an empty one in its place. */
function hasElements(context: GradientContext, i: number): boolean {
  const name = context.node.inputs[i] ?? "";
  return name !== "" && context.typeOf(name)?.shape?.[0] !== 0;
}

/** One scale for all axes is found from all their sizes. */
function refuseUnknownRatio({ node }: GradientContext, axis: number): void {
  if (stringAttribute(node, "keep_aspect_ratio_policy", "stretch") === "stretch") return;
  throw noGradient(
    node,
    `the sizes along axis ${axis} must be known where the ratio of sides is kept`,
  );
}

/** Whether every element is repeated a whole number of times, whatever the size. */
function repeats(context: GradientContext, { scale }: Resized): boolean {
  const { node } = context;
  if (typeof scale !== "number" || !Number.isInteger(scale)) return false;
  if (stringAttribute(node, "mode", "nearest") !== "nearest") return false;
  const places = stringAttribute(node, "coordinate_transformation_mode", "half_pixel");
  const rounding = stringAttribute(node, "nearest_mode", "round_prefer_floor");
  return places === "asymmetric"
    ? rounding === "floor"
    : places === "half_pixel" && rounding.startsWith("round");
}

function resizeGradient(context: GradientContext, dy: ValueName): ValueName {
  const resized = resizedAxes(context, dy);
  if (resized.every((one) => repeats(context, one))) return summedCopies(context, dy, resized);
  let dx = dy;
  const [x = ""] = context.node.inputs;
  for (const { axis, mapping, scale } of resized) {
    if (mapping !== undefined) dx = alongAxis(context, dx, { axis, mapping });
    else {
      refuseUnknownRatio(context, axis);
      const weights = weightMatrix(context, context.node, modesOf(context), {
        axis,
        x,
        y: dy,
        scale,
      });
      dx = multiplied(context, dx, axis, (isTransposed) => {
        const matrix = castLike(context, weights, dy);
        return isTransposed ? transpose(context, matrix, [1, 0]) : matrix;
      });
    }
  }
  return dx;
}

/** dy as [size, times] along each axis, summed over the copies. */
function summedCopies(
  context: GradientContext,
  dy: ValueName,
  resized: readonly Resized[],
): ValueName {
  const { node } = context;
  const [x = ""] = node.inputs;
  if (resized.length === 0) return dy;
  const parts: (number | ValueName)[] = [];
  const copies: number[] = [];
  for (const [axis, size] of knownShape(context, x, node).entries()) {
    parts.push(typeof size === "number" ? size : sizesOf(context, x, [axis]));
    const times = resized.find((one) => one.axis === axis)?.scale;
    if (times === undefined) continue;
    copies.push(parts.length);
    parts.push(times);
  }
  const apart = context.emit("Reshape", [dy, shapeOfParts(context, parts)]);
  return reduce(context, "ReduceSum", apart, copies, false);
}

/** The product with the transpose of the weights along one axis. */
function alongAxis(
  context: GradientContext,
  dy: ValueName,
  { axis, mapping }: { axis: number; mapping: Mapping },
): ValueName {
  const { node } = context;
  const { input, output } = mapping;
  if (input * output > MATRIX_ELEMENTS_MAX) {
    throw noGradient(node, `${output} by ${input} weights of an axis are more than are made`);
  }
  const rows = weightsOf(modesOf(context), mapping);
  return multiplied(context, dy, axis, (isTransposed) => {
    const values = new Float32Array(input * output);
    for (const [o, row] of rows.entries()) {
      for (const [i, weight] of row.entries()) {
        values[isTransposed ? i * output + o : o * input + i] = weight;
      }
    }
    const shape = isTransposed ? [input, output] : [output, input];
    return castLike(context, context.constant(float32(shape, values), "weights"), dy);
  });
}

/** The product along one axis with weights `[output, input]`, which are made as they are or transposed. */
function multiplied(
  context: GradientContext,
  dy: ValueName,
  axis: number,
  matrix: (isTransposed: boolean) => ValueName,
): ValueName {
  const rank = knownShape(context, dy, context.node).length;
  if (axis === rank - 1) return context.emit("MatMul", [dy, matrix(false)]);
  if (axis === rank - 2) return context.emit("MatMul", [matrix(true), dy]);
  const swap = Array.from({ length: rank }, (_, i) => i);
  swap[axis] = rank - 1;
  swap[rank - 1] = axis;
  const last = context.emit("MatMul", [transpose(context, dy, swap), matrix(false)]);
  return transpose(context, last, swap);
}

function modesOf({ node }: GradientContext) {
  return {
    mode: stringAttribute(node, "mode", "nearest"),
    places: stringAttribute(node, "coordinate_transformation_mode", "half_pixel"),
    rounding: stringAttribute(node, "nearest_mode", "round_prefer_floor"),
    cubic: floatAttribute(node, "cubic_coeff_a", -0.75),
    antialias: intAttribute(node, "antialias", 0) !== 0,
    excludeOutside: intAttribute(node, "exclude_outside", 0) !== 0,
  };
}

const resize = defineOp("Resize", {
  shape: (c) => [typed(c.input(0)?.dtype, resized(c))],
  cost: perOutput(4),
  gradient: (context, [dy]) => [dy === undefined ? undefined : resizeGradient(context, dy)],
});

const upsample = defineOp("Upsample", {
  shape: (c) => [typed(c.input(0)?.dtype, resized(c))],
  cost: perOutput(4),
  gradient: { because: "newer operator sets have Resize in its place" },
});

/** All ops of this family. */
export const resizings: readonly OpDef[] = [resize, upsample];
