// Convolutions. How their gradients are built stands in sliding.ts.

import {
  int,
  intAttribute,
  ints,
  intsAttribute,
  stringAttribute,
  type ValueName,
} from "../graph/graph.ts";
import { isStatic, type Shape, UNKNOWN_DIM } from "../graph/shape.ts";
import { knownShape, noGradient, reduce, staticShape } from "./construct.ts";
import type { GradientContext, OpDef, ShapeContext } from "./op.ts";
import { costOf, defineOp, timesDim, typed } from "./rules.ts";
import { spreadBack } from "./sliding.ts";
import { weightGradient } from "./weight-gradient.ts";
import { type Window, windowOf, windowOutput } from "./window.ts";

/** The shape of a convolution of input 0 with the weight at a position among the inputs. */
export function convShape(c: ShapeContext, weightAt = 1): Shape | undefined {
  const x = c.input(0)?.shape;
  const w = c.input(weightAt)?.shape;
  if (x === undefined || w === undefined || x.length < 3) return undefined;
  const window = windowOf(c.node, w.slice(2), x.slice(2));
  const spatial =
    window === undefined
      ? x.slice(2).map(() => UNKNOWN_DIM)
      : windowOutput(window, x.slice(2), false);
  return [x[0] ?? UNKNOWN_DIM, w[0] ?? UNKNOWN_DIM, ...spatial];
}

/** Two flops for each output element, tap and input channel of the group. */
function convFlops(weight: Shape | undefined, elements: Shape | undefined): number | undefined {
  if (!isStatic(weight) || !isStatic(elements)) return undefined;
  const taps = weight.slice(1).reduce((a, b) => a * b, 1);
  return 2 * taps * elements.reduce((a, b) => a * b, 1);
}

const conv = defineOp("Conv", {
  shape: (c) => [typed(c.input(0)?.dtype, convShape(c))],
  cost: costOf((_node, [, w], [y]) => convFlops(w?.shape, y?.shape)),
  saves: { inputs: [0, 1], outputs: [] },
  gradient: (context, [dy]) => {
    if (dy === undefined) return [];
    const { node } = context;
    const [x = "", w = "", bias = ""] = node.inputs;
    const kernel = staticShape(context, w, node).slice(2);
    const window = windowOf(node, kernel, knownShape(context, x, node).slice(2));
    if (window === undefined) throw noGradient(node, "how much SAME pads must be known");
    const sliding = { window, group: intAttribute(node, "group", 1) };
    return [
      context.wants(0) ? spreadBack(context, { dy, w, x }, sliding) : undefined,
      context.wants(1) ? weightGradient(context, { x, dy, w }, sliding) : undefined,
      bias !== "" && context.wants(2) ? biasGradient(context, dy) : undefined,
    ];
  },
});

function biasGradient(context: GradientContext, dy: ValueName): ValueName {
  const rank = knownShape(context, dy, context.node).length;
  const axes = Array.from({ length: rank }, (_, axis) => axis).filter((axis) => axis !== 1);
  return reduce(context, "ReduceSum", dy, axes, false);
}

function convTransposeShape(c: ShapeContext): Shape | undefined {
  const x = c.input(0)?.shape;
  const w = c.input(1)?.shape;
  if (x === undefined || w === undefined || x.length < 3) return undefined;
  const group = intAttribute(c.node, "group", 1);
  const channels = timesDim(w[1], group);
  return [x[0] ?? UNKNOWN_DIM, channels, ...transposedSizes(c, w.slice(2), x.slice(2))];
}

