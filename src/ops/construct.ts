// Small constructions that gradient rules and decompositions are written with. What is known when the graph
// is built becomes a constant; what is not (a batch or length that varies) is read from the running graph.

import { diagnostic } from "../base/diagnostic.ts";
import { SkipwayError } from "../base/errors.ts";
import type { DType } from "../graph/dtype.ts";
import { int, ints, type Node, type ValueName } from "../graph/graph.ts";
import { type Dim, isStatic, type Shape, sameDim, UNKNOWN_DIM } from "../graph/shape.ts";
import { int64, scalarOf } from "../graph/tensor.ts";
import { CODE_OF } from "../onnx/dtype-codes.ts";
import type { Emitter } from "./op.ts";

/** The static shape of a value, or its sizes along some axes, for rules that cannot work without. */
export function staticShape(
  context: Emitter,
  name: ValueName,
  node: Node,
  axes?: readonly number[],
): readonly number[] {
  const shape = context.typeOf(name)?.shape;
  const wanted = axes === undefined ? shape : axes.map((axis) => shape?.[axis] ?? UNKNOWN_DIM);
  if (isStatic(wanted)) return wanted;
  const what = axes === undefined ? "the shape" : `the size along axis ${axes.join(", ")}`;
  throw noGradient(node, `${what} of "${name}" must be static, it is [${shape ?? "unknown"}]`);
}

/** The known rank and dims of a value; dims may be symbols. */
export function knownShape(context: Emitter, name: ValueName, node: Node): Shape {
  const shape = context.typeOf(name)?.shape;
  if (shape !== undefined) return shape;
  throw noGradient(node, `the rank of "${name}" must be known`);
}

/** The error of a gradient that a rule cannot build. */
export function noGradient(node: Node, why: string): SkipwayError {
  return SkipwayError.fromDiagnostics("input", [
    diagnostic({
      id: "gradient/unsupported",
      severity: "error",
      where: `node ${node.name} (${node.op})`,
      text: `its gradient cannot be built: ${why}`,
      fix: "Fix the model's input shapes, or exclude the initializers behind this node from training.",
    }),
  ]);
}

/** A number as a scalar constant of the type that `like` has, so that it joins it in any arithmetic. */
export function scalarLike(context: Emitter, like: ValueName, value: number): ValueName {
  return context.constant(scalarOf(context.typeOf(like)?.dtype ?? "float32", value), "scalar");
}

/** A shape as an int64 constant, for Reshape and Expand. */
export function shapeConstant(context: Emitter, shape: readonly number[]): ValueName {
  return context.constant(int64([shape.length], shape), "shape");
}

/** The shape of a value, int64 `[rank]`. */
export function shapeOf(context: Emitter, x: ValueName): ValueName {
  const shape = context.typeOf(x)?.shape;
  return isStatic(shape) ? shapeConstant(context, shape) : context.emit("Shape", [x]);
}

/** Sizes along some axes (from 0), int64 `[axes]`. */
export function sizesOf(context: Emitter, x: ValueName, axes: readonly number[]): ValueName {
  const shape = context.typeOf(x)?.shape;
  const sizes = axes.map((axis) => shape?.[axis]);
  if (sizes.every((size) => typeof size === "number")) return shapeConstant(context, sizes);
  return context.emit("Gather", [context.emit("Shape", [x]), shapeConstant(context, axes)]);
}

/** How many elements lie along some axes, as a scalar of the type of `like`. */
export function countAlong(
  context: Emitter,
  x: ValueName,
  axes: readonly number[],
  like: ValueName,
): ValueName {
  const shape = context.typeOf(x)?.shape;
  let count = 1;
  for (const axis of axes) {
    const size = shape?.[axis];
    if (typeof size === "number") count *= size;
    else count = Number.NaN;
  }
  if (!Number.isNaN(count)) return scalarLike(context, like, count);
  const product = context.emit("ReduceProd", [sizesOf(context, x, axes)], {
    attributes: { keepdims: int(0) },
  });
  return castLike(context, product, like);
}

/**
 * A shape from parts, int64 `[parts]`: a size that is known, or that of an axis of a value. For Reshape and
 * Expand; 0 and -1 keep their meaning.
 */
export function assembledShape(
  context: Emitter,
  parts: readonly (number | readonly [ValueName, number])[],
): ValueName {
  const known = parts.map((part): Dim => {
    if (typeof part === "number") return part;
    const [value, axis] = part;
    return context.typeOf(value)?.shape?.[axis] ?? UNKNOWN_DIM;
  });
  if (isStatic(known)) return shapeConstant(context, known);
  const pieces = parts.map((part, i) => {
    const dim = known[i];
    if (typeof dim === "number") return shapeConstant(context, [dim]);
    return typeof part === "number" ? "" : sizesOf(context, part[0], [part[1]]);
  });
  return context.emit("Concat", pieces, { attributes: { axis: int(0) } });
}

