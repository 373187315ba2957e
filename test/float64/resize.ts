// Resize and Upsample: along each axis a matrix of interpolation weights, from the formulas of Resize-19.

import {
  floatAttribute,
  intAttribute,
  intsAttribute,
  stringAttribute,
} from "../../src/graph/graph.ts";
import { type Array64, axisOf, flatten, forEachIndex, sizeOf, stridesOf } from "./array.ts";
import { type Call, type Kernels, operand } from "./kernel.ts";

/** What is asked for along one axis. */
interface Axis {
  readonly input: number;
  readonly output: number;
  /** As given; output / input otherwise. */
  readonly scale: number;
  readonly roi: readonly [number, number];
}

/** Where in the input an output pixel lies. */
function origin(mode: string, at: number, { input, output, scale, roi }: Axis): number {
  switch (mode) {
    case "align_corners":
      return output === 1 ? 0 : (at * (input - 1)) / (output - 1);
    case "asymmetric":
      return at / scale;
    case "tf_crop_and_resize": {
      const [start, end] = roi;
      if (output === 1) return 0.5 * (start + end) * (input - 1);
      return start * (input - 1) + (at * (end - start) * (input - 1)) / (output - 1);
    }
    case "pytorch_half_pixel":
      return output > 1 ? (at + 0.5) / scale - 0.5 : 0;
    case "tf_half_pixel_for_nn":
      return (at + 0.5) / scale;
    case "half_pixel_symmetric": {
      const adjustment = output / (scale * input);
      return (input / 2) * (1 - adjustment) + (at + 0.5) / scale - 0.5;
    }
    case "half_pixel":
      return (at + 0.5) / scale - 0.5;
    default:
      throw new Error(`no coordinate transformation ${mode}`);
  }
}

function nearest(mode: string, place: number): number {
  const floor = Math.floor(place);
  if (mode === "floor") return floor;
  if (mode === "ceil") return Math.ceil(place);
  const half = place - floor === 0.5;
  if (half) return mode === "round_prefer_floor" ? floor : floor + 1;
  return Math.round(place);
}

/** The cubic kernel with parameter a (Keys 1981, equation 4 of the convolution kernel). */
function cubic(a: number, distance: number): number {
  const d = Math.abs(distance);
  if (d <= 1) return (a + 2) * d ** 3 - (a + 3) * d ** 2 + 1;
  return d < 2 ? a * d ** 3 - 5 * a * d ** 2 + 8 * a * d - 4 * a : 0;
}

const triangle = (distance: number): number => Math.max(0, 1 - Math.abs(distance));

/** Weights of the input pixels for one output pixel; undefined: it lies outside and is extrapolated. */
function weightsAt(call: Call, at: number, axis: Axis): readonly number[] | undefined {
  const { node } = call;
  const old = call.opset < 11 || node.op === "Upsample";
  const transformation = old
    ? "asymmetric"
    : stringAttribute(node, "coordinate_transformation_mode", "half_pixel");
  const place = origin(transformation, at, axis);
  const { input } = axis;
  if (transformation === "tf_crop_and_resize" && (place < 0 || place > input - 1)) return undefined;
  const weights = Array.from({ length: input }, () => 0);
  const add = (i: number, weight: number): void => {
    const clamped = Math.min(Math.max(i, 0), input - 1);
    weights[clamped] = (weights[clamped] ?? 0) + weight;
  };
  const mode = stringAttribute(node, "mode", "nearest");
  if (mode === "nearest") {
    const rounding = stringAttribute(node, "nearest_mode", "round_prefer_floor");
    add(nearest(old ? "floor" : rounding, place), 1);
    return weights;
  }
  const antialias = intAttribute(node, "antialias", 0) !== 0;
  const squeeze = antialias ? Math.min(axis.scale, 1) : 1;
  const a = floatAttribute(node, "cubic_coeff_a", -0.75);
  const kernel = mode === "cubic" ? (d: number) => cubic(a, d) : triangle;
  const reach = (mode === "cubic" ? 2 : 1) / squeeze;
  const within = intAttribute(node, "exclude_outside", 0) !== 0;
  let total = 0;
  for (let i = Math.floor(place - reach); i <= Math.ceil(place + reach); i++) {
    if (within && (i < 0 || i >= input)) continue;
    const weight = kernel((i - place) * squeeze);
    total += weight;
    add(i, weight);
  }
  return weights.map((weight) => weight / total);
}

