// Ops that move, view or choose elements without computing: reshaping, slicing, joining. Index ops
// (gather, scatter) stand in indexing.ts.

import { limits } from "../base/limits.ts";
import { intAttribute, intsAttribute, stringAttribute, type ValueName } from "../graph/graph.ts";
import {
  broadcast,
  type Dim,
  isStatic,
  normalizeAxis,
  type Shape,
  UNKNOWN_DIM,
} from "../graph/shape.ts";
import { int64 } from "../graph/tensor.ts";
import {
  knownShape,
  noGradient,
  reshapeLike,
  shapeConstant,
  staticShape,
  transpose,
  unbroadcast,
} from "./construct.ts";
import type { GradientContext, GradientRule, OpDef, ShapeContext, ShapeRule } from "./op.ts";
import { defineOp, dimsOf, free, integers, NO_RULE, perOutput, plusDim, typed } from "./rules.ts";

/** The gradient of a view is the same view backwards. */
const reshapeBack: GradientRule = (context, [dy]) =>
  dy === undefined ? [] : [reshapeLike(context, dy, context.node.inputs[0] ?? "")];

/** Integers of input `i`, else of an attribute: where newer and older operator sets have them. */
function argument(c: ShapeContext, i: number, attribute: string): readonly number[] | undefined {
  const fromInput = (c.node.inputs[i] ?? "") !== "";
  if (fromInput) return integers(c.constant(i));
  const given = intsAttribute(c.node, attribute);
  return (given?.length ?? 0) > limits.shapeConstantMax ? undefined : given;
}

function view(type: string, shape: (c: ShapeContext) => Shape | undefined): OpDef {
  return defineOp(type, {
    shape: (c) => [typed(c.input(0)?.dtype, shape(c))],
    cost: free,
    gradient: reshapeBack,
  });
}

/** Dims of a reshape: 0 copies, -1 takes what is left. */
function reshaped(c: ShapeContext): Shape | undefined {
  const target = c.node.inputs.length > 1 ? dimsOf(c, 1) : intsAttribute(c.node, "shape");
  const x = c.input(0)?.shape;
  if (target === undefined) return undefined;
  const copyZero = intAttribute(c.node, "allowzero", 0) === 0;
  const dims = target.map((dim, axis): Dim => {
    if (dim === 0 && copyZero) return x?.[axis] ?? UNKNOWN_DIM;
    return dim;
  });
  const free = dims.indexOf(-1);
  // An unknown entry may be the -1 itself.
  if (free < 0 || target.includes(UNKNOWN_DIM)) return dims.map((dim) => (dim === -1 ? "?" : dim));
  const rest = dims.filter((_, axis) => axis !== free);
  return dims.with(free, remaining(x, rest));
}

/** The dim that makes the element counts agree; a symbol left over on both sides cancels. */
function remaining(x: Shape | undefined, rest: Shape): Dim {
  if (x === undefined || x.includes(UNKNOWN_DIM) || rest.includes(UNKNOWN_DIM)) return UNKNOWN_DIM;
  const left = [...x];
  for (const dim of rest) {
    const same = typeof dim === "string" ? left.indexOf(dim) : -1;
    if (typeof dim === "string" && same < 0) return UNKNOWN_DIM;
    if (same >= 0) left.splice(same, 1);
  }
  const symbols = left.filter((dim) => typeof dim === "string");
  const product = (dims: Shape): number =>
    dims.reduce<number>((a, dim) => (typeof dim === "number" ? a * dim : a), 1);
  const size = product(left) / product(rest);
  if (symbols.length === 0) return Number.isInteger(size) ? size : UNKNOWN_DIM;
  return symbols.length === 1 && size === 1 ? (symbols[0] ?? UNKNOWN_DIM) : UNKNOWN_DIM;
}

const reshape = view("Reshape", reshaped);

const flatten = view("Flatten", (c) => {
  const x = c.input(0)?.shape;
  if (x === undefined) return undefined;
  const axis = intAttribute(c.node, "axis", 1);
  const at = axis < 0 ? axis + x.length : axis;
  return [remaining(x.slice(0, at), []), remaining(x.slice(at), [])];
});

const squeeze = view("Squeeze", (c) => {
  const x = c.input(0)?.shape;
  if (x === undefined) return undefined;
  const given = argument(c, 1, "axes");
  if (given === undefined) {
    const byInput = (c.node.inputs[1] ?? "") !== "";
    return byInput || !isStatic(x) ? undefined : x.filter((dim) => dim !== 1);
  }
  const axes = given.map((axis) => normalizeAxis(axis, x.length));
  return x.filter((_, axis) => !axes.includes(axis));
});