/** 0, 1, … as many as an axis of a value is long, int64 `[size]`. */
export function countingAlong(context: Emitter, x: ValueName, axis: number): ValueName {
  const [zero, one] = [0, 1].map((value) => context.constant(scalarOf("int64", value), "index"));
  const size = context.emit("Squeeze", [sizesOf(context, x, [axis])]);
  return context.emit("Range", [zero ?? "", size, one ?? ""]);
}

/** A value converted to the type of `like`. */
export function castLike(context: Emitter, x: ValueName, like: ValueName): ValueName {
  return castTo(context, x, context.typeOf(like)?.dtype ?? "float32");
}

/** A value converted to an element type. */
export function castTo(context: Emitter, x: ValueName, dtype: DType): ValueName {
  if (context.typeOf(x)?.dtype === dtype) return x;
  return context.emit("Cast", [x], { attributes: { to: int(CODE_OF.get(dtype) ?? 1) } });
}

/** A value spread over the shape of `like`, against which it broadcasts. */
export function expandLike(context: Emitter, x: ValueName, like: ValueName): ValueName {
  return context.emit("Expand", [x, shapeOf(context, like)]);
}

/** Zeros of the shape and type of a value. */
export function zerosLike(context: Emitter, like: ValueName): ValueName {
  return expandLike(context, scalarLike(context, like, 0), like);
}

/** Gives a value the shape of `like`, with as many elements. */
export function reshapeLike(context: Emitter, x: ValueName, like: ValueName): ValueName {
  return context.emit("Reshape", [x, shapeOf(context, like)]);
}

/** A transposition. */
export function transpose(context: Emitter, x: ValueName, perm: readonly number[]): ValueName {
  return context.emit("Transpose", [x], { attributes: { perm: ints(perm) } });
}

/** A reduction over `axes`, given as input (ReduceSum-13, the others 18). */
export function reduce(
  context: Emitter,
  op: string,
  x: ValueName,
  axes: readonly number[],
  keepDims: boolean,
): ValueName {
  return context.emit(op, [x, shapeConstant(context, axes)], {
    attributes: { keepdims: int(keepDims ? 1 : 0) },
  });
}

/**
 * Sums a gradient over the axes along which an operand was broadcast, so that it has the operand's shape
 * again. Where a symbolic size may turn out to be 1 beside something larger, the axes are found at run time.
 */
export function unbroadcast(
  context: Emitter,
  dy: ValueName,
  operand: ValueName,
  node: Node,
): ValueName {
  const from = knownShape(context, dy, node);
  const to = knownShape(context, operand, node);
  const extra = from.length - to.length;
  const axes = from.map((_, axis) => axis);
  const dimOf = (axis: number): Dim => (axis < extra ? 1 : (to[axis - extra] ?? 1));
  const unclear = axes.some((axis) => {
    const dim = dimOf(axis);
    return typeof dim === "string" && !sameDim(dim, from[axis] ?? 1);
  });
  if (unclear) return unbroadcastAtRunTime(context, dy, operand, extra);
  const summed = axes.filter((axis) => axis < extra || (dimOf(axis) === 1 && from[axis] !== 1));
  if (summed.length === 0) return dy;
  const total = reduce(context, "ReduceSum", dy, summed, true);
  if (extra === 0) return total;
  return context.emit("Squeeze", [total, shapeConstant(context, axes.slice(0, extra))]);
}

/** Sums over every axis along which the operand, with ones in front, has size 1. */
function unbroadcastAtRunTime(
  context: Emitter,
  dy: ValueName,
  operand: ValueName,
  extra: number,
): ValueName {
  const own = context.emit("Shape", [operand]);
  const ones = shapeConstant(context, new Array(extra).fill(1));
  const padded =
    extra === 0 ? own : context.emit("Concat", [ones, own], { attributes: { axis: int(0) } });
  const single = context.emit("Equal", [padded, shapeConstant(context, [1])]);
  const flat = shapeConstant(context, [-1]);
  const axes = context.emit("Reshape", [context.emit("NonZero", [single]), flat]);
  const total = context.emit("ReduceSum", [dy, axes], {
    attributes: { keepdims: int(1), noop_with_empty_axes: int(1) },
  });
  return context.emit("Reshape", [total, own]);
}

/**
 * Zeros before and behind along some axes; less than none cuts off. All axes are named by their place: where
 * a Pad has its axes as an input, ONNX Runtime 1.30 loses them when it moves a Transpose past it ("indices
 * element out of data bounds" in a Gather that the model does not have).
 */
export function padAlong(
  context: Emitter,
  x: ValueName,
  axes: readonly number[],
  pads: readonly number[],
): ValueName {
  const rank = context.typeOf(x)?.shape?.length;
  if (rank === undefined) {
    return context.emit("Pad", [x, shapeConstant(context, pads), "", shapeConstant(context, axes)]);
  }
  const whole = new Array<number>(2 * rank).fill(0);
  for (const [i, axis] of axes.entries()) {
    whole[axis] = pads[i] ?? 0;
    whole[rank + axis] = pads[axes.length + i] ?? 0;
  }
  return context.emit("Pad", [x, shapeConstant(context, whole)]);
}
