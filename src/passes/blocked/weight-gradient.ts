// The gradient of a blocked convolution in its weight, as one convolution: the batch takes the place of the
// channels and the image of dy that of the kernel, with stride and dilation exchanged. Both are brought into
// blocks of examples; what comes out lies as weights lie.

import { int, intAttribute, intsAttribute, type Node, type ValueName } from "../../graph/graph.ts";
import { isDepthwise } from "../../ops/blocked.ts";
import { type Image, input, optional, output, type Views } from "./views.ts";

interface Geometry {
  readonly kernel: readonly [number, number];
  /** Rows and columns of zeros that are read before and behind x; less than 0: x is longer, one tap. */
  readonly pads: { top: number; left: number; bottom: number; right: number };
  readonly stride: number;
}

/** WeightGradient. */
export function weightGradient(v: Views, node: Node): void {
  if (isDepthwise(node)) ofEachChannel(v, node);
  else ofAllChannels(v, node);
}

function ofAllChannels(v: Views, node: Node): void {
  const plain = intAttribute(node, "plain", 0) !== 0;
  const { value: x, sizes: from } = filled(v, input(node, 0));
  const { value: dy, sizes: to } = filled(v, input(node, 1));
  const shape = geometry(node, from, to);
  const [high, wide] = shape.kernel;
  const inputs = plain ? from.channels : from.blocks;
  const each = high * wide * v.block * (plain ? 1 : v.block);
  const halves = halvesOf(inputs * high * Math.ceil(to.blocks / FILTER_SET), to.batch / v.block);
  const kernel = v.once(`examples of dy ${dy} ${halves}`, () => asKernel(v, dy, to, halves));
  const parts = { from, to, shape, kernel, halves };
  const both = plain ? ofPlainInput(v, x, parts) : ofBlocks(v, x, parts);
  const raw = halves === 1 ? both : summed(v, both, [inputs, halves, to.blocks * each]);
  const scaled = scaledBy(v, raw, optional(node, 2), { inputs, outputs: to.blocks, each });
  const moved = v.swapped(scaled, [inputs, to.blocks, each]);
  v.view(moved, [to.channels, from.channels, high, wide], output(node));
}

/** Each channel of each example is convolved with its own dy: one depthwise convolution over all of them. */
function ofEachChannel(v: Views, node: Node): void {
  const [x, dy] = [input(node, 0), input(node, 1)];
  const [from, to] = [v.image(x), v.image(dy)];
  const { kernel, pads, stride } = geometry(node, from, to);
  const { batch, channels, blocks } = from;
  const all = batch * channels;
  const perImage = v.conv({
    x: v.view(x, [1, all, from.height, from.width]),
    w: v.view(dy, [all, 1, to.height, to.width]),
    kernel: [to.height, to.width],
    pads: [pads.top, pads.left, pads.bottom, pads.right],
    dilations: [stride, stride],
    group: all,
  });
  const taps = kernel[0] * kernel[1];
  const rows = v.view(perImage, [batch, blocks, taps, v.block]);
  const sum = v.emit("ReduceSum", [rows, v.integers([0])], undefined, {
    attributes: { keepdims: int(0) },
  });
  const scale = optional(node, 2);
  const scaled =
    scale === undefined ? sum : v.emit("Mul", [sum, v.view(scale, [blocks, 1, v.block])]);
  v.view(scaled, [channels, 1, ...kernel], output(node));
}

/** Output blocks that the runtime computes together (onnxruntime, mlas/lib/snchwc.cpp, FilterSetSize). */
const FILTER_SET = 4;

/**
 * Rows of the result are what threads divide among each other. Where there is an odd number of them, as at 16
 * channels three for three taps, each half of the batch is a group of its own, and the halves are summed.
 */
function halvesOf(rows: number, groups: number): 1 | 2 {
  return rows % 2 === 1 && groups % 2 === 0 ? 2 : 1;
}

function summed(v: Views, both: ValueName, sizes: readonly [number, number, number]): ValueName {
  return v.emit("ReduceSum", [v.view(both, sizes), v.integers([1])], undefined, {
    attributes: { keepdims: int(0) },
  });
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

/** dy as a kernel over its pixels: [O/B, N/B, pixels, B of N, B of O], for each half of the batch. */
function asKernel(
  v: Views,
  dy: ValueName,
  { batch, channels, blocks, pixels, height, width }: Image,
  halves: number,
): ValueName {
  const groups = batch / v.block;
  const flat = v.view(dy, [groups, 1, v.block, blocks * pixels * v.block]);
  const byExample = v.nchwc("ReorderInput", [flat], { channels_last: int(1) });
  const cell = v.block * v.block;
  const moved = v.swapped(byExample, [groups / halves, blocks, pixels * cell], halves);
  return v.view(moved, [halves * channels, batch / halves, height, width]);
}

interface Parts {
  readonly from: Image;
  readonly to: Image;
  readonly shape: Geometry;
  readonly kernel: ValueName;
  readonly halves: number;
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
function ofBlocks(v: Views, x: ValueName, { from, to, shape, kernel, halves }: Parts): ValueName {
  const examples = v.once(`examples of ${x}`, () => byExamples(v, x, from));
  const { top, left, bottom, right } = shape.pads;
  const { stride } = shape;
  const group = halves === 1 ? undefined : halves;
  const place = { x: "", w: kernel, kernel: [to.height, to.width], group };
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
function ofPlainInput(v: Views, x: ValueName, { to, shape, kernel, halves }: Parts): ValueName {
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
    group: halves === 1 ? undefined : halves,
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
