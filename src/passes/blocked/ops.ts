// Expansions of a few nodes each: the way into the region and out of it, the convolution, the global pooling.

import { int, intAttribute, intsAttribute, type Node } from "../../graph/graph.ts";
import { input, optional, output, type Views } from "./views.ts";

/** Enter. */
export function enter(v: Views, node: Node): void {
  v.nchwc("ReorderInput", [input(node, 0)], {}, output(node));
}

/** Leave. */
export function leave(v: Views, node: Node): void {
  const x = input(node, 0);
  v.nchwc("ReorderOutput", [x], { channels: int(v.image(x).channels) }, output(node));
}

/** The sizes of a weight: numbers of blocks, and taps. */
function weightSizes(v: Views, node: Node) {
  const [outputs = 0, inputs = 0, height = 0, width = 0] = v.shape(input(node, 0));
  const plain = intAttribute(node, "plain", 0) !== 0;
  const [o, i] = plain ? [outputs / v.block, 1] : [outputs / v.block, inputs / v.block];
  return {
    o,
    i,
    each: plain ? inputs : v.block,
    taps: height * width,
    shape: v.shape(input(node, 0)),
  };
}

/** BlockWeight: [O/B, B, I/B, B, taps] → [O/B, I/B, taps, B of I, B of O]; `plain`: [O/B, I, taps, B of O]. */
export function blockWeight(v: Views, node: Node): void {
  const { o, i, each, taps, shape } = weightSizes(v, node);
  const parts = v.view(input(node, 0), [o, v.block, i, each, taps]);
  const plain = intAttribute(node, "plain", 0) !== 0;
  const moved = v.transpose(parts, plain ? [0, 2, 3, 4, 1] : [0, 2, 4, 3, 1]);
  v.view(moved, shape, output(node));
}

/** PlainWeight: the way back. */
export function plainWeight(v: Views, node: Node): void {
  const { o, i, each, taps, shape } = weightSizes(v, node);
  const plain = intAttribute(node, "plain", 0) !== 0;
  const parts = v.view(
    input(node, 0),
    plain ? [o, i, each, taps, v.block] : [o, i, taps, each, v.block],
  );
  v.view(v.transpose(parts, plain ? [0, 4, 1, 2, 3] : [0, 4, 1, 3, 2]), shape, output(node));
}

/** Conv. */
export function convolution(v: Views, node: Node): void {
  v.conv({
    x: input(node, 0),
    w: input(node, 1),
    bias: optional(node, 2),
    kernel: intsAttribute(node, "kernel_shape") ?? [],
    pads: intsAttribute(node, "pads"),
    strides: intsAttribute(node, "strides"),
    output: output(node),
  });
}

/** GlobalAveragePool: one pixel in blocks lies as it would lie plain. */
export function globalPool(v: Views, node: Node): void {
  const { batch, channels } = v.image(input(node, 0));
  const y = v.nchwc("GlobalAveragePool", [input(node, 0)]);
  v.view(y, [batch, channels, 1, 1], output(node));
}

/** Spread. */
export function spread(v: Views, node: Node): void {
  const dy = input(node, 0);
  const { batch, channels, blocks } = v.image(dy);
  const { height, width, pixels } = v.image(output(node));
  const share = v.emit("Mul", [dy, v.number(1 / pixels)]);
  const each = v.view(share, [batch * blocks, 1, v.block]);
  const all = v.emit("Expand", [each, v.integers([batch * blocks, pixels, v.block])]);
  v.view(all, [batch, channels, height, width], output(node));
}
