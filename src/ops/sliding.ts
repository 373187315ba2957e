// The way back through sliding windows: the gradients of a convolution are convolutions again (Dumoulin and
// Visin 2016, "A guide to convolution arithmetic for deep learning", chapter 4), written in plain ONNX. Sizes of the
// picture may be known at run time alone; kernel, strides, dilations and padding are numbers.

import { int, ints, type ValueName } from "../graph/graph.ts";
import { isStatic, type Shape } from "../graph/shape.ts";
import { int64 } from "../graph/tensor.ts";
import { knownShape, shapeConstant, sizesOf, staticShape, transpose } from "./construct.ts";
import type { Emitter, GradientContext } from "./op.ts";
import { axesOf, type Sliding, type Window } from "./window.ts";

/** How far a window reaches beyond its first tap, along each axis. */
function reachOf(window: Window): number[] {
  return window.kernel.map((k, axis) => (window.dilations[axis] ?? 1) * (k - 1));
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