const unsqueeze = view("Unsqueeze", (c) => {
  const x = c.input(0)?.shape;
  const given = argument(c, 1, "axes");
  if (x === undefined || given === undefined) return undefined;
  const rank = x.length + given.length;
  if (rank > limits.rankMax) return undefined;
  const axes = given.map((axis) => normalizeAxis(axis, rank));
  const rest = [...x];
  return Array.from(
    { length: rank },
    (_, axis): Dim => (axes.includes(axis) ? 1 : (rest.shift() ?? UNKNOWN_DIM)),
  );
});

function permutation(node: ShapeContext["node"], rank: number): readonly number[] {
  return intsAttribute(node, "perm") ?? Array.from({ length: rank }, (_, i) => rank - 1 - i);
}

const transposeOp = defineOp("Transpose", {
  shape: (c) => {
    const x = c.input(0)?.shape;
    const perm = x && permutation(c.node, x.length);
    return [
      typed(
        c.input(0)?.dtype,
        perm?.map((axis) => x?.[axis] ?? UNKNOWN_DIM),
      ),
    ];
  },
  cost: perOutput(0),
  gradient: (context, [dy]) => {
    if (dy === undefined) return [];
    const rank = knownShape(context, context.node.inputs[0] ?? "", context.node).length;
    const perm = permutation(context.node, rank);
    return [
      transpose(
        context,
        dy,
        Array.from({ length: rank }, (_, i) => perm.indexOf(i)),
      ),
    ];
  },
});

const expand = defineOp("Expand", {
  shape: (c) => {
    const target = dimsOf(c, 1);
    const x = c.input(0)?.shape;
    const shape = x && target && broadcast(x, target);
    return [typed(c.input(0)?.dtype, shape)];
  },
  cost: perOutput(0),
  gradient: (context, [dy]) =>
    dy === undefined ? [] : [unbroadcast(context, dy, context.node.inputs[0] ?? "", context.node)],
});

const tile = defineOp("Tile", {
  shape: (c) => {
    const repeats = integers(c.constant(1));
    const shape = c.input(0)?.shape?.map((dim, axis): Dim => {
      const times = repeats?.[axis];
      if (times === 1) return dim;
      return typeof dim === "number" && times !== undefined ? dim * times : UNKNOWN_DIM;
    });
    return [typed(c.input(0)?.dtype, shape)];
  },
  cost: perOutput(0),
  gradient: NO_RULE,
});

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

/** dx: dy with zeros around it, and between its elements where the slice took every so manieth. */
function sliceGradient(context: GradientContext, dy: ValueName): ValueName {
  const { node } = context;
  const constant = (i: number): readonly number[] | undefined => {
    const name = node.inputs[i] ?? "";
    return name === "" ? undefined : integers(context.constantOf(name));
  };
  const shape = staticShape(context, node.inputs[0] ?? "", node);
  const cuts = cutsOf(shape.length, {
    starts: constant(1),
    ends: constant(2),
    axes: constant(3),
    steps: constant(4),
  });
  if (cuts === undefined || cuts.some((cut) => cut.step < 1)) {
    throw noGradient(
      node,
      "only slices with constant bounds and steps forwards are differentiated",
    );
  }
  const before = shape.map(() => 0);
  const after = shape.map(() => 0);
  const steps = shape.map(() => 1);
  for (const cut of cuts) {
    const size = shape[cut.axis] ?? 0;
    const { start, count } = range(cut, size);
    before[cut.axis] = start;
    // Spread out, the last element has zeros behind it too: more than there is room for are cut off.
    after[cut.axis] = size - start - count * cut.step;
    steps[cut.axis] = cut.step;
  }
  const spread = steps.every((step) => step === 1) ? dy : spreadOut(context, dy, steps);
  return context.emit("Pad", [spread, shapeConstant(context, [...before, ...after])]);
}

/** Each element followed by step - 1 zeros along its axis: [a b] with a step of 2 is [a 0 b 0]. */
function spreadOut(context: GradientContext, y: ValueName, steps: readonly number[]): ValueName {
  const shape = staticShape(context, y, context.node);
  const apart = shape.flatMap((size) => [size, 1]);
  const zeros = steps.flatMap((step) => [0, step - 1]);
  const single = context.emit("Reshape", [y, shapeConstant(context, apart)]);
  const nothing = apart.map(() => 0);
  const padded = context.emit("Pad", [single, shapeConstant(context, [...nothing, ...zeros])]);
  const whole = shape.map((size, axis) => size * (steps[axis] ?? 1));
  return context.emit("Reshape", [padded, shapeConstant(context, whole)]);
}

const slice = defineOp("Slice", {
  shape: sliceShape,
  cost: perOutput(0),
  gradient: (context, [dy]) => (dy === undefined ? [] : [sliceGradient(context, dy)]),
});

/** Sizes added along an axis; along the others any operand that knows a size tells it. */
export function concatShape(
  shapes: readonly (Shape | undefined)[],
  along: number,
): Shape | undefined {
  const first = shapes.find((shape) => shape !== undefined);
  const axis = first && normalizeAxis(along, first.length);
  if (axis === undefined) return undefined;
  let total: Dim = 0;
  for (const shape of shapes) total = plusDim(total, shape?.[axis]);
  return first?.map((dim, i): Dim => {
    if (i === axis) return total;
    return shapes.find((shape) => typeof shape?.[i] === "number")?.[i] ?? dim;
  });
}

