// Windows that slide over the spatial axes of [N, C, …]: shared by convolution and pooling.

import { intAttribute, intsAttribute, type Node, stringAttribute } from "../../src/graph/graph.ts";

/** A sliding window along each spatial axis. */
export interface Window {
  readonly kernel: readonly number[];
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  /** Elements added in front of, and behind, each axis. */
  readonly before: readonly number[];
  readonly after: readonly number[];
  /** How many places the window takes along each axis. */
  readonly output: readonly number[];
}

/** The window of a node over an input of given spatial sizes. */
export function windowOf(node: Node, kernel: readonly number[], input: readonly number[]): Window {
  const ones = kernel.map(() => 1);
  const strides = intsAttribute(node, "strides") ?? ones;
  const dilations = intsAttribute(node, "dilations") ?? ones;
  const reach = kernel.map((k, axis) => (dilations[axis] ?? 1) * (k - 1) + 1);
  const pads = intsAttribute(node, "pads") ?? [...kernel, ...kernel].map(() => 0);
  const auto = stringAttribute(node, "auto_pad", "NOTSET");
  const rank = kernel.length;
  const missing = input.map((size, axis) => {
    const stride = strides[axis] ?? 1;
    return Math.max(0, (Math.ceil(size / stride) - 1) * stride + (reach[axis] ?? 1) - size);
  });
  const small = missing.map((n) => Math.floor(n / 2));
  const large = missing.map((n) => Math.ceil(n / 2));
  const none = kernel.map(() => 0);
  let [before, after] = [pads.slice(0, rank), pads.slice(rank)];
  if (auto === "VALID") [before, after] = [none, none];
  if (auto === "SAME_UPPER") [before, after] = [small, large];
  if (auto === "SAME_LOWER") [before, after] = [large, small];
  const ceil = intAttribute(node, "ceil_mode", 0) !== 0;
  const output = input.map((size, axis) => {
    const stride = strides[axis] ?? 1;
    const padded = size + (before[axis] ?? 0) + (after[axis] ?? 0);
    const places = (padded - (reach[axis] ?? 1)) / stride + 1;
    const count = ceil ? Math.ceil(places) : Math.floor(places);
    // A last window that would begin in the padding behind is left out.
    const starts = (count - 1) * stride < size + (before[axis] ?? 0);
    return ceil && !starts ? count - 1 : count;
  });
  return { kernel, strides, dilations, before, after, output };
}

/** Where a window at `at` reads with its tap `tap`: coordinates of the input, which may lie outside. */
export function tapPlace(window: Window, at: readonly number[], tap: readonly number[]): number[] {
  return at.map(
    (o, axis) =>
      o * (window.strides[axis] ?? 1) +
      (tap[axis] ?? 0) * (window.dilations[axis] ?? 1) -
      (window.before[axis] ?? 0),
  );
}

/** Whether coordinates lie inside. */
export function inside(place: readonly number[], shape: readonly number[]): boolean {
  return place.every((at, axis) => at >= 0 && at < (shape[axis] ?? 0));
}