/** Scales and output sizes of the resized axes, whichever way they are given. */
function axesOf(call: Call, x: Array64): ReadonlyMap<number, Axis> {
  const { node } = call;
  const rank = x.shape.length;
  const given = intsAttribute(node, "axes")?.map((axis) => axisOf(axis, rank));
  const axes = given ?? x.shape.map((_, axis) => axis);
  const late = node.op === "Resize" && call.opset >= 11;
  const roi = (late ? call.inputs[1]?.values : undefined) ?? new Float64Array();
  const attribute = node.attributes.get("scales");
  const scalesOf = late ? call.inputs[2] : call.inputs[1];
  const scales =
    attribute?.kind === "floats" ? attribute.value : Array.from(scalesOf?.values ?? []);
  const sizes = Array.from((late ? call.inputs[3]?.values : undefined) ?? []);
  const policy = stringAttribute(node, "keep_aspect_ratio_policy", "stretch");
  const ratios = axes.map((axis, i) => (sizes[i] ?? 1) / (x.shape[axis] ?? 1));
  const common = policy === "not_larger" ? Math.min(...ratios) : Math.max(...ratios);
  return new Map(
    axes.map((axis, i): [number, Axis] => {
      const input = x.shape[axis] ?? 1;
      const box: [number, number] = [roi[i] ?? 0, roi[i + axes.length] ?? 1];
      if (scales.length > 0) {
        const scale = scales[i] ?? 1;
        return [axis, { input, output: Math.floor(input * scale), scale, roi: box }];
      }
      const scale = policy === "stretch" ? (ratios[i] ?? 1) : common;
      const output = policy === "stretch" ? (sizes[i] ?? 1) : Math.floor(scale * input + 0.5);
      return [axis, { input, output, scale, roi: box }];
    }),
  );
}

/** The array with each line along an axis multiplied by a matrix; NaN where a row is undefined. */
function along(
  x: Array64,
  axis: number,
  rows: readonly (readonly number[] | undefined)[],
): Array64 {
  const shape = x.shape.with(axis, rows.length);
  const strides = stridesOf(x.shape);
  const values = new Float64Array(sizeOf(shape));
  forEachIndex(shape, (index, flat) => {
    const row = rows[index[axis] ?? 0];
    const start = flatten(index.with(axis, 0), strides);
    let sum = row === undefined ? Number.NaN : 0;
    for (const [i, weight] of (row ?? []).entries()) {
      if (weight !== 0) sum += weight * (x.values[start + i * (strides[axis] ?? 1)] ?? Number.NaN);
    }
    values[flat] = sum;
  });
  return { dtype: x.dtype, shape, values };
}

function resize(call: Call): Array64[] {
  const input = operand(call, 0);
  const extrapolated = floatAttribute(call.node, "extrapolation_value", 0);
  let x = input;
  const outside = new Map<number, ReadonlySet<number>>();
  for (const [axis, asked] of axesOf(call, input)) {
    if (asked.input === asked.output && asked.scale === 1 && asked.roi.join() === "0,1") continue;
    const rows = Array.from({ length: asked.output }, (_, at) => weightsAt(call, at, asked));
    outside.set(axis, new Set(rows.flatMap((row, at) => (row === undefined ? [at] : []))));
    x = along(x, axis, rows);
  }
  const values = Float64Array.from(x.values);
  forEachIndex(x.shape, (index, flat) => {
    if (index.some((at, axis) => outside.get(axis)?.has(at))) values[flat] = extrapolated;
  });
  return [{ ...x, values }];
}

/** All ops of this family. */
export const resizing: Kernels = { Resize: resize, Upsample: resize };
