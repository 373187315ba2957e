// Parts of a tensor, and a tensor as a part of a larger one: Slice and Pad, each the other's way back.

import { int, type Node, string, stringAttribute, type ValueName } from "../graph/graph.ts";
import { type Dim, normalizeAxis, UNKNOWN_DIM } from "../graph/shape.ts";
import { int64 } from "../graph/tensor.ts";
import {
  knownShape,
  padAlong,
  scalarLike,
  shapeConstant,
  shapeOf,
  sizesOf,
  zerosLike,
} from "./construct.ts";
import type { Emitter, GradientContext, OpDef, ShapeRule } from "./op.ts";
import { argument, defineOp, integers, perOutput, typed } from "./rules.ts";

/** A slice along one axis, bounds as given. */
interface Cut {
  readonly axis: number;
  readonly start: number;
  readonly end: number;
  readonly step: number;
}

function cutsOf(
  rank: number,
  parts: {
    starts: readonly number[] | undefined;
    ends: readonly number[] | undefined;
    axes: readonly number[] | undefined;
    steps: readonly number[] | undefined;
  },
): readonly Cut[] | undefined {
  const { starts, ends, axes, steps } = parts;
  const along = (axes ?? starts?.map((_, i) => i))?.map((axis) => normalizeAxis(axis, rank));
  if (starts === undefined || ends?.length !== starts.length || along?.length !== starts.length) {
    return undefined;
  }
  const cuts: Cut[] = [];
  for (const [i, start] of starts.entries()) {
    const axis = along[i];
    if (axis === undefined) return undefined;
    cuts.push({ axis, start, end: ends[i] ?? 0, step: steps?.[i] ?? 1 });
  }
  return cuts;
}

/** Start and number of elements that a cut takes of an axis (ONNX Slice-13, clamping). */
function range(cut: Cut, size: number): { start: number; count: number } {
  const { step } = cut;
  const at = (bound: number): number => (bound < 0 ? bound + size : bound);
  const low = step > 0 ? 0 : -1;
  const high = step > 0 ? size : size - 1;
  const start = Math.min(Math.max(at(cut.start), step > 0 ? 0 : 0), high);
  const end = Math.min(Math.max(at(cut.end), low), high + (step > 0 ? 0 : 1));
  return { start, count: Math.max(0, Math.ceil((end - start) / step)) };
}

const sliceShape: ShapeRule = (c) => {
  const x = c.input(0)?.shape;
  if (x === undefined) return [typed(c.input(0)?.dtype, undefined)];
  const known = (i: number): boolean =>
    (c.node.inputs[i] ?? "") === "" || c.constant(i) !== undefined;
  const axes = argument(c, 3, "axes");
  if (!known(3))
    return [
      typed(
        c.input(0)?.dtype,
        x.map(() => UNKNOWN_DIM),
      ),
    ];
  const starts = argument(c, 1, "starts");
  const cuts = cutsOf(x.length, {
    starts,
    ends: argument(c, 2, "ends"),
    axes,
    steps: argument(c, 4, "steps"),
  });
  const dims: Dim[] = [...x];
  if (cuts === undefined || !known(4)) {
    const touched = axes?.map((axis) => normalizeAxis(axis, x.length));
    for (const axis of dims.keys()) {
      if (touched === undefined || touched.includes(axis)) dims[axis] = UNKNOWN_DIM;
    }
  } else {
    for (const cut of cuts) dims[cut.axis] = cutDim(cut, x[cut.axis] ?? UNKNOWN_DIM);
  }
  return [typed(c.input(0)?.dtype, dims)];
};

function cutDim(cut: Cut, size: Dim): Dim {
  if (typeof size === "number") return range(cut, size).count;
  const whole = cut.start === 0 && cut.step === 1 && cut.end >= 2 ** 31 - 1;
  return whole ? size : UNKNOWN_DIM;
}

/** Integers of an input that is a constant. */
function constantInput(context: GradientContext, i: number): readonly number[] | undefined {
  const name = context.node.inputs[i] ?? "";
  return name === "" ? undefined : integers(context.constantOf(name));
}

