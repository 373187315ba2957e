// The gradient of a blocked convolution in its weight, as one convolution: the batch takes the place of the
// channels and the image of dy that of the kernel, with stride and dilation exchanged. Both are brought into
// blocks of examples; what comes out lies as weights lie.

import { int, intAttribute, intsAttribute, type Node, type ValueName } from "../../graph/graph.ts";
import { type Image, input, optional, output, type Views } from "./views.ts";

interface Geometry {
  readonly kernel: readonly [number, number];
  /** Rows and columns of zeros that are read before and behind x; less than 0: x is longer, one tap. */
  readonly pads: { top: number; left: number; bottom: number; right: number };
  readonly stride: number;
}

/** WeightGradient. */
export function weightGradient(v: Views, node: Node): void {
  const plain = intAttribute(node, "plain", 0) !== 0;
  const { value: x, sizes: from } = filled(v, input(node, 0));
  const { value: dy, sizes: to } = filled(v, input(node, 1));
  const shape = geometry(node, from, to);
  const kernel = v.once(`examples of dy ${dy}`, () => asKernel(v, dy, to));
  const raw = plain
    ? ofPlainInput(v, x, { from, to, shape, kernel })
    : ofBlocks(v, x, { from, to, shape, kernel });
  const [high, wide] = shape.kernel;
  const inputs = plain ? from.channels : from.blocks;
  const each = high * wide * v.block * (plain ? 1 : v.block);
  const scaled = scaledBy(v, raw, optional(node, 2), { inputs, outputs: to.blocks, each });
  const moved = v.swapped(scaled, [inputs, to.blocks, each]);
  v.view(moved, [to.channels, from.channels, high, wide], output(node));
}

/** An image with examples of zeros behind its own, so that they fill blocks. */
function filled(v: Views, name: ValueName): { value: ValueName; sizes: Image } {
  const sizes = v.image(name);
  const { batch, channels, height, width } = sizes;
  const whole = Math.ceil(batch / v.block) * v.block;
  if (whole === batch) return { value: name, sizes };
  const value = v.once(`filled ${name}`, () => {
    const flat = v.view(name, [batch, channels * height * width]);
    const more = v.emit("Pad", [flat, v.integers([0, 0, whole - batch, 0])]);
    return v.view(more, [whole, channels, height, width]);
  });
  return { value, sizes: { ...sizes, batch: whole } };
}

function geometry(node: Node, from: Image, to: Image): Geometry {
  const [high = 1, wide = 1] = intsAttribute(node, "kernel_shape") ?? [];
  const [top = 0, left = 0] = intsAttribute(node, "pads") ?? [];
  const [stride = 1] = intsAttribute(node, "strides") ?? [1];
  const bottom = stride * (to.height - 1) + high - from.height - top;
  const right = stride * (to.width - 1) + wide - from.width - left;
  return { kernel: [high, wide], pads: { top, left, bottom, right }, stride };
}

/** dy as a kernel over its pixels: [O/B, N/B, pixels, B of N, B of O]. */
function asKernel(
  v: Views,
  dy: ValueName,
  { batch, channels, blocks, pixels, height, width }: Image,
): ValueName {
  const groups = batch / v.block;
  const flat = v.view(dy, [groups, 1, v.block, blocks * pixels * v.block]);
  const byExample = v.nchwc("ReorderInput", [flat], { channels_last: int(1) });
  const moved = v.swapped(byExample, [groups, blocks, pixels * v.block * v.block]);
  return v.view(moved, [channels, batch, height, width]);
}

interface Parts {
  readonly from: Image;
  readonly to: Image;
  readonly shape: Geometry;
  readonly kernel: ValueName;
}

/** x with examples for channels and the channels of a block along the row: [I/B, N/B, H, W·B, B of N]. */
function byExamples(v: Views, x: ValueName, { batch, blocks, pixels }: Image): ValueName {
  const groups = batch / v.block;
  const flat = v.view(x, [groups, v.block, 1, blocks * pixels * v.block]);
  const reordered = v.nchwc("ReorderInput", [flat]);
  return v.swapped(reordered, [groups, blocks, pixels * v.block * v.block]);
}

/**
 * Zeros at the sides of x are put there first: in the convolution they would make it compute the results at
 * its edges one by one, and two thirds of a 3x3 gradient are edges.
 */
function ofBlocks(v: Views, x: ValueName, { from, to, shape, kernel }: Parts): ValueName {
  const examples = v.once(`examples of ${x}`, () => byExamples(v, x, from));
  const { top, left, bottom, right } = shape.pads;
  const { stride } = shape;
  const place = { x: "", w: kernel, kernel: [to.height, to.width] };
  const sizes = [from.blocks, from.batch];
  if (bottom < 0) {
    // One tap: the pixels that it meets are all that count.
    const met = v.once(`met ${x} ${stride}`, () => everyPixel(v, examples, from, stride));
    const image = v.view(met, [...sizes, to.height, to.width * v.block]);
    return v.conv({ ...place, x: image, dilations: [1, v.block] });
  }
  const cell = v.block * v.block;
  const rows = (from.blocks * from.batch * from.height) / v.block;
  const padded =
    left + right === 0
      ? examples
      : v.once(`padded ${x} ${left} ${right}`, () => {
          const pads = v.integers([0, left * cell, 0, right * cell]);
          return v.emit("Pad", [v.view(examples, [rows, from.width * cell]), pads]);
        });
  return v.conv({
    ...place,
    x: v.view(padded, [...sizes, from.height, (left + from.width + right) * v.block]),
    pads: [top, 0, bottom, 0],
    dilations: [stride, stride * v.block],
  });
}

function everyPixel(v: Views, x: ValueName, from: Image, stride: number): ValueName {
  const images = (from.blocks * from.batch) / v.block;
  const grid = v.view(x, [images, from.height, from.width, v.block * v.block]);
  const ends = v.integers([from.height, from.width]);
  return v.emit("Slice", [
    grid,
    v.integers([0, 0]),
    ends,
    v.integers([1, 2]),
    v.integers([stride, stride]),
  ]);
}

/** x lies plain and has few channels: each is an image of its own. */
function ofPlainInput(v: Views, x: ValueName, { to, shape, kernel }: Parts): ValueName {
  const { top, left, bottom, right } = shape.pads;
  const byChannel = v.transpose(x, [1, 0, 2, 3]);
  // Less than 0 cuts off what no window sees.
  const ends = [Math.min(bottom, 0), right];
  const padded =
    left !== 0 || right !== 0 || bottom < 0
      ? v.emit("Pad", [byChannel, v.integers([0, 0, 0, left, 0, 0, ...ends])])
      : byChannel;
  return v.conv({
    x: v.nchwc("ReorderInput", [padded]),
    w: kernel,
    kernel: [to.height, to.width],
    pads: [top, 0, Math.max(bottom, 0), 0],
    dilations: [shape.stride, shape.stride],
  });
}

/** raw lies [inputs, outputs, each]; scale is one number for each output channel, the last in memory. */
function scaledBy(
  v: Views,
  raw: ValueName,
  scale: ValueName | undefined,
  { inputs, outputs, each }: { inputs: number; outputs: number; each: number },
): ValueName {
  if (scale === undefined) return raw;
  const rows = v.view(raw, [inputs, outputs, each / v.block, v.block]);
  return v.emit("Mul", [rows, v.view(scale, [1, outputs, 1, v.block])]);
}
