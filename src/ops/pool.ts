// Pooling.

import {
  int,
  intAttribute,
  ints,
  string,
  stringAttribute,
  type ValueName,
} from "../graph/graph.ts";
import { isStatic, type Shape, UNKNOWN_DIM } from "../graph/shape.ts";
import { float32 } from "../graph/tensor.ts";
import { arithmetic } from "./arithmetic.ts";
import {
  castLike,
  countAlong,
  expandLike,
  knownShape,
  noGradient,
  reshapeLike,
  scalarLike,
  shapeConstant,
  sizesOf,
  staticShape,
  zerosLike,
} from "./construct.ts";
import type {
  Emitter,
  GradientContext,
  NodeContext,
  OpDef,
  ShapeContext,
  ShapeRule,
} from "./op.ts";
import { defineOp, perInput, SAVES_NOTHING, typed } from "./rules.ts";
import { shapeOfParts, spreadBack } from "./sliding.ts";
import { ceilMode, type Window, windowOf, windowOutput } from "./window.ts";

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
  saves: { inputs: [], outputs: [1] },
  gradient: (context, [dy]) => [dy === undefined ? undefined : maxPoolGradient(context, dy)],
});

/**
 * dy where the maximum was: of several equal ones the first, as the runtime and PyTorch have it. The places
 * count through the whole tensor. On [16,32,32,32] 2.3 ms, where masks of equal elements take 7.9.
 */
function maxPoolGradient(context: GradientContext, dy: ValueName): ValueName {
  const { node } = context;
  const [x = ""] = node.inputs;
  const [, places = ""] = node.outputs;
  if (intAttribute(node, "storage_order", 0) !== 0) {
    throw noGradient(node, "with places in column-major order it is not differentiated");
  }
  const flat = shapeConstant(context, [-1]);
  const [zeros, where, updates] = [zerosLike(context, x), places, dy].map((value) =>
    context.emit("Reshape", [value, flat]),
  );
  const dx = context.emit("ScatterElements", [zeros ?? "", where ?? "", updates ?? ""], {
    attributes: { axis: int(0), reduction: string("add") },
  });
  return reshapeLike(context, dx, x);
}

/** The window of a pooling; its padding must be known. */
function poolWindow(context: NodeContext): Window {
  const { node } = context;
  const spatial = knownShape(context, node.inputs[0] ?? "", node).slice(2);
  const window = windowOf(node, undefined, spatial);
  if (window === undefined) throw noGradient(node, "how much SAME pads must be known");
  return window;
}

/** A picture of one channel for each of the batch and channels of x. */
function channelsApart(context: NodeContext, x: ValueName): ValueName {
  const shape = knownShape(context, x, context.node);
  const sizes = shape
    .slice(2)
    .map((size, i) => (typeof size === "number" ? size : sizesOf(context, x, [i + 2])));
  return context.emit("Reshape", [x, shapeOfParts(context, [-1, 1, ...sizes])]);
}

/** A kernel of ones for one channel. */
function ones(context: Emitter, like: ValueName, kernel: readonly number[]): ValueName {
  const one = scalarLike(context, like, 1);
  return context.emit("Expand", [one, shapeConstant(context, [1, 1, ...kernel])]);
}

/** Each element of a window gets its share of dy: a convolution with ones the other way round. */
function averagePoolGradient(context: GradientContext, dy: ValueName): ValueName {
  const [x = ""] = context.node.inputs;
  const window = poolWindow(context);
  const share = context.emit("Div", [dy, elementsOf(context, dy, window)]);
  const w = ones(context, x, window.kernel);
  const apart = channelsApart(context, share);
  const like = channelsApart(context, x);
  const dx = spreadBack(context, { dy: apart, w, x: like }, { window, group: 1 });
  return reshapeLike(context, dx, x);
}

/**
 * How many elements each window averages, as a tensor that broadcasts against dy: those inside the picture,
 * with its padding where that is counted (ONNX AveragePool-19).
 */
function elementsOf(context: GradientContext, dy: ValueName, window: Window): ValueName {
  const { node } = context;
  const [x = ""] = node.inputs;
  const withPads = intAttribute(node, "count_include_pad", 0) !== 0;
  const isPlain = [...window.padsBegin, ...window.padsEnd].every((pad) => pad === 0);
  const taps = window.kernel.reduce((a, b) => a * b, 1);
  if ((withPads || isPlain) && !ceilMode(node)) return scalarLike(context, dy, taps);
  const input = knownShape(context, x, node).slice(2);
  const output = knownShape(context, dy, node).slice(2);
  if (!isStatic(input) || !isStatic(output)) {
    throw noGradient(
      node,
      "how many elements each window has follows from sizes that are not known",
    );
  }
  let product: ValueName | undefined;
  for (const [axis, size] of [...input].entries()) {
    const counts = countsAlong(window, axis, { size, windows: output[axis] ?? 0, withPads });
    const shape = [1, 1, ...[...output].map((length, i) => (i === axis ? length : 1))];
    const along = castLike(context, context.constant(float32(shape, counts), "elements"), dy);
    product = product === undefined ? along : context.emit("Mul", [product, along]);
  }
  return product ?? scalarLike(context, dy, 1);
}

