// Convolutions, by their definition.

import { intAttribute, intsAttribute, type Node, stringAttribute } from "../../src/graph/graph.ts";
import { type Array64, flatten, forEachIndex, sizeOf, stridesOf } from "./array.ts";
import { type Call, type Kernels, operand } from "./kernel.ts";
import { inside, tapPlace, type Window, windowOf } from "./window.ts";

/** y[n, o, p] = Σ over channels c of the group and taps t of x[n, c, p·stride + t·dilation - pad] · w[o, c, t]. */
function conv(call: Call): Array64[] {
  const [x, w] = [operand(call, 0), operand(call, 1)];
  const [, , bias] = call.inputs;
  const [batch = 0, channels = 0, ...spatial] = x.shape;
  const [outputs = 0, depth = 0, ...kernel] = w.shape;
  const group = intAttribute(call.node, "group", 1);
  if (depth * group !== channels) throw new Error("channels of a Conv do not fit");
  const window = windowOf(call.node, kernel, spatial);
  const shape = [batch, outputs, ...window.output];
  const inStrides = stridesOf(x.shape);
  const space = inStrides.slice(2);
  const taps = sizeOf(kernel);
  const perGroup = outputs / group;
  const values = new Float64Array(sizeOf(shape));
  forEachIndex(shape, (index, flat) => {
    const [n = 0, o = 0, ...at] = index;
    const first = Math.floor(o / perGroup) * depth;
    let sum = bias?.values[o] ?? 0;
    forEachIndex(kernel, (tap, t) => {
      const place = tapPlace(window, at, tap);
      if (!inside(place, spatial)) return;
      const offset = n * (inStrides[0] ?? 0) + flatten(place, space);
      for (let c = 0; c < depth; c++) {
        const value = x.values[offset + (first + c) * (inStrides[1] ?? 0)] ?? Number.NaN;
        sum += value * (w.values[(o * depth + c) * taps + t] ?? Number.NaN);
      }
    });
    values[flat] = sum;
  });
  return [{ dtype: x.dtype, shape, values }];
}

/** Sizes and pads of a transposed convolution (the formulas of the specification). */
function transposedWindow(node: Node, kernel: readonly number[], input: readonly number[]): Window {
  const ones = kernel.map(() => 1);
  const rank = kernel.length;
  const strides = intsAttribute(node, "strides") ?? ones;
  const dilations = intsAttribute(node, "dilations") ?? ones;
  const extra = intsAttribute(node, "output_padding") ?? kernel.map(() => 0);
  const auto = stringAttribute(node, "auto_pad", "NOTSET");
  const whole = input.map((size, axis) => {
    const reach = (dilations[axis] ?? 1) * ((kernel[axis] ?? 1) - 1) + 1;
    return (strides[axis] ?? 1) * (size - 1) + (extra[axis] ?? 0) + reach;
  });
  const declared = intsAttribute(node, "output_shape")?.slice(-rank);
  const same = auto.startsWith("SAME");
  const wanted =
    declared ?? (same ? input.map((size, axis) => size * (strides[axis] ?? 1)) : undefined);
  if (wanted === undefined) {
    const pads = intsAttribute(node, "pads") ?? [...kernel, ...kernel].map(() => 0);
    const before = auto === "VALID" ? kernel.map(() => 0) : pads.slice(0, rank);
    const after = auto === "VALID" ? kernel.map(() => 0) : pads.slice(rank);
    const output = whole.map((size, axis) => size - (before[axis] ?? 0) - (after[axis] ?? 0));
    return { kernel, strides, dilations, before, after, output };
  }
  const over = whole.map((size, axis) => size - (wanted[axis] ?? 0));
  const half = over.map((n) => Math.floor(n / 2));
  const rest = over.map((n, axis) => n - (half[axis] ?? 0));
  const [before, after] = auto === "SAME_UPPER" ? [half, rest] : [rest, half];
  return { kernel, strides, dilations, before, after, output: wanted };
}

/** The adjoint of a convolution: each input element is spread over the places that its window covers. */
function convTranspose(call: Call): Array64[] {
  const [x, w] = [operand(call, 0), operand(call, 1)];
  const [, , bias] = call.inputs;
  const [batch = 0, channels = 0, ...spatial] = x.shape;
  const [, perGroup = 0, ...kernel] = w.shape;
  const group = intAttribute(call.node, "group", 1);
  const window = transposedWindow(call.node, kernel, spatial);
  const shape = [batch, perGroup * group, ...window.output];
  const strides = stridesOf(shape);
  const space = strides.slice(2);
  const taps = sizeOf(kernel);
  const values = new Float64Array(sizeOf(shape));
  const plane = sizeOf(window.output);
  if (bias !== undefined) {
    for (let i = 0; i < values.length; i++) {
      values[i] = bias.values[Math.floor(i / plane) % (perGroup * group)] ?? Number.NaN;
    }
  }
  forEachIndex(x.shape, (index, flat) => {
    const [n = 0, c = 0, ...at] = index;
    const first = Math.floor(c / (channels / group)) * perGroup;
    forEachIndex(kernel, (tap, t) => {
      const place = tapPlace(window, at, tap);
      if (!inside(place, window.output)) return;
      for (let o = 0; o < perGroup; o++) {
        const to = n * (strides[0] ?? 0) + (first + o) * (strides[1] ?? 0) + flatten(place, space);
        const weight = w.values[(c * perGroup + o) * taps + t] ?? Number.NaN;
        values[to] = (values[to] ?? 0) + (x.values[flat] ?? Number.NaN) * weight;
      }
    });
  });
  return [{ dtype: x.dtype, shape, values }];
}

/** Each element of the patches [N, C · kernel, places] is added where its patch lies in the picture (ONNX Col2Im-18). */
function col2Im(call: Call): Array64[] {
  const x = operand(call, 0);
  const [picture, kernel] = [1, 2].map((i) => Array.from(operand(call, i).values));
  if (picture === undefined || kernel === undefined) throw new Error("Col2Im has two sizes");
  const window = windowOf(call.node, kernel, picture);
  const [batch = 0, rows = 0] = x.shape;
  const channels = rows / sizeOf(kernel);
  const shape = [batch, channels, ...picture];
  const values = new Float64Array(sizeOf(shape));
  const strides = stridesOf(picture);
  const plane = sizeOf(picture);
  forEachIndex([batch * channels, ...kernel, ...window.output], (index, flat) => {
    const [n = 0, ...rest] = index;
    const place = tapPlace(window, rest.slice(kernel.length), rest.slice(0, kernel.length));
    if (!inside(place, picture)) return;
    const to = n * plane + flatten(place, strides);
    values[to] = (values[to] ?? 0) + (x.values[flat] ?? Number.NaN);
  });
  return [{ dtype: x.dtype, shape, values }];
}

/** All ops of this family. */
export const convolutions: Kernels = { Col2Im: col2Im, Conv: conv, ConvTranspose: convTranspose };
