// Pooling: fixed windows, all pixels, and windows that give a wanted size.

import { type Attribute, int, ints, type ValueName } from "../../graph/graph.ts";
import { float32 } from "../../graph/tensor.ts";
import { type Layer, layer } from "../layer.ts";
import type { Net } from "../net.ts";
import { fitting } from "./conv.ts";
import { positive, ranked, type Size, wholeSizes } from "./shared.ts";

/** Options of a pooling. */
export interface PoolOptions {
  /** Default: the kernel, so that windows do not overlap. */
  readonly stride?: Size;
  /** Pixels around the image: a number or `[vertical, horizontal]`. Default 0. */
  readonly padding?: Size;
  /** Rounds sizes up: the last window may reach beyond the padded image. Default false. */
  readonly ceil?: boolean;
}

/** Options of an average pooling. */
export interface AvgPoolOptions extends PoolOptions {
  /** Zeros of the padding count as pixels. Default true. */
  readonly countPadding?: boolean;
}

/**
 * The largest pixel of each window, `[N, C, H, W]` → `[N, C, H', W']` with
 * H' = ⌊(H + 2·padding - kernel) / stride⌋ + 1; of sequences `[N, C, L]` likewise.
 *
 * @example
 * nn.maxPool(3, { stride: 2, padding: 1 })
 */
export function maxPool(kernel: Size, options: PoolOptions = {}): Layer {
  return layer("pool", (net, x) => pooled(net, x, { op: "MaxPool", kernel, options }));
}

/**
 * The mean of each window, `[N, C, H, W]` → `[N, C, H', W']`; of sequences `[N, C, L]` likewise.
 *
 * @example
 * nn.avgPool(2)
 */
export function avgPool(kernel: Size, options: AvgPoolOptions = {}): Layer {
  const { countPadding = true } = options;
  const more = countPadding ? { count_include_pad: int(1) } : {};
  return layer("pool", (net, x) => pooled(net, x, { op: "AveragePool", kernel, options, more }));
}

interface Pooling {
  readonly op: "MaxPool" | "AveragePool";
  readonly kernel: Size;
  readonly options: PoolOptions;
  readonly more?: Record<string, Attribute>;
}

function pooled(net: Net, x: ValueName, pooling: Pooling): ValueName {
  const { op, kernel, options, more } = pooling;
  const shape = ranked(net, x, {
    what: "a pooling",
    form: "[N,C,H,W] or [N,C,L]",
    ranks: [3, 4],
    fix: "Put it before nn.flatten() and nn.globalPool().",
  });
  const along = shape.length - 2;
  const window = wholeSizes(net, "the kernel", kernel, { axes: along });
  const strides = wholeSizes(net, "the stride", options.stride ?? kernel, { axes: along });
  const padding = wholeSizes(net, "the padding", options.padding ?? 0, { axes: along, least: 0 });
  if (padding.some((one, axis) => one >= (window[axis] ?? 1))) {
    const text = `the padding [${padding}] is as large as the kernel [${window}], and a window sees nothing`;
    net.fail("nn/option", text, "Give less padding, or a larger kernel.");
  }
  const attributes = {
    kernel_shape: ints(window),
    strides: ints(strides),
    pads: ints([...padding, ...padding]),
    ...(options.ceil === true ? { ceil_mode: int(1) } : {}),
    ...more,
  };
  return fitting(net, x, net.emit(op, [x], { attributes }));
}

/** Mean over all pixels, `[N, C, H, W]` → `[N, C]`; of sequences `[N, C, L]` likewise. */
export function globalPool(): Layer {
  return layer("pool", (net, x) => {
    ranked(net, x, {
      what: "a global pooling",
      form: "[N,C,H,W] or [N,C,L]",
      ranks: [3, 4],
      fix: "Leave it out: there are no pixels any more.",
    });
    const all = net.emit("GlobalAveragePool", [x]);
    return net.emit("Flatten", [all], { attributes: { axis: int(1) } });
  });
}

/**
 * Mean over windows that give an image of the wanted size, `[N, C, H, W]` → `[N, C, height, width]`: window i
 * of n goes from ⌊i·H/n⌋ to ⌈(i+1)·H/n⌉. Sizes that divide evenly are an average pooling, others two products
 * with matrices of shares. H and W must be numbers, except for an image of one pixel.
 *
 * @example
 * nn.adaptivePool(7, 7)
 */
export function adaptivePool(height: number, width: number): Layer {
  return layer("pool", (net, x) => {
    ranked(net, x, {
      what: "an adaptive pooling",
      form: "[N,C,H,W]",
      ranks: [4],
      fix: "Give the example the shape [channels, height, width].",
    });
    positive(net, "the height", height);
    positive(net, "the width", width);
    if (height === 1 && width === 1) return net.emit("GlobalAveragePool", [x]);
    const [high, wide] = [net.size(x, 2), net.size(x, 3)];
    if (high === height && wide === width) return x;
    if (high % height === 0 && wide % width === 0) {
      const kernel = ints([high / height, wide / width]);
      return net.emit("AveragePool", [x], {
        attributes: { kernel_shape: kernel, strides: kernel },
      });
    }
    const rows = net.constant(float32([height, high], shares(high, height)), "rows");
    const columns = new Float32Array(wide * width);
    for (const [i, share] of shares(wide, width).entries()) {
      columns[(i % wide) * width + Math.floor(i / wide)] = share;
    }
    const right = net.constant(float32([wide, width], columns), "columns");
    return net.emit("MatMul", [net.emit("MatMul", [rows, x]), right]);
  });
}

/** `[to, from]`, row by row: how much of each pixel goes into each window. */
function shares(from: number, to: number): Float32Array {
  const matrix = new Float32Array(from * to);
  for (let i = 0; i < to; i++) {
    const start = Math.floor((i * from) / to);
    const end = Math.ceil(((i + 1) * from) / to);
    matrix.fill(1 / (end - start), i * from + start, i * from + end);
  }
  return matrix;
}