/** dx: dy with zeros around it, and between its elements where the slice took every so manieth. */
function sliceGradient(context: GradientContext, dy: ValueName): ValueName {
  const { node } = context;
  const shape = knownShape(context, node.inputs[0] ?? "", node);
  const given = [1, 2, 3, 4].map((i) => constantInput(context, i));
  const [starts, ends, axes, steps] = given;
  const cuts = cutsOf(shape.length, { starts, ends, axes, steps });
  const left = given.some((value, i) => value === undefined && (node.inputs[i + 1] ?? "") !== "");
  if (left || cuts === undefined) return sliceGradientAtRunTime(context, dy);
  let dx = dy;
  const [axesPadded, before, after]: [number[], number[], number[]] = [[], [], []];
  for (const cut of cuts) {
    const size = shape[cut.axis];
    if (typeof size !== "number") return sliceGradientAtRunTime(context, dy);
    const stride = Math.abs(cut.step);
    const { start, count } = range(cut, size);
    const first = cut.step > 0 || count === 0 ? start : start + (count - 1) * cut.step;
    if (cut.step < 0) dx = reversed(context, dx, cut.axis);
    if (stride > 1) dx = spreadOut(context, dx, cut.axis, stride);
    // Spread out, the last element has zeros behind it too: more than there is room for are cut off.
    const behind = size - first - count * stride;
    if (first === 0 && behind === 0) continue;
    axesPadded.push(cut.axis);
    before.push(first);
    after.push(behind);
  }
  return axesPadded.length === 0 ? dx : padAlong(context, dx, axesPadded, [...before, ...after]);
}

function reversed(context: Emitter, x: ValueName, axis: number): ValueName {
  const [first, last] = [-1, Number.MIN_SAFE_INTEGER];
  const bounds = [[first], [last], [axis], [-1]].map((list) => shapeConstant(context, list));
  return context.emit("Slice", [x, ...bounds]);
}

/** Each element followed by step - 1 zeros along an axis: [a b] with a step of 2 is [a 0 b 0]. */
function spreadOut(context: GradientContext, y: ValueName, axis: number, step: number): ValueName {
  const rank = knownShape(context, y, context.node).length;
  const axes = Array.from({ length: rank }, (_, i) => i);
  const single = context.emit("Unsqueeze", [y, shapeConstant(context, [axis + 1])]);
  const padded = padAlong(context, single, [axis + 1], [0, step - 1]);
  const size = context.typeOf(y)?.shape?.[axis];
  const long =
    typeof size === "number"
      ? shapeConstant(context, [size * step])
      : context.emit("Mul", [sizesOf(context, y, [axis]), shapeConstant(context, [step])]);
  const parts = [
    sizesOf(context, y, axes.slice(0, axis)),
    long,
    sizesOf(context, y, axes.slice(axis + 1)),
  ];
  const target = context.emit("Concat", parts, { attributes: { axis: int(0) } });
  return context.emit("Reshape", [padded, target], { attributes: { allowzero: int(1) } });
}

/**
 * Where bounds or sizes are known at run time alone: each position of dy is looked up in what the same slice
 * takes of the positions of x, and dy is put there. Nothing is put at one place twice.
 */
function sliceGradientAtRunTime(context: GradientContext, dy: ValueName): ValueName {
  const { node } = context;
  const [x = "", ...bounds] = node.inputs;
  const flat = shapeConstant(context, [-1]);
  const end = context.emit("Size", [x]);
  const [zero, one] = [0, 1].map((n) => context.constant(int64([], [n])));
  const all = context.emit("Range", [zero ?? "", end, one ?? ""]);
  const positions = context.emit("Reshape", [all, shapeOf(context, x)]);
  const taken = context.emit("Slice", [positions, ...bounds]);
  const zeros = context.emit("Reshape", [zerosLike(context, x), flat]);
  const [places, parts] = [taken, dy].map((value) => context.emit("Reshape", [value, flat]));
  const dx = context.emit("ScatterElements", [zeros, places ?? "", parts ?? ""]);
  return context.emit("Reshape", [dx, shapeOf(context, x)]);
}

const slice = defineOp("Slice", {
  shape: sliceShape,
  cost: perOutput(0),
  gradient: (context, [dy]) => (dy === undefined ? [] : [sliceGradient(context, dy)]),
});

const pad = defineOp("Pad", {
  shape: (c) => {
    const x = c.input(0)?.shape;
    const pads = argument(c, 1, "pads");
    if (x === undefined) return [typed(c.input(0)?.dtype, undefined)];
    const axes = axesOf(x.length, integers(c.constant(3)));
    const byUnknownAxes = (c.node.inputs[3] ?? "") !== "" && c.constant(3) === undefined;
    const dims = x.map((dim, axis): Dim => {
      const i = byUnknownAxes ? 0 : axes.indexOf(axis);
      if (i < 0) return dim;
      if (byUnknownAxes || pads === undefined) return UNKNOWN_DIM;
      const added = (pads[i] ?? 0) + (pads[i + axes.length] ?? 0);
      if (added === 0) return dim;
      return typeof dim === "number" ? dim + added : UNKNOWN_DIM;
    });
    return [typed(c.input(0)?.dtype, dims)];
  },
  cost: perOutput(0),
  gradient: (context, [dy]) => (dy === undefined ? [] : [padGradient(context, dy)]),
});

