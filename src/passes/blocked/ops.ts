// Expansions of a few nodes each: the way into the region and out of it, the convolution, the global pooling.

import { int, intAttribute, intsAttribute, type Node, type ValueName } from "../../graph/graph.ts";
import { isDepthwise } from "../../ops/blocked.ts";
import { input, optional, output, type Views } from "./views.ts";

/** The runtime reorders channels in multiples of this (onnxruntime, contrib_ops/cpu/nchwc_ops.cc). */
const REORDERED = 4;

/** Enter. */
export function enter(v: Views, node: Node): void {
  const x = input(node, 0);
  const { channels } = v.image(x);
  const more = v.image(output(node)).channels - channels;
  const filled =
    channels % REORDERED === 0 ? x : v.emit("Pad", [x, v.integers([0, 0, 0, 0, 0, more, 0, 0])]);
  v.nchwc("ReorderInput", [filled], {}, output(node));
}

/** Leave. */
export function leave(v: Views, node: Node): void {
  const { channels } = v.image(output(node));
  v.nchwc("ReorderOutput", [input(node, 0)], { channels: int(channels) }, output(node));
}

/** The sizes of a weight in blocks: how many there are of outputs and inputs, and inputs in each. */
function weightSizes(v: Views, node: Node, blocks: ValueName) {
  const shape = v.shape(blocks);
  const [outputs = 0, inputs = 0, height = 0, width = 0] = shape;
  const plain = intAttribute(node, "plain", 0) !== 0;
  const each = plain ? inputs : v.block;
  return { shape, plain, o: outputs / v.block, i: inputs / each, each, taps: height * width };
}

/** BlockWeight: [O/B, B, I/B, B, taps] → [O/B, I/B, taps, B of I, B of O]; `plain`: [O/B, I, taps, B of O]. */
export function blockWeight(v: Views, node: Node): void {
  const w = input(node, 0);
  const { shape, plain, o, i, each, taps } = weightSizes(v, node, output(node));
  const more = shape.map((size, axis) => size - (v.shape(w)[axis] ?? 0));
  const filled = more.some((count) => count > 0)
    ? v.emit("Pad", [w, v.integers([0, 0, 0, 0, ...more])])
    : w;
  const parts = v.view(filled, [o, v.block, i, each, taps]);
  const moved = v.transpose(parts, plain ? [0, 2, 3, 4, 1] : [0, 2, 4, 3, 1]);
  v.view(moved, shape, output(node));
}

/** PlainWeight: the way back. */
export function plainWeight(v: Views, node: Node): void {
  const dw = input(node, 0);
  const { shape, plain, o, i, each, taps } = weightSizes(v, node, dw);
  const parts = v.view(dw, plain ? [o, i, each, taps, v.block] : [o, i, taps, each, v.block]);
  const moved = v.transpose(parts, plain ? [0, 4, 1, 2, 3] : [0, 4, 1, 3, 2]);
  const size = v.shape(output(node)).slice(0, 2);
  const whole = size.every((count, axis) => count === shape[axis]);
  const result = v.view(moved, shape, whole ? output(node) : undefined);
  if (whole) return;
  const from = v.integers([0, 0]);
  v.emit("Slice", [result, from, v.integers(size), v.integers([0, 1])], output(node));
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
    group: isDepthwise(node) ? v.image(output(node)).channels : undefined,
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
