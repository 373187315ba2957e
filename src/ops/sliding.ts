// The way back through sliding windows: the gradients of a convolution are convolutions again (Dumoulin and
// Visin 2016, "A guide to convolution arithmetic for deep learning", chapter 4), written in plain ONNX. Sizes of the
// picture may be known at run time alone; kernel, strides, dilations and padding are numbers.

import { int, ints, type ValueName } from "../graph/graph.ts";
import { isStatic, type Shape } from "../graph/shape.ts";
import { int64 } from "../graph/tensor.ts";
import { knownShape, shapeConstant, sizesOf, staticShape, transpose } from "./construct.ts";
import type { Emitter, GradientContext } from "./op.ts";
import type { Window } from "./window.ts";

/** A window and the number of groups into which channels are divided. */
export interface Sliding {
  readonly window: Window;
  readonly group: number;
}

/** How far a window reaches beyond its first tap, along each axis. */
function reachOf(window: Window): number[] {
  return window.kernel.map((k, axis) => (window.dilations[axis] ?? 1) * (k - 1));
}

function axesOf(window: Window): number[] {
  return window.kernel.map((_, axis) => axis + 2);
}

/** A shape of numbers, and of sizes that are int64 lists in the graph. */
export function shapeOfParts(context: Emitter, parts: readonly (number | ValueName)[]): ValueName {
  if (parts.every((part) => typeof part === "number")) return shapeConstant(context, parts);
  const lists = parts.map((part) =>
    typeof part === "number" ? shapeConstant(context, [part]) : part,
  );
  return context.emit("Concat", lists, { attributes: { axis: int(0) } });
}

/**
 * dx of a convolution with weights `[O, I / group, …k]`, in the spatial sizes of x. At stride 1 a convolution
 * of dy with the weights turned by 180 degrees and with input and output channels exchanged, which the runtime
 * computes faster than ConvTranspose (7 times at 64 channels of 8x8).
 */
export function spreadBack(
  context: GradientContext,
  { dy, w, x }: { dy: ValueName; w: ValueName; x: ValueName },
  { window, group }: Sliding,
): ValueName {
  const reach = reachOf(window);
  const begin = reach.map((r, axis) => r - (window.padsBegin[axis] ?? 0));
  const end = reach.map((r, axis) => r - (window.padsEnd[axis] ?? 0));
  const isDense = window.strides.every((stride) => stride === 1);
  if (isDense && [...begin, ...end].every((pad) => pad >= 0)) {
    return context.emit("Conv", [dy, turned(context, w, group)], {
      attributes: {
        kernel_shape: ints(window.kernel),
        dilations: ints(window.dilations),
        pads: ints([...begin, ...end]),
        group: int(group),
      },
    });
  }
  const attributes = {
    kernel_shape: ints(window.kernel),
    strides: ints(window.strides),
    dilations: ints(window.dilations),
    group: int(group),
  };
  const input = knownShape(context, x, context.node).slice(2);
  const output = knownShape(context, dy, context.node).slice(2);
  const missing = missingSizes(input, output, window);
  // Where windows reach beyond the padding (sizes rounded up), there is more than x has.
  if (missing === undefined || missing.some((size) => size < 0)) {
    return cutTo(context, context.emit("ConvTranspose", [dy, w], { attributes }), x, window);
  }
  return context.emit("ConvTranspose", [dy, w], {
    attributes: {
      ...attributes,
      pads: ints([...window.padsBegin, ...window.padsEnd]),
      output_padding: ints(missing),
    },
  });
}

/** How much of each axis no window saw; undefined where sizes are not known. */
function missingSizes(input: Shape, output: Shape, window: Window): number[] | undefined {
  if (!isStatic(input) || !isStatic(output)) return undefined;
  const reach = reachOf(window);
  return Array.from(input, (size, axis) => {
    const covered =
      ((output[axis] ?? 0) - 1) * (window.strides[axis] ?? 1) + (reach[axis] ?? 0) + 1;
    return size - (covered - (window.padsBegin[axis] ?? 0) - (window.padsEnd[axis] ?? 0));
  });
}

/** Takes the padding away, and adds zeros for what no window saw. */
function cutTo(
  context: GradientContext,
  whole: ValueName,
  x: ValueName,
  window: Window,
): ValueName {
  const axes = axesOf(window);
  const begin = shapeConstant(
    context,
    window.padsBegin.map((pad) => -pad),
  );
  const kept = context.emit("Add", [sizesOf(context, whole, axes), begin]);
  const end = context.emit("Sub", [sizesOf(context, x, axes), kept]);
  const pads = context.emit("Concat", [begin, end], { attributes: { axis: int(0) } });
  return context.emit("Pad", [whole, pads, "", shapeConstant(context, axes)]);
}

