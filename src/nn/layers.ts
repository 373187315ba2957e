// The basic layers. Each states the shape that it takes and gives; N is the batch.

import { int, ints, type ValueName } from "../graph/graph.ts";
import { formatShape } from "../graph/shape.ts";
import { type Layer, layer } from "./layer.ts";
import type { Net } from "./net.ts";

/** Options of a convolution. */
export interface ConvOptions {
  /** Default 1. */
  readonly stride?: number;
  /** Pixels of zeros around the image. Default: as many as keep the size at stride 1. */
  readonly padding?: number;
  /** Default true. Leave it out before a normalisation, which has its own. */
  readonly bias?: boolean;
}

/** Layers one after another. */
export function sequential(...layers: readonly Layer[]): Layer {
  return layer("net", (net, x) => layers.reduce((value, next) => net.inside(next, value), x));
}

/**
 * Convolution over images, `[N, C, H, W]` → `[N, channels, H', W']`, weights `[channels, C, k, k]`
 * from `he`.
 *
 * @example
 * nn.conv(16, 3, { stride: 2 })
 */
export function conv(channels: number, kernel: number, options: ConvOptions = {}): Layer {
  const { stride = 1, padding = Math.floor(kernel / 2), bias = true } = options;
  return layer("conv", (net, x) => {
    const shape = net.shape(x);
    if (shape.length !== 4) {
      net.fail(
        "nn/rank",
        `a convolution takes [N,C,H,W], it got ${formatShape(shape)}`,
        "Give the example the shape [channels, height, width].",
      );
    }
    const weight = net.weight("weight", [channels, net.channels(x), kernel, kernel], "he");
    const inputs = bias ? [x, weight, net.weight("bias", [channels], 0)] : [x, weight];
    return net.emit("Conv", inputs, {
      attributes: {
        kernel_shape: ints([kernel, kernel]),
        strides: ints([stride, stride]),
        pads: ints([padding, padding, padding, padding]),
      },
    });
  });
}

/**
 * Batch normalisation over axis 1 (Ioffe and Szegedy 2015): statistics of the batch in training, running
 * ones (momentum 0.9) in inference. Keeps the shape.
 */
export function batchNorm(): Layer {
  return layer("norm", (net, x) => {
    const channels = net.channels(x);
    const weight = (name: string, value: number): ValueName => net.weight(name, [channels], value);
    return net.emit("BatchNormalization", [
      x,
      weight("scale", 1),
      weight("bias", 0),
      weight("running_mean", 0),
      weight("running_variance", 1),
    ]);
  });
}

/** max(x, 0). Keeps the shape. */
export function relu(): Layer {
  return layer("relu", (net, x) => net.emit("Relu", [x]));
}

/** Mean over all pixels, `[N, C, H, W]` → `[N, C]`. */
export function globalPool(): Layer {
  return layer("pool", (net, x) => {
    const pooled = net.emit("GlobalAveragePool", [x]);
    return flat(net, pooled);
  });
}

/** All axes behind the batch in one, `[N, …]` → `[N, K]`. */
export function flatten(): Layer {
  return layer("flatten", flat);
}

function flat(net: Net, x: ValueName): ValueName {
  return net.emit("Flatten", [x], { attributes: { axis: int(1) } });
}

/** Fully connected, `[N, K]` → `[N, units]`, weights `[units, K]` from `xavier`. */
export function dense(units: number): Layer {
  return layer("dense", (net, x) => {
    const shape = net.shape(x);
    if (shape.length !== 2) {
      net.fail(
        "nn/rank",
        `a dense layer takes [N,K], it got ${formatShape(shape)}`,
        "Put nn.globalPool() or nn.flatten() before it.",
      );
    }
    const weight = net.weight("weight", [units, net.channels(x)], "xavier");
    return net.emit("Gemm", [x, weight, net.weight("bias", [units], 0)], {
      attributes: { transB: int(1) },
    });
  });
}