/** All axes, or the given ones counted from the front. */
export function axesOf(rank: number, given: readonly number[] | undefined): readonly number[] {
  const all = Array.from({ length: rank }, (_, axis) => axis);
  return given === undefined ? all : given.map((axis) => normalizeAxis(axis, rank) ?? 0);
}

/** Constant padding is cut off again; of the other modes, what was put at the rim is summed where it came from. */
function padGradient(context: GradientContext, dy: ValueName): ValueName {
  const { node } = context;
  const [x = "", widths = "", , axesInput = ""] = node.inputs;
  const pads = constantInput(context, 1);
  if (stringAttribute(node, "mode", "constant") !== "constant") {
    return mirroredBack(context, dy, paddedAxes(node, context));
  }
  const shape = knownShape(context, x, node);
  const axes = axesOf(shape.length, constantInput(context, 3));
  const sizes = axes.map((axis) => shape[axis]);
  const isStatic = sizes.every((size) => typeof size === "number");
  // Where the forward cuts instead of adding, the gradient adds zeros.
  if (pads === undefined || !isStatic || pads.some((width) => width < 0)) {
    if (pads !== undefined) {
      const back = pads.map((width) => -width);
      return padAlong(context, dy, axes, back);
    }
    const back = context.emit("Neg", [widths]);
    return context.emit("Pad", axesInput === "" ? [dy, back] : [dy, back, "", axesInput]);
  }
  const starts = axes.map((_, i) => pads[i] ?? 0);
  const ends = sizes.map((size, i) => (pads[i] ?? 0) + size);
  const bounds = [starts, ends, axes].map((list) => shapeConstant(context, list));
  return context.emit("Slice", [dy, ...bounds]);
}

/** The axes that are padded, each with its place among the widths. */
function paddedAxes(node: Node, context: GradientContext): readonly (readonly [number, number])[] {
  const rank = knownShape(context, node.inputs[0] ?? "", node).length;
  const pads = constantInput(context, 1);
  const axes = axesOf(rank, constantInput(context, 3));
  const entries = axes.map((axis, i) => [axis, i] as const);
  return entries.filter(
    ([, i]) => pads === undefined || pads[i] !== 0 || pads[i + axes.length] !== 0,
  );
}

/** Along each axis: the positions of x padded in the same way say where each part of dy belongs. */
function mirroredBack(
  context: GradientContext,
  dy: ValueName,
  padded: readonly (readonly [number, number])[],
): ValueName {
  const { node } = context;
  const [x = "", widths = ""] = node.inputs;
  const rank = knownShape(context, x, node).length;
  const count = axesOf(rank, constantInput(context, 3)).length;
  const known = constantInput(context, 1);
  let dx = dy;
  for (const [axis, i] of padded) {
    const places = [i, i + count];
    const own =
      known === undefined
        ? context.emit("Gather", [widths, shapeConstant(context, places)])
        : shapeConstant(
            context,
            places.map((place) => known[place] ?? 0),
          );
    dx = summedAlong(context, dx, { axis, pads: own, rank });
  }
  return dx;
}

function summedAlong(
  context: GradientContext,
  dy: ValueName,
  { axis, pads, rank }: { axis: number; pads: ValueName; rank: number },
): ValueName {
  const { node } = context;
  const [x = ""] = node.inputs;
  const [zero, one] = [0, 1].map((n) => context.constant(int64([], [n])));
  const size = sizesOf(context, x, [axis]);
  const end = context.emit("Squeeze", [size]);
  const positions = context.emit("Range", [zero ?? "", end, one ?? ""]);
  const mode = node.attributes.get("mode");
  const from = context.emit("Pad", [positions, pads], { attributes: mode ? { mode } : {} });
  const others = Array.from({ length: rank }, (_, i) => i).filter((i) => i !== axis);
  const row = context.emit("Unsqueeze", [from, shapeConstant(context, others)]);
  const places = context.emit("Expand", [row, context.emit("Shape", [dy])]);
  const before = others.filter((i) => i < axis);
  const behind = others.filter((i) => i > axis);
  const shape = context.emit(
    "Concat",
    [sizesOf(context, dy, before), size, sizesOf(context, dy, behind)],
    { attributes: { axis: int(0) } },
  );
  const zeros = context.emit("Expand", [scalarLike(context, dy, 0), shape]);
  return context.emit("ScatterElements", [zeros, places, dy], {
    attributes: { axis: int(axis), reduction: string("add") },
  });
}

/** All ops of this family. */
export const slicings: readonly OpDef[] = [slice, pad];
