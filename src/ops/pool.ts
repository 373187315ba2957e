// Pooling.

import { stringAttribute, type ValueName } from "../graph/graph.ts";
import { type Shape, UNKNOWN_DIM } from "../graph/shape.ts";
import { scalar } from "../graph/tensor.ts";
import { shapeConstant, staticShape } from "./construct.ts";
import type { GradientContext, OpDef, ShapeContext, ShapeRule } from "./op.ts";
import { defineOp, NO_RULE, perInput, SAVES_NOTHING, typed } from "./rules.ts";
import { ceilMode, windowOf, windowOutput } from "./window.ts";

function pooled(c: ShapeContext): Shape | undefined {
  const x = c.input(0)?.shape;
  if (x === undefined || x.length < 3) return undefined;
  const window = windowOf(c.node, undefined, x.slice(2));
  // For these the runtime pads as if the window were not dilated, against ONNX.
  const contested =
    stringAttribute(c.node, "auto_pad", "NOTSET").startsWith("SAME") &&
    window?.dilations.some((step) => step !== 1);
  const spatial =
    window === undefined || contested
      ? x.slice(2).map(() => UNKNOWN_DIM)
      : windowOutput(window, x.slice(2), ceilMode(c.node));
  return [x[0] ?? UNKNOWN_DIM, x[1] ?? UNKNOWN_DIM, ...spatial];
}

const globalShape: ShapeRule = (c) => {
  const x = c.input(0)?.shape;
  return [
    typed(
      c.input(0)?.dtype,
      x?.map((dim, axis) => (axis < 2 ? dim : 1)),
    ),
  ];
};

const maxPool = defineOp("MaxPool", {
  shape: (c) => {
    const result = typed(c.input(0)?.dtype, pooled(c));
    // Where each maximum was can be asked for since version 8.
    return c.opset < 8 ? [result] : [result, typed("int64", pooled(c))];
  },
  cost: perInput(1),
  // Its backward needs where each maximum was.
  saves: { inputs: [0], outputs: [1] },
  gradient: NO_RULE,
});

const averagePool = defineOp("AveragePool", {
  shape: (c) => [typed(c.input(0)?.dtype, pooled(c))],
  cost: perInput(1),
  gradient: NO_RULE,
});

/** Every pixel gets the same share of dy. */
function globalAverageGradient(context: GradientContext, dy: ValueName): ValueName {
  const [x = ""] = context.node.inputs;
  const shape = staticShape(context, x, context.node);
  const pixels = shape.slice(2).reduce((a, b) => a * b, 1);
  const share = context.emit("Mul", [dy, context.constant(scalar(1 / pixels))]);
  return context.emit("Expand", [share, shapeConstant(context, shape)]);
}

const globalAveragePool = defineOp("GlobalAveragePool", {
  shape: globalShape,
  cost: perInput(1),
  saves: SAVES_NOTHING,
  gradient: (context, [dy]) => [dy === undefined ? undefined : globalAverageGradient(context, dy)],
});

const globalMaxPool = defineOp("GlobalMaxPool", {
  shape: globalShape,
  cost: perInput(1),
  saves: { inputs: [0], outputs: [0] },
  gradient: NO_RULE,
});

const globalLpPool = defineOp("GlobalLpPool", {
  shape: globalShape,
  cost: perInput(2),
  saves: { inputs: [0], outputs: [0] },
  gradient: NO_RULE,
});

const lpPool = defineOp("LpPool", {
  shape: (c) => [typed(c.input(0)?.dtype, pooled(c))],
  cost: perInput(2),
  saves: { inputs: [0], outputs: [0] },
  gradient: NO_RULE,
});

/** Values of a picture at the places that a grid names: the grid's pixels, the picture's channels. */
const gridSample = defineOp("GridSample", {
  shape: (c) => {
    const [x, grid] = [c.input(0)?.shape, c.input(1)?.shape];
    const shape = x && grid && [...x.slice(0, 2), ...grid.slice(1, -1)];
    return [typed(c.input(0)?.dtype, shape)];
  },
  cost: perInput(4),
  saves: { inputs: [0, 1], outputs: [] },
  gradient: NO_RULE,
});

/** All ops of this family. */
export const pools: readonly OpDef[] = [
  maxPool,
  averagePool,
  globalAveragePool,
  globalMaxPool,
  globalLpPool,
  lpPool,
  gridSample,
];
