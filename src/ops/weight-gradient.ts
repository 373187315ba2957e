// The gradient of a convolution's weights, in several forms that give the same numbers; which is fastest depends
// on the sizes, by what the kernels cost. Measurements: docs/design/gradients.md.

import { int, ints, type ValueName } from "../graph/graph.ts";
import { isStatic } from "../graph/shape.ts";
import { knownShape, reduce, shapeConstant, sizesOf, staticShape, transpose } from "./construct.ts";
import type { KernelCosts } from "./kernel-costs.ts";
import type { GradientContext } from "./op.ts";
import { shapeOfParts } from "./sliding.ts";
import { axesOf, type Sliding, type Window } from "./window.ts";

/** The input of the convolution, the gradient of its output, and its weights `[O, I / group, …k]`. */
export interface Operands {
  readonly x: ValueName;
  readonly dy: ValueName;
  readonly w: ValueName;
}

/** dW, in the shape of the weights. */
export function weightGradient(
  context: GradientContext,
  operands: Operands,
  sliding: Sliding,
): ValueName {
  const work = workOf(context, operands, sliding);
  const worth = convolutionCost(work, context.costs) / MARGIN;
  if (productsCost(work, context.costs) < worth) return byProducts(context, operands, sliding);
  if (sumsCost(work, context.costs) < worth) return bySums(context, operands, sliding);
  return byConvolution(context, operands, sliding);
}

/** Forms of more nodes are to be faster by so much: below that the estimates are noise. */
const MARGIN = 1.1;

/** What the forms have to do. */
interface Work {
  readonly window: Window;
  readonly group: number;
  /** Channels of each group. */
  readonly inputs: number;
  readonly outputs: number;
  readonly taps: number;
  /** Positions of all pictures. */
  readonly positions: number;
  /** Whether taps can be cut out of the picture: its sizes are known, or one tap is all of it. */
  readonly cuts: boolean;
}

/** Sizes that are not known count as one of so many: the forms share most factors. */
const NOMINAL = 32;

function workOf(context: GradientContext, { x, dy, w }: Operands, sliding: Sliding): Work {
  const { window, group } = sliding;
  const [all = 1, inputs = 1, ...kernel] = staticShape(context, w, context.node);
  const shape = knownShape(context, dy, context.node);
  const [batch, , ...output] = shape.map((dim) => (typeof dim === "number" ? dim : NOMINAL));
  const input = knownShape(context, x, context.node).slice(2);
  return {
    ...{ window, group, inputs, outputs: all / group },
    taps: kernel.reduce((a, b) => a * b, 1),
    positions: output.reduce((a, b) => a * b, batch ?? 1),
    cuts: isWhole(window) || (isStatic(input) && isStatic(shape.slice(2))),
  };
}

/** Whether the only tap sees all of the picture. */
function isWhole(window: Window): boolean {
  const { kernel, strides, padsBegin, padsEnd } = window;
  const ones = [...kernel, ...strides].every((n) => n === 1);
  return ones && [...padsBegin, ...padsEnd].every((pad) => pad === 0);
}

function isStrided(window: Window): boolean {
  return window.strides.some((stride) => stride !== 1);
}

/** Rows of a product are computed a few columns at a time: narrower ones take as long. */
const COLUMNS = 4;

function convolutionCost(work: Work, costs: KernelCosts): number {
  const { window, group, inputs, outputs, taps, positions } = work;
  const run = window.kernel.at(-1) ?? 1;
  const unrolled = group * inputs * positions * taps;
  const columns = Math.max(taps, COLUMNS);
  return (
    unrolled * (costs.unrolled + costs.unrolledRun / run) +
    group * inputs * outputs * positions * columns * costs.convolution +
    group * (inputs + outputs) * positions * costs.copy
  );
}

function productsCost(work: Work, costs: KernelCosts): number {
  const { window, group, inputs, outputs, taps, positions, cuts } = work;
  if (group !== 1 || !cuts) return Number.POSITIVE_INFINITY;
  const copy = isStrided(window) ? costs.stridedCopy : costs.copy;
  return (
    taps * inputs * outputs * positions * costs.product +
    (isWhole(window) ? 0 : taps * inputs * positions * copy) +
    (inputs + outputs) * positions * costs.copy +
    3 * taps * costs.node
  );
}

