// Convolutions. The gradients are convolutions again (Dumoulin and Visin 2016, "A guide to convolution
// arithmetic for deep learning", chapter 4), written in plain ONNX.

import { present } from "../base/assert.ts";
import {
  int,
  intAttribute,
  ints,
  intsAttribute,
  type Node,
  stringAttribute,
  type ValueName,
} from "../graph/graph.ts";
import { isStatic, type Shape, UNKNOWN_DIM } from "../graph/shape.ts";
import { int64 } from "../graph/tensor.ts";
import { noGradient, reduce, shapeConstant, staticShape, transpose } from "./construct.ts";
import type { GradientContext, OpDef, ShapeContext } from "./op.ts";
import { costOf, defineOp, NO_RULE, timesDim, typed } from "./rules.ts";
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
    if (dy === undefined) return [undefined, undefined, undefined];
    const { node } = context;
    const [x = "", w = "", bias = ""] = node.inputs;
    const spatial = staticShape(context, x, node).slice(2);
    const kernel = staticShape(context, w, node).slice(2);
    const window = present(windowOf(node, kernel, spatial), "a static window");
    const channels = spatial.map((_, axis) => axis + 2);
    return [
      context.wants(0) ? inputGradient(context, dy, window) : undefined,
      context.wants(1) ? weightGradient(context, dy, window) : undefined,
      bias !== "" && context.wants(2)
        ? reduce(context, "ReduceSum", dy, [0, ...channels], false)
        : undefined,
    ];
  },
});

/**
 * dx. At stride 1 without groups a convolution of dy with the weights turned by 180 degrees and with
 * input and output channels exchanged, which the runtime computes faster than ConvTranspose.
 */
function inputGradient(context: GradientContext, dy: ValueName, window: Window): ValueName {
  const { node } = context;
  const [x = "", w = ""] = node.inputs;
  const group = intAttribute(node, "group", 1);
  const full = window.kernel.map((k, axis) => (window.dilations[axis] ?? 1) * (k - 1));
  const begin = full.map((reach, axis) => reach - (window.padsBegin[axis] ?? 0));
  const end = full.map((reach, axis) => reach - (window.padsEnd[axis] ?? 0));
  const stride1 = window.strides.every((stride) => stride === 1);
  if (stride1 && group === 1 && [...begin, ...end].every((pad) => pad >= 0)) {
    return context.emit("Conv", [dy, turned(context, w, node)], {
      attributes: {
        kernel_shape: ints(window.kernel),
        dilations: ints(window.dilations),
        pads: ints([...begin, ...end]),
      },
    });
  }
  const input = staticShape(context, x, node).slice(2);
  const output = staticShape(context, dy, node).slice(2);
  const missing = input.map((size, axis) => {
    const covered = ((output[axis] ?? 0) - 1) * (window.strides[axis] ?? 1) + (full[axis] ?? 0) + 1;
    return size - (covered - (window.padsBegin[axis] ?? 0) - (window.padsEnd[axis] ?? 0));
  });
  return context.emit("ConvTranspose", [dy, w], {
    attributes: {
      kernel_shape: ints(window.kernel),
      strides: ints(window.strides),
      dilations: ints(window.dilations),
      pads: ints([...window.padsBegin, ...window.padsEnd]),
      output_padding: ints(missing),
      group: int(group),
    },
  });
}

/** Weights [O, I, …k] as [I, O, …k reversed]. */
function turned(context: GradientContext, w: ValueName, node: Node): ValueName {
  const [outputs = 0, inputs = 0, ...kernel] = staticShape(context, w, node);
  const taps = kernel.reduce((a, b) => a * b, 1);
  if (taps === 1) return transpose(context, w, [1, 0, ...kernel.map((_, axis) => axis + 2)]);
  const flat = context.emit("Reshape", [w, shapeConstant(context, [outputs, inputs, taps])]);
  const backwards = Array.from({ length: taps }, (_, i) => taps - 1 - i);
  const flipped = context.emit("Gather", [flat, context.constant(int64([taps], backwards))], {
    attributes: { axis: int(2) },
  });
  const swapped = transpose(context, flipped, [1, 0, 2]);
  return context.emit("Reshape", [swapped, shapeConstant(context, [inputs, outputs, ...kernel])]);
}

/**
 * dW as one convolution: batch and channels exchanged, dy as the kernel, stride and dilation
 * exchanged. Where the input has rows that no output saw, the result is longer and is cut.
 */
function weightGradient(context: GradientContext, dy: ValueName, window: Window): ValueName {
  const { node } = context;
  const [x = "", w = ""] = node.inputs;
  if (intAttribute(node, "group", 1) !== 1) {
    throw noGradient(node, "weights of grouped convolutions are not differentiated yet");
  }
  const swap = [1, 0, ...window.kernel.map((_, axis) => axis + 2)];
  const kernel = staticShape(context, dy, node).slice(2);
  const raw = context.emit("Conv", [transpose(context, x, swap), transpose(context, dy, swap)], {
    attributes: {
      kernel_shape: ints(kernel),
      strides: ints(window.dilations),
      dilations: ints(window.strides),
      pads: ints([...window.padsBegin, ...window.padsEnd]),
    },
  });
  const gradient = transpose(context, raw, swap);
  const axes = window.kernel.map((_, axis) => axis + 2);
  const long = staticShape(context, gradient, node).slice(2);
  if (long.every((size, axis) => size === window.kernel[axis])) return gradient;
  const zeros = axes.map(() => 0);
  return context.emit("Slice", [
    gradient,
    shapeConstant(context, zeros),
    shapeConstant(context, staticShape(context, w, node).slice(2)),
    shapeConstant(context, axes),
  ]);
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

const convTranspose = defineOp("ConvTranspose", {
  shape: (c) => [typed(c.input(0)?.dtype, convTransposeShape(c))],
  cost: costOf((_node, [x, w]) => convFlops(w?.shape, x?.shape)),
  saves: { inputs: [0, 1], outputs: [] },
  gradient: NO_RULE,
});

/** A convolution whose taps are moved by what another convolution says. */
const deformConv = defineOp("DeformConv", {
  shape: (c) => [typed(c.input(0)?.dtype, convShape(c))],
  cost: costOf((_node, [, w], [y]) => convFlops(w?.shape, y?.shape)),
  saves: { inputs: [0, 1, 2, 4], outputs: [] },
  gradient: NO_RULE,
});

/** All ops of this family. */
export const convolutions: readonly OpDef[] = [conv, convTranspose, deformConv];
