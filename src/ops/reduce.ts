// Reductions over axes.

import { int, intAttribute, intsAttribute, type ValueName } from "../graph/graph.ts";
import { type Dim, normalizeAxis, type Shape, UNKNOWN_DIM } from "../graph/shape.ts";
import { type Arithmetic, arithmetic } from "./arithmetic.ts";
import {
  castLike,
  countAlong,
  expandLike,
  knownShape,
  noGradient,
  shapeConstant,
} from "./construct.ts";
import type { GradientContext, OpDef, SavedForBackward, ShapeContext } from "./op.ts";
import { defineOp, integers, perInput, SAVES_NOTHING, typed } from "./rules.ts";

/** The axes of a reduction: an input in newer operator sets, an attribute in older ones. */
function reducedAxes(c: ShapeContext, rank: number): readonly number[] | undefined {
  const fromInput = (c.node.inputs[1] ?? "") !== "";
  const axes = fromInput ? integers(c.constant(1)) : (intsAttribute(c.node, "axes") ?? []);
  if (axes === undefined) return undefined;
  if (axes.length > 0) {
    const normal = axes.map((axis) => normalizeAxis(axis, rank));
    return normal.every((axis) => axis !== undefined) ? normal : undefined;
  }
  if (intAttribute(c.node, "noop_with_empty_axes", 0) !== 0) return [];
  return Array.from({ length: rank }, (_, i) => i);
}

function reducedShape(c: ShapeContext): Shape | undefined {
  const x = c.input(0)?.shape;
  if (x === undefined) return undefined;
  const axes = reducedAxes(c, x.length);
  const keep = intAttribute(c.node, "keepdims", 1) !== 0;
  if (axes === undefined) return keep ? x.map(() => UNKNOWN_DIM) : undefined;
  return drop(x, axes, keep);
}

function drop(x: Shape, axes: readonly number[], keep: boolean): Shape {
  const result: Dim[] = [];
  for (const [axis, dim] of x.entries()) {
    if (!axes.includes(axis)) result.push(dim);
    else if (keep) result.push(1);
  }
  return result;
}

/** What the gradient of a reduction is built from, in the type of x. */
interface Reduced extends Arithmetic {
  readonly context: GradientContext;
  readonly x: ValueName;
  /** The result and its gradient, with the reduced axes kept as 1, so that they broadcast against x. */
  readonly y: ValueName;
  readonly dy: ValueName;
}

/** The reduced axes from 0; undefined where they are not known. */
function axesOf(context: GradientContext): readonly number[] | undefined {
  const { node } = context;
  const [x = "", given = ""] = node.inputs;
  const rank = knownShape(context, x, node).length;
  const ref = given === "" ? undefined : context.constantOf(given);
  if (given !== "" && ref === undefined) return undefined;
  const axes = given === "" ? (intsAttribute(node, "axes") ?? []) : (integers(ref) ?? []);
  if (axes.length > 0) return axes.map((axis) => normalizeAxis(axis, rank) ?? 0);
  const none = intAttribute(node, "noop_with_empty_axes", 0) !== 0;
  return none ? [] : Array.from({ length: rank }, (_, axis) => axis);
}

/** A result with the reduced axes as 1. */
function withReduced(context: GradientContext, value: ValueName): ValueName {
  const { node } = context;
  if (intAttribute(node, "keepdims", 1) !== 0) return value;
  const axes = axesOf(context);
  if (axes === undefined)
    throw noGradient(node, "the axes must be constant where they are dropped");
  if (axes.length === 0) return value;
  return context.emit("Unsqueeze", [value, shapeConstant(context, axes)]);
}

/** The same reduction with another op, its axes kept as 1. */
function sumKept(context: GradientContext, op: string, value: ValueName): ValueName {
  const { node } = context;
  const attributes = new Map(node.attributes).set("keepdims", int(1));
  return context.emit(op, [value, ...node.inputs.slice(1)], { attributes });
}

/** How many elements make one of the result. */
function countOf({ context, x, div }: Reduced): ValueName {
  const axes = axesOf(context);
  if (axes !== undefined) return countAlong(context, x, axes, x);
  const [y = ""] = context.node.outputs;
  const size = (value: ValueName): ValueName => castLike(context, context.emit("Size", [value]), x);
  return div(size(x), size(y));
}