function sumsCost(work: Work, costs: KernelCosts): number {
  const { window, group, inputs, outputs, taps, positions, cuts } = work;
  if (inputs !== 1 || outputs !== 1 || !cuts) return Number.POSITIVE_INFINITY;
  const copy = isStrided(window) ? costs.stridedCopy : costs.copy;
  // Cut, multiplied and summed: the product and the sum take half a copy each at most.
  return taps * (group * positions * (copy + costs.copy / 2) + 3 * costs.node);
}

/**
 * One convolution: batch and channels exchanged, dy as the kernel, stride and dilation exchanged; each group takes
 * its own channels. Where the input has rows that no window saw, the result is longer and is cut.
 */
function byConvolution(
  context: GradientContext,
  { x, dy, w }: Operands,
  { window, group }: Sliding,
): ValueName {
  const axes = axesOf(window);
  const swap = [1, 0, ...axes];
  const [, inner = 1, ...kernel] = staticShape(context, w, context.node);
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
  const gradient = transpose(context, raw, swap);
  const long = knownShape(context, gradient, context.node).slice(2);
  if (long.every((size, axis) => size === window.kernel[axis])) return gradient;
  const zeros = axes.map(() => 0);
  const bounds = [zeros, kernel, axes].map((list) => shapeConstant(context, list));
  return context.emit("Slice", [gradient, ...bounds]);
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

/** A product of matrices for each tap: what it saw, `[C, M]`, with dy, `[M, O]`, over all positions M. */
function byProducts(
  context: GradientContext,
  { x, dy, w }: Operands,
  { window }: Sliding,
): ValueName {
  const axes = axesOf(window);
  const [outputs = 1, inputs = 1, ...kernel] = staticShape(context, w, context.node);
  const columns = context.emit("Flatten", [transpose(context, dy, [0, ...axes, 1])], {
    attributes: { axis: int(1 + axes.length) },
  });
  const front = transpose(context, x, [1, 0, ...axes]);
  const products = tapsOf(context, front, { dy, window }).map((seen) => {
    const rows = context.emit("Flatten", [seen], { attributes: { axis: int(1) } });
    return context.emit("MatMul", [rows, columns]);
  });
  const [only] = products;
  const stacked =
    products.length === 1 && only !== undefined
      ? transpose(context, only, [1, 0])
      : transpose(context, stack(context, products, 0), [2, 1, 0]);
  const shape = shapeConstant(context, [outputs, inputs, ...kernel]);
  return context.emit("Reshape", [stacked, shape]);
}

/** For one channel a group: the sum of what each tap saw times dy. */
function bySums(context: GradientContext, { x, dy, w }: Operands, { window }: Sliding): ValueName {
  const axes = [0, ...axesOf(window)];
  const sums = tapsOf(context, x, { dy, window }).map((seen) =>
    reduce(context, "ReduceSum", context.emit("Mul", [seen, dy]), axes, false),
  );
  const shape = shapeConstant(context, staticShape(context, w, context.node));
  return context.emit("Reshape", [stack(context, sums, 1), shape]);
}

function stack(context: GradientContext, parts: readonly ValueName[], axis: number): ValueName {
  const apart = parts.map((part) =>
    context.emit("Unsqueeze", [part, shapeConstant(context, [axis])]),
  );
  return context.emit("Concat", apart, { attributes: { axis: int(axis) } });
}

/** What each tap of the window sees, in the spatial sizes of dy; taps in the order of the weights. */
function tapsOf(
  context: GradientContext,
  x: ValueName,
  { dy, window }: { dy: ValueName; window: Window },
): ValueName[] {
  if (isWhole(window)) return [x];
  const axes = axesOf(window);
  const output = staticShape(context, dy, context.node, axes);
  const pads = [...window.padsBegin, ...window.padsEnd];
  const padded = pads.every((pad) => pad === 0)
    ? x
    : context.emit("Pad", [x, shapeConstant(context, pads), "", shapeConstant(context, axes)]);
  const steps = shapeConstant(context, window.strides);
  return placesOf(window.kernel).map((tap) => {
    const starts = tap.map((at, axis) => at * (window.dilations[axis] ?? 1));
    const ends = starts.map(
      (start, axis) => start + ((output[axis] ?? 1) - 1) * (window.strides[axis] ?? 1) + 1,
    );
    const bounds = [starts, ends, axes].map((list) => shapeConstant(context, list));
    return context.emit("Slice", [padded, ...bounds, steps]);
  });
}

/** All places of a kernel, the last axis fastest. */
function placesOf(kernel: readonly number[]): number[][] {
  return kernel.reduce<number[][]>(
    (places, size) =>
      places.flatMap((place) => Array.from({ length: size }, (_, at) => [...place, at])),
    [[]],
  );
}
