// Ops that move, view, join or make elements without computing.

import type { DType } from "../../src/graph/dtype.ts";
import { intAttribute, intsAttribute, stringAttribute } from "../../src/graph/graph.ts";
import { DTYPE_CODES } from "../../src/onnx/dtype-codes.ts";
import {
  type Array64,
  array,
  arrayOf,
  axisOf,
  broadcastShapes,
  filled,
  flatten,
  forEachIndex,
  reshaped,
  sizeOf,
  spread,
  stridesOf,
  transposed,
} from "./array.ts";
import { type Call, integersOf, type Kernel, type Kernels, operand } from "./kernel.ts";

function reshape(call: Call): Array64[] {
  const x = operand(call, 0);
  const target = integersOf(call, 1, "shape") ?? [];
  const copyZero = intAttribute(call.node, "allowzero", 0) === 0;
  const dims = target.map((dim, axis) => (dim === 0 && copyZero ? (x.shape[axis] ?? 0) : dim));
  const rest = sizeOf(dims.filter((dim) => dim !== -1));
  return [
    reshaped(
      x,
      dims.map((dim) => (dim === -1 ? x.values.length / rest : dim)),
    ),
  ];
}

function flattenTo2d(call: Call): Array64[] {
  const x = operand(call, 0);
  const axis = intAttribute(call.node, "axis", 1);
  const at = axis < 0 ? axis + x.shape.length : axis;
  return [reshaped(x, [sizeOf(x.shape.slice(0, at)), sizeOf(x.shape.slice(at))])];
}

function squeeze(call: Call): Array64[] {
  const x = operand(call, 0);
  const axes = integersOf(call, 1, "axes")?.map((axis) => axisOf(axis, x.shape.length));
  return [
    reshaped(
      x,
      x.shape.filter((dim, axis) => (axes === undefined ? dim !== 1 : !axes.includes(axis))),
    ),
  ];
}

function unsqueeze(call: Call): Array64[] {
  const x = operand(call, 0);
  const given = integersOf(call, 1, "axes") ?? [];
  const rank = x.shape.length + given.length;
  const axes = given.map((axis) => axisOf(axis, rank));
  const rest = [...x.shape];
  const shape = Array.from({ length: rank }, (_, axis) =>
    axes.includes(axis) ? 1 : (rest.shift() ?? 1),
  );
  return [reshaped(x, shape)];
}

/** A window of an array: along each axis a start, a step, and how many. */
export function sliced(
  x: Array64,
  cuts: readonly { readonly start: number; readonly step: number; readonly count: number }[],
): Array64 {
  const strides = stridesOf(x.shape);
  const start = flatten(
    cuts.map((cut) => cut.start),
    strides,
  );
  const steps = strides.map((stride, axis) => stride * (cuts[axis]?.step ?? 1));
  const shape = cuts.map((cut) => cut.count);
  const values = new Float64Array(sizeOf(shape));
  forEachIndex(shape, (index, flat) => {
    values[flat] = x.values[start + flatten(index, steps)] ?? Number.NaN;
  });
  return { dtype: x.dtype, shape, values };
}

/** NumPy's rules for a slice of an axis: bounds count from the end if negative, and are clamped. */
function cutOf(size: number, start: number, end: number, step: number) {
  const place = (at: number): number => (at < 0 ? at + size : at);
  const clamp = (at: number, low: number, high: number): number =>
    Math.min(Math.max(at, low), high);
  const [first, last] =
    step > 0
      ? [clamp(place(start), 0, size), clamp(place(end), 0, size)]
      : [clamp(place(start), -1, size - 1), clamp(place(end), -1, size - 1)];
  return { start: first, step, count: Math.max(0, Math.ceil((last - first) / step)) };
}

function slice(call: Call): Array64[] {
  const x = operand(call, 0);
  const starts = integersOf(call, 1, "starts") ?? [];
  const ends = integersOf(call, 2, "ends") ?? [];
  const axes = integersOf(call, 3, "axes") ?? starts.map((_, i) => i);
  const steps = integersOf(call, 4, "steps") ?? starts.map(() => 1);
  const cuts = x.shape.map((size) => ({ start: 0, step: 1, count: size }));
  for (const [i, given] of axes.entries()) {
    const axis = axisOf(given, x.shape.length);
    cuts[axis] = cutOf(x.shape[axis] ?? 0, starts[i] ?? 0, ends[i] ?? 0, steps[i] ?? 1);
  }
  return [sliced(x, cuts)];
}

/** Arrays one after another along an axis. */
export function concatenated(parts: readonly Array64[], along: number): Array64 {
  const [first] = parts;
  if (first === undefined) throw new Error("nothing to join");
  const axis = axisOf(along, first.shape.length);
  const sizes = parts.map((part) => part.shape[axis] ?? 0);
  const shape = first.shape.with(
    axis,
    sizes.reduce((a, b) => a + b, 0),
  );
  const strides = stridesOf(shape);
  const values = new Float64Array(sizeOf(shape));
  let offset = 0;
  for (const [i, part] of parts.entries()) {
    forEachIndex(part.shape, (index, flat) => {
      values[flatten(index, strides) + offset * (strides[axis] ?? 1)] =
        part.values[flat] ?? Number.NaN;
    });
    offset += sizes[i] ?? 0;
  }
  return { dtype: first.dtype, shape, values };
}