const concat = defineOp("Concat", {
  shape: (c) => {
    const shapes = c.node.inputs.map((_, i) => c.input(i)?.shape);
    // The default is of operator sets before 4.
    return [typed(c.input(0)?.dtype, concatShape(shapes, intAttribute(c.node, "axis", 1)))];
  },
  cost: perOutput(0),
  gradient: (context, [dy]) => {
    if (dy === undefined) return [];
    const { node } = context;
    const rank = knownShape(context, dy, node).length;
    const axis = normalizeAxis(intAttribute(node, "axis", 0), rank) ?? 0;
    const sizes = node.inputs.map((name) => staticShape(context, name, node)[axis] ?? 0);
    const sizesInput = context.constant(int64([sizes.length], sizes), "sizes");
    return context.emitAll("Split", [dy, sizesInput], {
      outputCount: sizes.length,
      attributes: { axis: { kind: "int", value: axis } },
    });
  },
});

const split = defineOp("Split", {
  shape: (c) => {
    const x = c.input(0);
    const axis = x?.shape && normalizeAxis(intAttribute(c.node, "axis", 0), x.shape.length);
    const sizes = argument(c, 1, "split");
    const count = c.node.outputs.length;
    return c.node.outputs.map((_, i) => {
      if (x?.shape === undefined || axis === undefined) return typed(x?.dtype, undefined);
      return typed(x.dtype, x.shape.with(axis, part(c, sizes, x.shape[axis], { i, count })));
    });
  },
  cost: perOutput(0),
  gradient: (context, dy) => {
    const { node } = context;
    // An output that does not reach the loss contributes zeros of its own shape.
    const parts = node.outputs.map((name, i) => dy[i] ?? zerosLike(context, name));
    const axis = intAttribute(node, "axis", 0);
    return [context.emit("Concat", parts, { attributes: { axis: { kind: "int", value: axis } } })];
  },
});

function part(
  c: ShapeContext,
  sizes: readonly number[] | undefined,
  whole: Dim | undefined,
  { i, count }: { i: number; count: number },
): Dim {
  if ((c.node.inputs[1] ?? "") !== "" || sizes !== undefined) return sizes?.[i] ?? UNKNOWN_DIM;
  if (typeof whole !== "number") return UNKNOWN_DIM;
  const each = Math.ceil(whole / count);
  return Math.max(0, Math.min(each, whole - i * each));
}

function zerosLike(context: GradientContext, name: ValueName): ValueName {
  const shape = shapeConstant(context, staticShape(context, name, context.node));
  return context.emit("ConstantOfShape", [shape]);
}

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

function padGradient(context: GradientContext, dy: ValueName): ValueName {
  const { node } = context;
  const constant = (i: number): readonly number[] | undefined => {
    const name = node.inputs[i] ?? "";
    return name === "" ? undefined : integers(context.constantOf(name));
  };
  const pads = constant(1);
  if (stringAttribute(node, "mode", "constant") !== "constant" || pads === undefined) {
    throw noGradient(node, "only constant padding of a constant width is differentiated");
  }
  const shape = staticShape(context, node.inputs[0] ?? "", node);
  const axes = axesOf(shape.length, constant(3));
  // Where the forward cuts instead of adding, the gradient adds zeros.
  if (pads.some((width) => width < 0)) {
    const back = shapeConstant(
      context,
      pads.map((width) => -width),
    );
    const inputs = [dy, back, "", shapeConstant(context, axes)];
    return context.emit("Pad", constant(3) === undefined ? inputs.slice(0, 2) : inputs);
  }
  const starts = axes.map((_, i) => pads[i] ?? 0);
  const ends = axes.map((axis, i) => (pads[i] ?? 0) + (shape[axis] ?? 0));
  return context.emit(
    "Slice",
    [dy, starts, ends, axes].map((x) => (typeof x === "string" ? x : shapeConstant(context, x))),
  );
}

const trilu = defineOp("Trilu", {
  shape: (c) => [c.input(0)],
  cost: perOutput(0),
  gradient: (context, [dy]) => {
    if (dy === undefined) return [];
    const [, k = ""] = context.node.inputs;
    const attributes = {
      upper: { kind: "int" as const, value: intAttribute(context.node, "upper", 1) },
    };
    return [context.emit("Trilu", k === "" ? [dy] : [dy, k], { attributes })];
  },
});

/** All ops of this family. */
export const movements: readonly OpDef[] = [
  reshape,
  flatten,
  squeeze,
  unsqueeze,
  transposeOp,
  expand,
  tile,
  slice,
  concat,
  split,
  pad,
  trilu,
];