/** A reduction whose gradient, in the shape of x or broadcasting to it, is built here. */
function reduction(
  type: string,
  saves: SavedForBackward,
  build: (r: Reduced) => { readonly dx: ValueName; readonly spread: boolean },
): OpDef {
  return defineOp(type, {
    shape: (c) => [typed(c.input(0)?.dtype, reducedShape(c))],
    cost: perInput(1),
    saves,
    gradient: (context, [dz]) => {
      if (dz === undefined) return [undefined];
      const [x = ""] = context.node.inputs;
      const [z = ""] = context.node.outputs;
      const [y, dy] = [withReduced(context, z), withReduced(context, dz)];
      const { dx, spread } = build({ ...arithmetic(context, x), context, x, y, dy });
      return [spread ? expandLike(context, dx, x) : dx];
    },
  });
}

const INPUT: SavedForBackward = { inputs: [0], outputs: [] };
const BOTH: SavedForBackward = { inputs: [0], outputs: [0] };
const spread = (dx: ValueName) => ({ dx, spread: true });
const whole = (dx: ValueName) => ({ dx, spread: false });

const reduceSum = reduction("ReduceSum", SAVES_NOTHING, (r) => spread(r.dy));

const reduceMean = reduction("ReduceMean", SAVES_NOTHING, (r) => spread(r.div(r.dy, countOf(r))));

const reduceSumSquare = reduction("ReduceSumSquare", INPUT, (r) =>
  whole(r.mul(r.x, r.mul(r.dy, 2))),
);

const reduceL1 = reduction("ReduceL1", INPUT, (r) => whole(r.mul(r.of("Sign", r.x), r.dy)));

/** x / y, and 0 for the norm of zeros (as in PyTorch). */
const reduceL2 = reduction("ReduceL2", BOTH, (r) => {
  const isZero = r.equal(r.y, 0);
  return whole(r.mul(r.x, r.where(isZero, 0, r.div(r.dy, r.where(isZero, 1, r.y)))));
});

/** e^(x - y); where all of x is -∞, so is y, and nothing flows. */
const reduceLogSumExp = reduction("ReduceLogSumExp", BOTH, (r) => {
  const finite = r.where(r.equal(r.y, Number.NEGATIVE_INFINITY), 0, r.y);
  return whole(r.mul(r.of("Exp", r.sub(r.x, finite)), r.dy));
});

/** log Σ x. */
const reduceLogSum = defineOp("ReduceLogSum", {
  shape: (c) => [typed(c.input(0)?.dtype, reducedShape(c))],
  cost: perInput(1),
  saves: INPUT,
  gradient: {
    decompose: (context) => {
      const { inputs, attributes } = context.node;
      return [context.emit("Log", [context.emit("ReduceSum", inputs, { attributes })])];
    },
  },
});

/** The product of the others: without division by an element that is 0. */
const reduceProd = reduction("ReduceProd", BOTH, (r) => {
  const isZero = r.equal(r.x, 0);
  const zeros = sumKept(r.context, "ReduceSum", r.mask(isZero));
  const nonZero = r.where(isZero, 1, r.x);
  const product = sumKept(r.context, "ReduceProd", nonZero);
  const atZero = r.where(r.equal(zeros, 1), product, 0);
  const elsewhere = r.div(r.where(r.equal(zeros, 0), product, 0), nonZero);
  return whole(r.mul(r.where(isZero, atZero, elsewhere), r.dy));
});

/** The extreme element gets dy; where several are, they share it evenly (as in PyTorch's amax). */
const extreme = (type: string): OpDef =>
  reduction(type, BOTH, (r) => {
    const mask = r.mask(r.equal(r.x, r.y));
    const ties = sumKept(r.context, "ReduceSum", mask);
    return whole(r.mul(mask, r.div(r.dy, ties)));
  });

const position = (type: string): OpDef =>
  defineOp(type, {
    shape: (c) => {
      const x = c.input(0)?.shape;
      const axis = x && normalizeAxis(intAttribute(c.node, "axis", 0), x.length);
      const keep = intAttribute(c.node, "keepdims", 1) !== 0;
      return [typed("int64", x && axis !== undefined ? drop(x, [axis], keep) : undefined)];
    },
    cost: perInput(1),
    gradient: "zero",
  });

/** All ops of this family. */
export const reductions: readonly OpDef[] = [
  ...[reduceSum, reduceMean, reduceSumSquare, reduceL1, reduceL2, reduceLogSum, reduceLogSumExp],
  ...[reduceProd, extreme("ReduceMax"), extreme("ReduceMin")],
  ...["ArgMax", "ArgMin"].map(position),
];
