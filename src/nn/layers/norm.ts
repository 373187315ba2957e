// Normalisations. Gains are named `scale`, offsets `bias`.

import { float, int, ints, type ValueName } from "../../graph/graph.ts";
import { formatShape, isStatic, normalizeAxis } from "../../graph/shape.ts";
import { float32, scalar } from "../../graph/tensor.ts";
import type { Init } from "../init.ts";
import { type Layer, layer } from "../layer.ts";
import type { Net } from "../net.ts";
import { integerList, overChannels, ranked } from "./shared.ts";

/** Options of a batch normalisation. */
export interface BatchNormOptions {
  /** How the gain starts. Default 1; 0 for the last one of a residual branch (Goyal et al. 2017, 5.1). */
  readonly scale?: Init;
  /** Added to the variance. Default 1e-5. */
  readonly epsilon?: number;
}

/**
 * Batch normalisation over axis 1 (Ioffe and Szegedy 2015): statistics of the batch in training, running
 * ones (momentum 0.9) in inference. Keeps the shape.
 *
 * @example
 * nn.batchNorm({ scale: 0 })
 */
export function batchNorm(options: BatchNormOptions = {}): Layer {
  const { scale = 1, epsilon = 1e-5 } = options;
  return layer("norm", (net, x) => {
    const channels = net.channels(x);
    const weight = (name: string, init: Init): ValueName => net.weight(name, [channels], init);
    return net.emit(
      "BatchNormalization",
      [
        x,
        weight("scale", scale),
        weight("bias", 0),
        weight("running_mean", 0),
        weight("running_variance", 1),
      ],
      epsilon === 1e-5 ? {} : { attributes: { epsilon: float(epsilon) } },
    );
  });
}

/** Options of a layer normalisation. */
export interface LayerNormOptions {
  /** Default 1e-5. */
  readonly epsilon?: number;
  /** Default true. */
  readonly bias?: boolean;
  /** The axis that is normalised; 1 for the channels of images (Liu et al. 2022, ConvNeXt). Default: the last. */
  readonly axis?: number;
}

/**
 * Layer normalisation over one axis (Ba et al. 2016): (x - mean) / √(variance + ε) · scale + bias. Keeps the
 * shape.
 *
 * @example
 * nn.layerNorm({ axis: 1, epsilon: 1e-6 })
 */
export function layerNorm(options: LayerNormOptions = {}): Layer {
  const { epsilon = 1e-5, bias = true, axis = -1 } = options;
  return layer("norm", (net, x) => {
    const rank = net.shape(x).length;
    const along = normalizeAxis(axis, rank);
    if (along === undefined || along === 0) {
      const text = `axis ${axis} of ${formatShape(net.shape(x))} cannot be normalised`;
      return net.fail("nn/axis", text, "Choose an axis behind the batch.");
    }
    const size = net.size(x, along);
    const weights = [net.weight("scale", [size], 1)];
    if (bias) weights.push(net.weight("bias", [size], 0));
    const attributes = { axis: int(-1), epsilon: float(epsilon) };
    const normed = (v: ValueName): ValueName =>
      net.emit("LayerNormalization", [v, ...weights], { attributes });
    if (along === rank - 1) return normed(x);
    const there = axes(rank).filter((one) => one !== along);
    const moved = [...there, along];
    const back = axes(rank).map((one) => moved.indexOf(one));
    const last = net.emit("Transpose", [x], { attributes: { perm: ints(moved) } });
    return net.emit("Transpose", [normed(last)], { attributes: { perm: ints(back) } });
  });
}

function axes(rank: number): number[] {
  return Array.from({ length: rank }, (_, axis) => axis);
}

/**
 * Group normalisation (Wu and He 2018): mean and variance over each group of channels and all pixels, gain
 * and offset for each channel. `[N, C, …]` keeps its shape. Written as an instance normalisation of reshaped
 * groups, which every operator set from 6 on computes.
 *
 * @example
 * nn.groupNorm(32)
 */
export function groupNorm(groups: number, options: { readonly epsilon?: number } = {}): Layer {
  const { epsilon = 1e-5 } = options;
  return layer("norm", (net, x) => {
    const channels = net.channels(x);
    if (!(groups > 0) || channels % groups !== 0) {
      const text = `${channels} channels do not divide into ${groups} groups`;
      net.fail("nn/groups", text, "Choose a number of groups that divides the channels.");
    }
    const shape = net.shape(x);
    const ones = net.constant(float32([groups], new Float32Array(groups).fill(1)), "ones");
    const zeros = net.constant(float32([groups], new Float32Array(groups)), "zeros");
    const grouped = net.emit("Reshape", [x, integerList(net, [0, groups, -1])]);
    const normed = net.emit("InstanceNormalization", [grouped, ones, zeros], {
      attributes: { epsilon: float(epsilon) },
    });
    const [, ...rest] = shape;
    const target = isStatic(rest) ? integerList(net, [0, ...rest]) : net.emit("Shape", [x]);
    const whole = net.emit("Reshape", [normed, target]);
    return affine(net, whole, channels);
  });
}

/** y · scale + bias over channels. */
function affine(net: Net, y: ValueName, channels: number): ValueName {
  const rank = net.shape(y).length;
  const scale = overChannels(net, net.weight("scale", [channels], 1), rank);
  const bias = overChannels(net, net.weight("bias", [channels], 0), rank);
  return net.emit("Add", [net.emit("Mul", [y, scale]), bias]);
}

/**
 * Instance normalisation (Ulyanov et al. 2016): mean and variance over the pixels of each channel of each
 * example. `[N, C, …]` keeps its shape.
 */
export function instanceNorm(options: { readonly epsilon?: number } = {}): Layer {
  const { epsilon = 1e-5 } = options;
  return layer("norm", (net, x) => {
    ranked(net, x, {
      what: "an instance normalisation",
      form: "[N,C,H,W] or [N,C,L]",
      ranks: [3, 4],
      fix: "Use nn.layerNorm(): there are no pixels to normalise over.",
    });
    const channels = net.channels(x);
    const scale = net.weight("scale", [channels], 1);
    const bias = net.weight("bias", [channels], 0);
    const attributes = { epsilon: float(epsilon) };
    return net.emit("InstanceNormalization", [x, scale, bias], { attributes });
  });
}

/**
 * Root mean square normalisation of the last axis (Zhang and Sennrich 2019): x / √(mean(x²) + ε) · scale.
 * Keeps the shape.
 *
 * @example
 * nn.rmsNorm({ epsilon: 1e-6 })
 */
export function rmsNorm(options: { readonly epsilon?: number } = {}): Layer {
  const { epsilon = 1e-5 } = options;
  return layer("norm", (net, x) => {
    const scale = net.weight("scale", [net.size(x, -1)], 1);
    // A power, not a product of x with itself: so ONNX Runtime knows the norm and runs it as one node.
    const square = net.emit("Pow", [x, net.constant(scalar(2), "two")]);
    const mean = net.emit("ReduceMean", [square, integerList(net, [-1])], {
      attributes: { keepdims: int(1) },
    });
    const shifted = net.emit("Add", [mean, net.constant(scalar(epsilon), "epsilon")]);
    const normed = net.emit("Div", [x, net.emit("Sqrt", [shifted])]);
    return net.emit("Mul", [normed, scale]);
  });
}