/** Pieces of given sizes along an axis. */
export function pieces(x: Array64, along: number, sizes: readonly number[]): Array64[] {
  const axis = axisOf(along, x.shape.length);
  let start = 0;
  return sizes.map((count) => {
    const cuts = x.shape.map((size, i) =>
      i === axis ? { start, step: 1, count } : { start: 0, step: 1, count: size },
    );
    start += count;
    return sliced(x, cuts);
  });
}

function split(call: Call): Array64[] {
  const x = operand(call, 0);
  const axis = axisOf(intAttribute(call.node, "axis", 0), x.shape.length);
  const size = x.shape[axis] ?? 0;
  const count = call.node.outputs.length;
  const each = Math.ceil(size / count);
  const equal = Array.from({ length: count }, (_, i) => Math.min(each, size - i * each));
  return pieces(x, axis, integersOf(call, 1, "split") ?? equal);
}

/** Where the element of a padded axis comes from; undefined: it is new. */
function padSource(mode: string, at: number, size: number): number | undefined {
  if (at >= 0 && at < size) return at;
  if (mode === "edge") return at < 0 ? 0 : size - 1;
  if (mode === "wrap") return ((at % size) + size) % size;
  if (mode !== "reflect") return undefined;
  const period = Math.max(1, 2 * (size - 1));
  const place = ((at % period) + period) % period;
  return place < size ? place : period - place;
}

function pad(call: Call): Array64[] {
  const x = operand(call, 0);
  const rank = x.shape.length;
  const pads = integersOf(call, 1, "pads") ?? [];
  const mode = stringAttribute(call.node, "mode", "constant");
  const valueAttribute = call.node.attributes.get("value");
  const fill =
    call.inputs[2]?.values[0] ?? (valueAttribute?.kind === "float" ? valueAttribute.value : 0);
  const axes =
    call.inputs[3] === undefined ? x.shape.map((_, i) => i) : Array.from(call.inputs[3].values);
  const before = x.shape.map(() => 0);
  const shape = [...x.shape];
  for (const [i, given] of axes.entries()) {
    const axis = axisOf(given, rank);
    before[axis] = pads[i] ?? 0;
    shape[axis] = (x.shape[axis] ?? 0) + (pads[i] ?? 0) + (pads[i + axes.length] ?? 0);
  }
  const strides = stridesOf(x.shape);
  const values = new Float64Array(sizeOf(shape));
  forEachIndex(shape, (index, flat) => {
    const from = index.map((at, axis) =>
      padSource(mode, at - (before[axis] ?? 0), x.shape[axis] ?? 0),
    );
    values[flat] = from.some((at) => at === undefined)
      ? fill
      : (x.values[
          flatten(
            from.map((at) => at ?? 0),
            strides,
          )
        ] ?? Number.NaN);
  });
  return [{ dtype: x.dtype, shape, values }];
}

function tile(call: Call): Array64[] {
  const x = operand(call, 0);
  const repeats = operand(call, 1).values;
  const shape = x.shape.map((dim, axis) => dim * (repeats[axis] ?? 1));
  const strides = stridesOf(x.shape);
  const values = new Float64Array(sizeOf(shape));
  forEachIndex(shape, (index, flat) => {
    const from = index.map((at, axis) => at % (x.shape[axis] ?? 1));
    values[flat] = x.values[flatten(from, strides)] ?? Number.NaN;
  });
  return [{ dtype: x.dtype, shape, values }];
}

function trilu(call: Call): Array64[] {
  const x = operand(call, 0);
  const k = call.inputs[1]?.values[0] ?? 0;
  const upper = intAttribute(call.node, "upper", 1) !== 0;
  const values = Float64Array.from(x.values);
  forEachIndex(x.shape, (index, flat) => {
    const above = (index.at(-1) ?? 0) - (index.at(-2) ?? 0);
    if (upper ? above < k : above > k) values[flat] = 0;
  });
  return [{ ...x, values }];
}

/** Blocks of channels become pixels: as reshape, transpose and reshape of the specification. */
function depthToSpace(call: Call): Array64[] {
  const x = operand(call, 0);
  const [n = 0, c = 0, h = 0, w = 0] = x.shape;
  const b = intAttribute(call.node, "blocksize", 1);
  const depth = c / (b * b);
  const columnRow = stringAttribute(call.node, "mode", "DCR") === "CRD";
  const apart = columnRow ? [n, depth, b, b, h, w] : [n, b, b, depth, h, w];
  const perm = columnRow ? [0, 1, 4, 2, 5, 3] : [0, 3, 4, 1, 5, 2];
  return [reshaped(transposed(reshaped(x, apart), perm), [n, depth, h * b, w * b])];
}

