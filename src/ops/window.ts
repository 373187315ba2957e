// The arithmetic of sliding windows, shared by convolution and pooling.

import type { Node } from "../graph/graph.ts";
import { intAttribute, intsAttribute, stringAttribute } from "../graph/graph.ts";
import { type Dim, type Shape, UNKNOWN_DIM } from "../graph/shape.ts";

/** Window of a convolution or pooling over the spatial axes, defaults filled in. */
export interface Window {
  readonly kernel: readonly number[];
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  readonly padsBegin: readonly number[];
  readonly padsEnd: readonly number[];
}

/** A window and the number of groups into which channels are divided. */
export interface Sliding {
  readonly window: Window;
  readonly group: number;
}

/** The axes of a picture that a window moves along. */
export function axesOf(window: Window): number[] {
  return window.kernel.map((_, axis) => axis + 2);
}

/** Spatial output sizes; a symbol stays a symbol where the window does not change the size. */
export function windowOutput(window: Window, spatial: Shape, ceilMode: boolean): Shape {
  return spatial.map((size, axis) => {
    const [k = 1, s = 1, d = 1] = [
      window.kernel[axis],
      window.strides[axis],
      window.dilations[axis],
    ];
    const pads = (window.padsBegin[axis] ?? 0) + (window.padsEnd[axis] ?? 0);
    const reach = d * (k - 1) + 1;
    if (typeof size !== "number") return s === 1 && pads === reach - 1 ? size : UNKNOWN_DIM;
    const steps = (size + pads - reach) / s;
    if (steps < 0) return UNKNOWN_DIM;
    if (!ceilMode) return Math.floor(steps) + 1;
    // A window may not start in the padding at the end (ONNX MaxPool, ceil_mode).
    const count = Math.ceil(steps) + 1;
    return (count - 1) * s >= size + (window.padsBegin[axis] ?? 0) ? count - 1 : count;
  });
}

/** The window that a node's attributes describe, or undefined where sizes are unknown. */
export function windowOf(
  node: Node,
  kernelShape: readonly Dim[] | undefined,
  spatial: Shape,
): Window | undefined {
  const kernel = intsAttribute(node, "kernel_shape") ?? kernelShape;
  if (kernel?.length !== spatial.length) return undefined;
  if (!kernel.every((dim) => typeof dim === "number")) return undefined;
  const sizes = kernel as readonly number[];
  const ones = sizes.map(() => 1);
  const strides = intsAttribute(node, "strides") ?? ones;
  const dilations = intsAttribute(node, "dilations") ?? ones;
  const rank = sizes.length;
  const pads = automaticPads(node, sizes, strides, dilations, spatial);
  return pads === undefined
    ? undefined
    : {
        kernel: sizes,
        strides,
        dilations,
        padsBegin: pads.slice(0, rank),
        padsEnd: pads.slice(rank),
      };
}

function automaticPads(
  node: Node,
  kernel: readonly number[],
  strides: readonly number[],
  dilations: readonly number[],
  spatial: Shape,
): readonly number[] | undefined {
  const mode = stringAttribute(node, "auto_pad", "NOTSET");
  if (mode === "NOTSET") return intsAttribute(node, "pads") ?? kernel.flatMap(() => [0, 0]);
  if (mode === "VALID") return kernel.flatMap(() => [0, 0]);
  const begin: number[] = [];
  const end: number[] = [];
  for (const [axis, k] of kernel.entries()) {
    const size = spatial[axis];
    const stride = strides[axis] ?? 1;
    if (typeof size !== "number" && stride !== 1) return undefined;
    const length = typeof size === "number" ? size : 0;
    const reach = (dilations[axis] ?? 1) * (k - 1) + 1;
    const total =
      stride === 1
        ? reach - 1
        : Math.max(0, (Math.ceil(length / stride) - 1) * stride + reach - length);
    const small = Math.floor(total / 2);
    begin.push(mode === "SAME_UPPER" ? small : total - small);
    end.push(mode === "SAME_UPPER" ? total - small : small);
  }
  return [...begin, ...end];
}

/** Whether the node rounds output sizes up. */
export function ceilMode(node: Node): boolean {
  return intAttribute(node, "ceil_mode", 0) !== 0;
}