/** Weights [g·O, I, …k] as [g·I, O, …k reversed]. */
function turned(context: GradientContext, w: ValueName, group: number): ValueName {
  const [outputs = 0, inputs = 0, ...kernel] = staticShape(context, w, context.node);
  const taps = kernel.reduce((a, b) => a * b, 1);
  const [own, flat] = [outputs / group, [group, outputs / group, inputs, taps]];
  const parts = context.emit("Reshape", [w, shapeConstant(context, flat)]);
  const backwards = Array.from({ length: taps }, (_, i) => taps - 1 - i);
  const flipped =
    taps === 1
      ? parts
      : context.emit("Gather", [parts, context.constant(int64([taps], backwards))], {
          attributes: { axis: int(3) },
        });
  const swapped = own === 1 && inputs === 1 ? flipped : transpose(context, flipped, [0, 2, 1, 3]);
  return context.emit("Reshape", [
    swapped,
    shapeConstant(context, [group * inputs, own, ...kernel]),
  ]);
}

/**
 * dW of a convolution as one convolution: batch and channels exchanged, dy as the kernel, stride and dilation
 * exchanged; each group takes its own channels. Where the input has rows that no window saw, the result is longer
 * and is cut.
 */
export function weightGradient(
  context: GradientContext,
  { x, dy, w }: { x: ValueName; dy: ValueName; w: ValueName },
  { window, group }: Sliding,
): ValueName {
  const swap = [1, 0, ...axesOf(window)];
  const [, inner = 1, ...kernel] = staticShape(context, w, context.node);
  const sizes = knownShape(context, x, context.node);
  if (group === 1 && window.dilations.at(-1) === 1 && isStatic(sizes)) {
    return cut(context, sideBySide(context, { x, dy, sizes }, window), kernel);
  }
  const raw = context.emit(
    "Conv",
    [channelsAsBatch(context, x, { window, group, inner }), transpose(context, dy, swap)],
    {
      attributes: {
        strides: ints(window.dilations),
        dilations: ints(window.strides),
        pads: ints([...window.padsBegin, ...window.padsEnd]),
        group: int(group),
      },
    },
  );
  return cut(context, transpose(context, raw, swap), kernel);
}

/** The first taps of a gradient that has more. */
function cut(context: GradientContext, gradient: ValueName, kernel: readonly number[]): ValueName {
  const long = knownShape(context, gradient, context.node).slice(2);
  if (long.every((size, axis) => size === kernel[axis])) return gradient;
  const axes = kernel.map((_, axis) => axis + 2);
  const zeros = axes.map(() => 0);
  const bounds = [zeros, kernel, axes].map((list) => shapeConstant(context, list));
  return context.emit("Slice", [gradient, ...bounds]);
}

/**
 * The same with the channels of x side by side along the last axis instead of one image for each: one product of
 * large matrices instead of many narrow ones, 3 times as fast at 16 channels of 32x32 (docs/design/training-speed.md).
 */
function sideBySide(
  context: GradientContext,
  { x, dy, sizes }: { x: ValueName; dy: ValueName; sizes: readonly number[] },
  window: Window,
): ValueName {
  const axes = axesOf(window);
  const [batch = 1, channels = 1, ...spatial] = sizes;
  const wide = (list: readonly number[]): number[] => [
    ...list.slice(0, -1),
    channels * (list.at(-1) ?? 1),
  ];
  const last = transpose(context, x, [0, ...axes, 1]);
  const raw = context.emit(
    "Conv",
    [
      context.emit("Reshape", [last, shapeConstant(context, [1, batch, ...wide(spatial)])]),
      transpose(context, dy, [1, 0, ...axes]),
    ],
    {
      attributes: {
        strides: ints(window.dilations),
        dilations: ints(wide(window.strides)),
        pads: ints([...wide(window.padsBegin), ...wide(window.padsEnd)]),
      },
    },
  );
  const [, outputs = 1, ...long] = staticShape(context, raw, context.node);
  const taps = [...long.slice(0, -1), (long.at(-1) ?? 1) / channels];
  const apart = context.emit("Reshape", [
    raw,
    shapeConstant(context, [outputs, ...taps, channels]),
  ]);
  return transpose(context, apart, [0, axes.length + 1, ...axes.map((axis) => axis - 1)]);
}

/** [N, g·C, …] as [C, g·N, …]: within each group, channels become the batch. */
function channelsAsBatch(
  context: GradientContext,
  x: ValueName,
  { window, group, inner }: Sliding & { inner: number },
): ValueName {
  const axes = axesOf(window);
  if (group === 1) return transpose(context, x, [1, 0, ...axes]);
  const shape = knownShape(context, x, context.node);
  // Where the file does not say how many channels x has, the weights do.
  const channels = typeof shape[1] === "number" ? shape[1] : group * inner;
  const part = (axis: number): number | ValueName => {
    const size = shape[axis];
    return typeof size === "number" ? size : sizesOf(context, x, [axis]);
  };
  const apart = shapeOfParts(context, [part(0), group, channels / group, ...axes.map(part)]);
  const split = context.emit("Reshape", [x, apart]);
  const perm = [2, 1, 0, ...axes.map((axis) => axis + 1)];
  const batch = part(0);
  const images =
    typeof batch === "number"
      ? batch * group
      : context.emit("Mul", [batch, shapeConstant(context, [group])]);
  const joined = shapeOfParts(context, [channels / group, images, ...axes.map(part)]);
  return context.emit("Reshape", [transpose(context, split, perm), joined]);
}
