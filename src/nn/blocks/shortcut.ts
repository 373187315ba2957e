// The shortcut of a skip: what carries x past the branch, and what makes it fit where the branch changes
// channels or size (He et al. 2016, "Deep residual learning for image recognition", section 3.3 and
// options A to C of section 4.1).

import type { ValueName } from "../../graph/graph.ts";
import type { Shape } from "../../graph/shape.ts";
import { int64, scalar } from "../../graph/tensor.ts";
import { type Layer, layer } from "../layer.ts";
import { avgPool, conv, conv1d, dense } from "../layers/index.ts";
import type { Net } from "../net.ts";
import { mismatch } from "./merge.ts";

/**
 * What the shortcut of a block is.
 *
 * - `auto`: the identity where the shapes agree, else a projection.
 * - `identity`: x itself; other shapes are an error.
 * - `projection`: a 1x1 convolution with the stride of the branch, then a norm (option B).
 * - `pooled`: average pooling by the stride, then a 1x1 convolution where the channels differ (He et al.
 *   2019, "Bag of tricks for image classification", figure 2c).
 * - `padded`: every stride-th pixel, further channels zero; no weights (option A).
 * - `none`: no skip at all, which makes the block plain.
 */
export type Shortcut = "auto" | "identity" | "projection" | "pooled" | "padded" | "none";

/** What a shortcut has to reach. */
export interface ShortcutTarget {
  readonly kind: Exclude<Shortcut, "none">;
  /** What the branch made. */
  readonly branch: ValueName;
  /** By how much the branch shrinks an image. Default: what the sizes say, where they are numbers. */
  readonly stride?: number | undefined;
  /** Behind a projection. */
  readonly norm?: Layer | undefined;
}

/** x, or what has to become of it so that it can be added to the branch. */
export function shortcutOf(net: Net, x: ValueName, target: ShortcutTarget): ValueName {
  const [from, to] = [net.shape(x), net.shape(target.branch)];
  const stride = target.stride ?? strideBetween(from, to);
  const fit = stride === 1 && agree(from, to);
  const change = { from, to, stride, norm: target.norm, branch: target.branch };
  switch (target.kind) {
    case "identity":
      return fit ? x : mismatch(net, [x, target.branch], repair({ from, to, stride }));
    case "auto":
      if (fit) return x;
      return net.inside(projection(change), x);
    case "projection":
      return net.inside(projection(change), x);
    case "padded":
      return fit ? x : net.inside(padded(change), x);
    case "pooled":
      return fit ? x : net.inside(pooled(change), x);
  }
}

/**
 * Whether nothing speaks against the same shape. Sizes behind a stride over a symbol are not known, and a
 * block there can still be an identity.
 */
function agree(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((dim, axis) => dim === b[axis]);
}

interface Change {
  readonly from: Shape;
  readonly to: Shape;
  readonly stride: number;
  readonly norm?: Layer | undefined;
  /** What the shortcut has to reach. */
  readonly branch: ValueName;
}

/** By how much the branch shrinks the last axis of an image. */
function strideBetween(from: Shape, to: Shape): number {
  const [before, after] = [from.at(-1), to.at(-1)];
  if (from.length < 3 || typeof before !== "number" || typeof after !== "number") return 1;
  return Math.max(1, Math.round(before / after));
}

/** A linear map of the channels: 1x1 convolution over images, matrix on the last axis else. */
function projection(change: Change): Layer {
  return layer("shortcut", (net, x) => {
    const y = net.inside(linear(net, x, change), x);
    return change.norm === undefined ? y : net.inside(change.norm, y);
  });
}

function linear(net: Net, x: ValueName, { from, to, stride, branch }: Change): Layer {
  const size = (axis: number): number => {
    const dim = to.at(axis);
    return typeof dim === "number" ? dim : mismatch(net, [x, branch], "Fix that size.");
  };
  if (to.length === 4) return conv(size(1), 1, { stride, bias: false });
  // [N, C, L] where the channels or the length change, [N, S, D] where the last axis does.
  if (to.length === 3 && (from[1] !== to[1] || stride > 1)) {
    return conv1d(size(1), 1, { stride, bias: false });
  }
  return dense(size(-1), { bias: false });
}

function pooled(change: Change): Layer {
  const { from, to, stride, norm, branch } = change;
  return layer("shortcut", (net, x) => {
    if (to.length !== 4) mismatch(net, [x, branch], 'Use shortcut "auto".');
    const pool = avgPool(stride, { stride, padding: 0, ceil: true, countPadding: false });
    const small = stride === 1 ? x : net.inside(pool, x);
    if (from[1] === to[1]) return small;
    const y = net.inside(linear(net, x, { ...change, stride: 1 }), small);
    return norm === undefined ? y : net.inside(norm, y);
  });
}

/** No weights: the pixels that the stride meets, and channels of zeros behind those of x. */
function padded({ from, to, stride, branch }: Change): Layer {
  return layer("shortcut", (net, x) => {
    const [before, after] = [from[1], to[1]];
    const numbers = typeof before === "number" && typeof after === "number";
    if (to.length !== 4 || !numbers || after < before) {
      const fix = `Channels can only be added. ${repair({ from, to, stride })}`;
      return mismatch(net, [x, branch], fix);
    }
    const small = stride === 1 ? x : everyPixel(net, x, stride);
    if (after === before) return small;
    const pads = int64([8], [0, 0, 0, 0, 0, after - before, 0, 0]);
    return net.emit("Pad", [small, net.constant(pads), net.constant(scalar(0), "zero")]);
  });
}

function everyPixel(net: Net, x: ValueName, stride: number): ValueName {
  const pair = (value: number): ValueName => net.constant(int64([2], [value, value]));
  const axes = net.constant(int64([2], [2, 3]));
  // Slice clamps an end beyond the axis (ONNX Slice-13).
  return net.emit("Slice", [x, pair(0), pair(2 ** 31 - 1), axes, pair(stride)]);
}

function repair({ from, to, stride }: Pick<Change, "from" | "to" | "stride">): string {
  const axis = to.length === 2 ? -1 : 1;
  return `Use shortcut "auto": a 1x1 projection ${from.at(axis)}→${to.at(axis)} with stride ${stride}.`;
}