/** The taps of each window along one axis that are inside. */
function countsAlong(
  window: Window,
  axis: number,
  { size, windows, withPads }: { size: number; windows: number; withPads: boolean },
): number[] {
  const [k = 1, stride = 1, dilation = 1] = [
    window.kernel[axis],
    window.strides[axis],
    window.dilations[axis],
  ];
  const [before = 0, behind = 0] = [window.padsBegin[axis], window.padsEnd[axis]];
  const [low, high] = withPads ? [-before, size + behind] : [0, size];
  return Array.from({ length: windows }, (_, i) => {
    const taps = Array.from({ length: k }, (_, tap) => i * stride - before + tap * dilation);
    return taps.filter((at) => at >= low && at < high).length;
  });
}

const averagePool = defineOp("AveragePool", {
  shape: (c) => [typed(c.input(0)?.dtype, pooled(c))],
  cost: perInput(1),
  gradient: (context, [dy]) => [dy === undefined ? undefined : averagePoolGradient(context, dy)],
});

/** All axes behind batch and channels. */
function spatialAxes(context: NodeContext): number[] {
  const rank = knownShape(context, context.node.inputs[0] ?? "", context.node).length;
  return Array.from({ length: rank - 2 }, (_, i) => i + 2);
}

/** Every pixel gets the same share of dy. */
const globalAveragePool = defineOp("GlobalAveragePool", {
  shape: globalShape,
  cost: perInput(1),
  saves: SAVES_NOTHING,
  gradient: (context, [dy]) => {
    if (dy === undefined) return [];
    const [x = ""] = context.node.inputs;
    const pixels = countAlong(context, x, spatialAxes(context), x);
    return [expandLike(context, context.emit("Div", [dy, pixels]), x)];
  },
});

const globalMaxPool = defineOp("GlobalMaxPool", {
  shape: globalShape,
  cost: perInput(1),
  saves: { inputs: [0], outputs: [0] },
  gradient: {
    decompose: (context) => {
      const axes = shapeConstant(context, spatialAxes(context));
      return [context.emit("ReduceMax", [context.node.inputs[0] ?? "", axes])];
    },
  },
});

/** (Σ|x|^p)^(1/p), with the sum over a window built from |x|^p. */
function lpNorm(context: NodeContext, sum: (powers: ValueName) => ValueName): ValueName {
  const [x = ""] = context.node.inputs;
  const a = arithmetic(context, x);
  const p = intAttribute(context.node, "p", 2);
  return a.pow(sum(a.pow(a.of("Abs", x), p)), 1 / p);
}

const globalLpPool = defineOp("GlobalLpPool", {
  shape: globalShape,
  cost: perInput(2),
  saves: { inputs: [0], outputs: [0] },
  gradient: {
    decompose: (context) => {
      const axes = shapeConstant(context, spatialAxes(context));
      return [lpNorm(context, (powers) => context.emit("ReduceSum", [powers, axes]))];
    },
  },
});

const lpPool = defineOp("LpPool", {
  shape: (c) => [typed(c.input(0)?.dtype, pooled(c))],
  cost: perInput(2),
  saves: { inputs: [0], outputs: [0] },
  gradient: {
    decompose: (context) => {
      const { node } = context;
      const window = ceilMode(node) ? roundedUp(context) : poolWindow(context);
      return [lpNorm(context, (powers) => windowSum(context, powers, window))];
    },
  },
});

/** The window with as much padding behind as the last one needs where sizes are rounded up. */
function roundedUp(context: NodeContext): Window {
  const { node } = context;
  const window = poolWindow(context);
  const [x = ""] = node.inputs;
  const input = staticShape(context, x, node).slice(2);
  const output = windowOutput(window, input, true);
  const padsEnd = window.padsEnd.map((pad, axis) => {
    const [k = 1, stride = 1, dilation = 1] = [
      window.kernel[axis],
      window.strides[axis],
      window.dilations[axis],
    ];
    const covered = (Number(output[axis]) - 1) * stride + dilation * (k - 1) + 1;
    return Math.max(pad, covered - (input[axis] ?? 0) - (window.padsBegin[axis] ?? 0));
  });
  return { ...window, padsEnd };
}

/** Sums over windows, by a convolution with ones of each channel alone. */
function windowSum(context: NodeContext, x: ValueName, window: Window): ValueName {
  const apart = channelsApart(context, x);
  const { kernel, strides, dilations, padsBegin, padsEnd } = window;
  const sums = context.emit("Conv", [apart, ones(context, x, kernel)], {
    attributes: {
      strides: ints(strides),
      dilations: ints(dilations),
      pads: ints([...padsBegin, ...padsEnd]),
    },
  });
  const shape = knownShape(context, sums, context.node).slice(2);
  const sizes = shape.map((size, i): number | ValueName =>
    typeof size === "number" ? size : sizesOf(context, sums, [i + 2]),
  );
  const lead = sizesOf(context, context.node.inputs[0] ?? "", [0, 1]);
  return context.emit("Reshape", [sums, shapeOfParts(context, [lead, ...sizes])]);
}

/** Values of a picture at the places that a grid names: the grid's pixels, the picture's channels. */
const gridSample = defineOp("GridSample", {
  shape: (c) => {
    const [x, grid] = [c.input(0)?.shape, c.input(1)?.shape];
    const shape = x && grid && [...x.slice(0, 2), ...grid.slice(1, -1)];
    return [typed(c.input(0)?.dtype, shape)];
  },
  cost: perInput(4),
  saves: { inputs: [0, 1], outputs: [] },
  gradient: {
    because: "the places that it reads come with the data, and their rule is not written",
  },
});

/** All ops of this family. */
export const pools: readonly OpDef[] = [
  ...[maxPool, averagePool, globalAveragePool, globalMaxPool, globalLpPool, lpPool, gridSample],
];
