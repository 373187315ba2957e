// One pass over an image: a factor and an offset for each channel, a sum for each, a product of two images
// summed for each.

import type { Node, ValueName } from "../../graph/graph.ts";
import { int } from "../../graph/graph.ts";
import { type Image, input, optional, output, type Views } from "./views.ts";

/** What an affine map over channels is made of: s·x + t + sum, then Relu. */
export interface Affine {
  readonly x: ValueName;
  readonly scale: ValueName;
  readonly offset?: ValueName | undefined;
  readonly sum?: ValueName | undefined;
  readonly relu?: boolean | undefined;
  readonly output?: ValueName | undefined;
}

/** As one depthwise convolution of one tap. */
export function affine(v: Views, { channels }: Image, parts: Affine): ValueName {
  return v.conv({
    x: parts.x,
    w: v.view(parts.scale, [channels, 1, 1, 1]),
    bias: parts.offset,
    sum: parts.sum,
    kernel: [1, 1],
    group: channels,
    relu: parts.relu,
    output: parts.output,
  });
}

/** Mean over batch and pixels: [C]. */
export function channelMean(v: Views, x: ValueName, output?: ValueName): ValueName {
  const perImage = v.nchwc("GlobalAveragePool", [x]);
  return v.emit("ReduceMean", [perImage, v.integers([0, 2, 3])], output, {
    attributes: { keepdims: int(0) },
  });
}

/**
 * Σ x·y over batch and pixels: [C]. A depthwise convolution whose kernel is the other image: one pass, where a
 * batched MatMul of such narrow matrices takes ten times as long.
 */
export function channelDot(v: Views, x: ValueName, y: ValueName, sizes: Image): ValueName {
  const { batch, channels, pixels } = sizes;
  const all = batch * channels;
  const perImage = v.conv({
    x: v.view(x, [1, all, 1, pixels]),
    w: v.view(y, [all, 1, 1, pixels]),
    kernel: [1, pixels],
    group: all,
  });
  const rows = v.view(perImage, [batch, channels]);
  return v.emit("ReduceSum", [rows, v.integers([0])], undefined, {
    attributes: { keepdims: int(0) },
  });
}

/** ChannelSum. */
export function channelSum(v: Views, node: Node): void {
  const sizes = v.image(input(node, 0));
  const mean = channelMean(v, input(node, 0));
  v.emit("Mul", [mean, v.number(sizes.batch * sizes.pixels)], output(node));
}

/** ScaleChannels. */
export function scaleChannels(v: Views, node: Node): void {
  const x = input(node, 0);
  const parts = { x, scale: input(node, 1), sum: optional(node, 2), output: output(node) };
  affine(v, v.image(x), parts);
}
