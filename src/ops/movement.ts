// Ops that view, copy or join tensors without computing. Slices and padding stand in slicing.ts, index ops
// (gather, scatter) in indexing.ts.

import { limits } from "../base/limits.ts";
import { int, intAttribute, intsAttribute, type ValueName } from "../graph/graph.ts";
import {
  broadcast,
  type Dim,
  isStatic,
  normalizeAxis,
  type Shape,
  UNKNOWN_DIM,
} from "../graph/shape.ts";
import {
  knownShape,
  reduce,
  reshapeLike,
  shapeConstant,
  sizesOf,
  transpose,
  unbroadcast,
  zerosLike,
} from "./construct.ts";
import type { Emitter, GradientContext, GradientRule, OpDef, ShapeContext } from "./op.ts";
import { argument, defineOp, dimsOf, free, integers, perOutput, plusDim, typed } from "./rules.ts";

/** The gradient of a view is the same view backwards. */
const reshapeBack: GradientRule = (context, [dy]) =>
  dy === undefined ? [] : [reshapeLike(context, dy, context.node.inputs[0] ?? "")];

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

/** Sums over the copies: dy as [times, size, times, size, …]. */
function tileGradient(context: GradientContext, dy: ValueName): ValueName {
  const { node } = context;
  const [x = "", repeats = ""] = node.inputs;
  const rank = knownShape(context, x, node).length;
  const known = integers(context.constantOf(repeats));
  const pieces = Array.from({ length: rank }, (_, axis) => {
    const at = shapeConstant(context, [axis]);
    const times = known?.[axis];
    const copies =
      times === undefined ? context.emit("Gather", [repeats, at]) : shapeConstant(context, [times]);
    return [copies, sizesOf(context, x, [axis])];
  });
  const apart = context.emit("Concat", pieces.flat(), { attributes: { axis: int(0) } });
  const copies = Array.from({ length: rank }, (_, axis) => 2 * axis);
  const split = context.emit("Reshape", [dy, apart], { attributes: { allowzero: int(1) } });
  return reduce(context, "ReduceSum", split, copies, false);
}

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
  gradient: (context, [dy]) => [dy === undefined ? undefined : tileGradient(context, dy)],
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
    return context.emitAll("Split", [dy, lengthsAlong(context, node.inputs, axis)], {
      outputCount: node.inputs.length,
      attributes: { axis: { kind: "int", value: axis } },
    });
  },
});

/** The sizes of several values along an axis, int64. */
function lengthsAlong(context: Emitter, values: readonly ValueName[], axis: number): ValueName {
  const sizes = values.map((value) => context.typeOf(value)?.shape?.[axis]);
  if (sizes.every((size) => typeof size === "number")) return shapeConstant(context, sizes);
  const each = values.map((value) => sizesOf(context, value, [axis]));
  return context.emit("Concat", each, { attributes: { axis: int(0) } });
}

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
  concat,
  split,
  trilu,
];
