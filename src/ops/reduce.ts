// Reductions over axes.

import { intAttribute, intsAttribute, type ValueName } from "../graph/graph.ts";
import { type Dim, normalizeAxis, type Shape, UNKNOWN_DIM } from "../graph/shape.ts";
import { scalar } from "../graph/tensor.ts";
import { knownShape, noGradient, shapeConstant, staticShape } from "./construct.ts";
import type { GradientContext, OpDef, ShapeContext } from "./op.ts";
import { defineOp, integers, NO_RULE, perInput, typed } from "./rules.ts";

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

/** Spreads dy over the reduced axes again. */
function spread(context: GradientContext, dy: ValueName): ValueName {
  const { node } = context;
  const [x = "", axesInput = ""] = node.inputs;
  const shape = staticShape(context, x, node);
  if (intAttribute(node, "keepdims", 1) !== 0) {
    return context.emit("Expand", [dy, shapeConstant(context, shape)]);
  }
  const given = integers(axesInput === "" ? undefined : context.constantOf(axesInput)) ?? [];
  if (axesInput !== "" && context.constantOf(axesInput) === undefined) {
    throw noGradient(node, "the axes must be constant");
  }
  const whole = given.length === 0;
  if (whole && intAttribute(node, "noop_with_empty_axes", 0) !== 0) return dy;
  const reduced = whole ? shape.map((_, axis) => axis) : given;
  const normal = reduced.map((axis) => normalizeAxis(axis, shape.length) ?? 0);
  const kept = context.emit("Reshape", [dy, shapeConstant(context, withOnes(shape, normal))]);
  return context.emit("Expand", [kept, shapeConstant(context, shape)]);
}

function withOnes(shape: readonly number[], axes: readonly number[]): number[] {
  return shape.map((dim, axis) => (axes.includes(axis) ? 1 : dim));
}

const reduceSum = defineOp("ReduceSum", {
  shape: (c) => [typed(c.input(0)?.dtype, reducedShape(c))],
  cost: perInput(1),
  gradient: (context, [dy]) => [dy === undefined ? undefined : spread(context, dy)],
});

const reduceMean = defineOp("ReduceMean", {
  shape: (c) => [typed(c.input(0)?.dtype, reducedShape(c))],
  cost: perInput(1),
  gradient: (context, [dy]) => {
    if (dy === undefined) return [undefined];
    const { node } = context;
    const size = (name: ValueName): number =>
      staticShape(context, name, node).reduce((a, b) => a * b, 1);
    const count = size(node.inputs[0] ?? "") / size(node.outputs[0] ?? "");
    const share = context.emit("Mul", [spread(context, dy), context.constant(scalar(1 / count))]);
    return [share];
  },
});

const reduceSumSquare = defineOp("ReduceSumSquare", {
  shape: (c) => [typed(c.input(0)?.dtype, reducedShape(c))],
  cost: perInput(2),
  saves: { inputs: [0], outputs: [] },
  gradient: (context, [dy]) => {
    if (dy === undefined) return [undefined];
    const x = context.node.inputs[0] ?? "";
    knownShape(context, x, context.node);
    const twice = context.emit("Mul", [x, context.constant(scalar(2))]);
    return [context.emit("Mul", [spread(context, dy), twice])];
  },
});

const unsupported = (type: string): OpDef =>
  defineOp(type, {
    shape: (c) => [typed(c.input(0)?.dtype, reducedShape(c))],
    cost: perInput(1),
    saves: { inputs: [0], outputs: [0] },
    gradient: NO_RULE,
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

/** log Σ x. */
const reduceLogSum: OpDef = defineOp("ReduceLogSum", {
  shape: (c) => [typed(c.input(0)?.dtype, reducedShape(c))],
  cost: perInput(1),
  saves: { inputs: [], outputs: [0] },
  gradient: {
    decompose: (context) => {
      const { inputs, attributes } = context.node;
      return [context.emit("Log", [context.emit("ReduceSum", inputs, { attributes })])];
    },
  },
});

/** All ops of this family. */
export const reductions: readonly OpDef[] = [
  reduceSum,
  reduceMean,
  reduceSumSquare,
  ...["ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2"].map(unsupported),
  reduceLogSum,
  unsupported("ReduceLogSumExp"),
  ...["ArgMax", "ArgMin"].map(position),
];
