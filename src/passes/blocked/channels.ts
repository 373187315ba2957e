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

/** As one depthwise convolution of one tap over the image seen as one row of pixels. */
export function affine(v: Views, sizes: Image, parts: Affine): ValueName {
  const { batch, channels, height, width, pixels } = sizes;
  const row = (x: ValueName): ValueName => v.view(x, [batch, channels, 1, pixels]);
  const y = v.conv({
    x: row(parts.x),
    w: v.view(parts.scale, [channels, 1, 1, 1]),
    bias: parts.offset,
    sum: parts.sum === undefined ? undefined : row(parts.sum),
    kernel: [1, 1],
    group: channels,
    relu: parts.relu,
  });
  return v.view(y, [batch, channels, height, width], parts.output);
}

/** Mean over batch and pixels: [C]. */
export function channelMean(v: Views, x: ValueName, { batch, channels }: Image): ValueName {
  const perImage = v.view(v.nchwc("GlobalAveragePool", [x]), [batch, channels]);
  return v.emit("ReduceMean", [perImage, v.integers([0])], undefined, {
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
  const mean = channelMean(v, input(node, 0), sizes);
  v.emit("Mul", [mean, v.number(sizes.batch * sizes.pixels)], output(node));
}

/** ScaleChannels. */
export function scaleChannels(v: Views, node: Node): void {
  const x = input(node, 0);
  const parts = { x, scale: input(node, 1), sum: optional(node, 2), output: output(node) };
  affine(v, v.image(x), parts);
}