/** Spatial sizes of a transposed convolution: declared, or by stride, or from the window. */
function transposedSizes(c: ShapeContext, kernel: Shape, spatial: Shape): Shape {
  const declared = intsAttribute(c.node, "output_shape");
  if (declared !== undefined) return declared.slice(-spatial.length);
  const window = windowOf(c.node, kernel, spatial);
  if (stringAttribute(c.node, "auto_pad", "NOTSET").startsWith("SAME")) {
    return spatial.map((size, axis) => {
      const [k = 1, stride = 1, d = 1] = [
        window?.kernel[axis],
        window?.strides[axis],
        window?.dilations[axis],
      ];
      // ONNX has size · stride here too, the runtime less: it would need a negative padding.
      if (window === undefined || d * (k - 1) + 1 < stride) return UNKNOWN_DIM;
      return timesDim(size, stride);
    });
  }
  const extra = intsAttribute(c.node, "output_padding");
  return spatial.map((size, axis) => {
    if (window === undefined || typeof size !== "number") return UNKNOWN_DIM;
    const reach = (window.dilations[axis] ?? 1) * ((window.kernel[axis] ?? 1) - 1) + 1;
    const pads = (window.padsBegin[axis] ?? 0) + (window.padsEnd[axis] ?? 0);
    return (size - 1) * (window.strides[axis] ?? 1) + (extra?.[axis] ?? 0) + reach - pads;
  });
}

/** The padding at both ends, where it follows from the size of the result (ONNX ConvTranspose-11). */
function transposedWindow(context: GradientContext, dy: ValueName): Window {
  const { node } = context;
  const [x = "", w = ""] = node.inputs;
  const kernel = staticShape(context, w, node).slice(2);
  const mode = stringAttribute(node, "auto_pad", "NOTSET");
  const fixed = { ...node, attributes: new Map(node.attributes) };
  if (mode !== "NOTSET") fixed.attributes.delete("auto_pad");
  const window = windowOf(fixed, kernel, knownShape(context, x, node).slice(2));
  if (window === undefined) throw noGradient(node, "its kernel does not fit its input");
  const given = intsAttribute(node, "output_shape") !== undefined;
  if (!given && !mode.startsWith("SAME")) return window;
  const input = staticShape(context, x, node).slice(2);
  const output = staticShape(context, dy, node).slice(2);
  const extra = intsAttribute(node, "output_padding");
  const totals = input.map((size, axis) => {
    const reach = (window.dilations[axis] ?? 1) * ((window.kernel[axis] ?? 1) - 1) + 1;
    const whole = (window.strides[axis] ?? 1) * (size - 1) + (extra?.[axis] ?? 0) + reach;
    return Math.max(0, whole - (output[axis] ?? 0));
  });
  const small = totals.map((total) => Math.floor(total / 2));
  const large = totals.map((total) => total - Math.floor(total / 2));
  return mode === "SAME_UPPER"
    ? { ...window, padsBegin: small, padsEnd: large }
    : { ...window, padsBegin: large, padsEnd: small };
}

/** A convolution the other way round: dx is a convolution of dy, and x and dy change places in dW. */
const convTranspose = defineOp("ConvTranspose", {
  shape: (c) => [typed(c.input(0)?.dtype, convTransposeShape(c))],
  cost: costOf((_node, [x, w]) => convFlops(w?.shape, x?.shape)),
  saves: { inputs: [0, 1], outputs: [] },
  gradient: (context, [dy]) => {
    if (dy === undefined) return [];
    const { node } = context;
    const [x = "", w = "", bias = ""] = node.inputs;
    const window = transposedWindow(context, dy);
    const group = intAttribute(node, "group", 1);
    const attributes = {
      kernel_shape: ints(window.kernel),
      strides: ints(window.strides),
      dilations: ints(window.dilations),
      pads: ints([...window.padsBegin, ...window.padsEnd]),
      group: int(group),
    };
    return [
      context.wants(0) ? context.emit("Conv", [dy, w], { attributes }) : undefined,
      context.wants(1)
        ? weightGradient(context, { x: dy, dy: x, w }, { window, group })
        : undefined,
      bias !== "" && context.wants(2) ? biasGradient(context, dy) : undefined,
    ];
  },
});

/** A convolution whose taps are moved by what another convolution says. */
const deformConv = defineOp("DeformConv", {
  shape: (c) => [typed(c.input(0)?.dtype, convShape(c))],
  cost: costOf((_node, [, w], [y]) => convFlops(w?.shape, y?.shape)),
  saves: { inputs: [0, 1, 2, 4], outputs: [] },
  gradient: {
    because: "the places that it reads come with the data, and their rule is not written",
  },
});

/** All ops of this family. */
export const convolutions: readonly OpDef[] = [conv, convTranspose, deformConv];