/** As depthToSpace, backwards; the mode is of operator sets from 27 on. */
function spaceToDepth(call: Call): Array64[] {
  const x = operand(call, 0);
  const [n = 0, c = 0, h = 0, w = 0] = x.shape;
  const b = intAttribute(call.node, "blocksize", 1);
  const columnRow = stringAttribute(call.node, "mode", "DCR") === "CRD";
  const apart = reshaped(x, [n, c, h / b, b, w / b, b]);
  const perm = columnRow ? [0, 1, 3, 5, 2, 4] : [0, 3, 5, 1, 2, 4];
  return [reshaped(transposed(apart, perm), [n, c * b * b, h / b, w / b])];
}

function shapeOf(call: Call): Array64[] {
  const { shape } = operand(call, 0);
  const start = intAttribute(call.node, "start", 0);
  const end = intAttribute(call.node, "end", shape.length);
  const part = shape.slice(start, end);
  return [array("int64", [part.length], part)];
}

/** The attribute of a Constant node. */
function constant(call: Call): Array64[] {
  for (const attribute of call.node.attributes.values()) {
    if (attribute.kind === "tensor") return [arrayOf(attribute.value)];
    if (attribute.kind === "float") return [array("float32", [], [attribute.value])];
    if (attribute.kind === "int") return [array("int64", [], [Number(attribute.value)])];
    if (attribute.kind === "floats") {
      return [array("float32", [attribute.value.length], attribute.value)];
    }
    if (attribute.kind === "ints") {
      return [array("int64", [attribute.value.length], attribute.value.map(Number))];
    }
  }
  throw new Error("a Constant of another kind");
}

function constantOfShape(call: Call): Array64[] {
  const attribute = call.node.attributes.get("value");
  const value = attribute?.kind === "tensor" ? arrayOf(attribute.value) : undefined;
  const dtype: DType = value?.dtype ?? "float32";
  return [filled(dtype, Array.from(operand(call, 0).values), () => value?.values[0] ?? 0)];
}

function range(call: Call): Array64[] {
  const {
    dtype,
    values: [start = 0],
  } = operand(call, 0);
  const [limit = 0] = operand(call, 1).values;
  const [delta = 1] = operand(call, 2).values;
  const count = Math.max(0, Math.ceil((limit - start) / delta));
  return [filled(dtype, [count], (i) => start + i * delta)];
}

function eyeLike(call: Call): Array64[] {
  const x = operand(call, 0);
  const dtype = DTYPE_CODES.get(intAttribute(call.node, "dtype", 0)) ?? x.dtype;
  const k = intAttribute(call.node, "k", 0);
  const values = new Float64Array(x.values.length);
  forEachIndex(x.shape, ([row = 0, column = 0], flat) => {
    values[flat] = Number(column - row === k);
  });
  return [{ dtype, shape: x.shape, values }];
}

const transpose: Kernel = (call) => {
  const x = operand(call, 0);
  const backwards = x.shape.map((_, i) => x.shape.length - 1 - i);
  return [transposed(x, integersOf(call, 1, "perm") ?? backwards)];
};

/** Cuts or pads evenly at both ends, the odd one behind (ONNX CenterCropPad-18). */
function centerCropPad(call: Call): Array64[] {
  const [x, wanted] = [operand(call, 0), operand(call, 1)];
  const axes = intsAttribute(call.node, "axes") ?? x.shape.map((_, axis) => axis);
  const shape = [...x.shape];
  const offsets = x.shape.map(() => 0);
  for (const [i, given] of axes.entries()) {
    const axis = axisOf(given, x.shape.length);
    const [size, target] = [x.shape[axis] ?? 0, wanted.values[i] ?? 0];
    shape[axis] = target;
    offsets[axis] =
      size > target ? Math.floor((size - target) / 2) : -Math.floor((target - size) / 2);
  }
  const strides = stridesOf(x.shape);
  const values = new Float64Array(sizeOf(shape));
  forEachIndex(shape, (index, flat) => {
    const from = index.map((at, axis) => at + (offsets[axis] ?? 0));
    const isInside = from.every((at, axis) => at >= 0 && at < (x.shape[axis] ?? 0));
    values[flat] = isInside ? (x.values[flatten(from, strides)] ?? Number.NaN) : 0;
  });
  return [{ dtype: x.dtype, shape, values }];
}

/** All ops of this family. */
export const movement: Kernels = {
  CenterCropPad: centerCropPad,
  Reshape: reshape,
  Flatten: flattenTo2d,
  Squeeze: squeeze,
  Unsqueeze: unsqueeze,
  Transpose: transpose,
  Expand: (call) => {
    const x = operand(call, 0);
    return [spread(x, broadcastShapes([x.shape, Array.from(operand(call, 1).values)]))];
  },
  Tile: tile,
  Slice: slice,
  Concat: (call) => [
    concatenated(
      call.inputs.map((_, i) => operand(call, i)),
      intAttribute(call.node, "axis", 1),
    ),
  ],
  Split: split,
  Pad: pad,
  Trilu: trilu,
  DepthToSpace: depthToSpace,
  SpaceToDepth: spaceToDepth,
  Shape: shapeOf,
  Size: (call) => [array("int64", [], [operand(call, 0).values.length])],
  Constant: constant,
  ConstantOfShape: constantOfShape,
  Range: range,
  EyeLike: eyeLike,
};
