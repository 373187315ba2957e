// Convolutions over images and sequences. Weights are `[out, in / groups, …kernel]`, those of transposed
// convolutions `[in, out / groups, …kernel]`, as ONNX has them.

import { type Attribute, int, ints, type ValueName } from "../../graph/graph.ts";
import { formatShape } from "../../graph/shape.ts";
import type { Init } from "../init.ts";
import { type Layer, layer } from "../layer.ts";
import type { Net } from "../net.ts";
import { positive, ranked, type Size, wholeSizes } from "./shared.ts";

/** What all convolutions may be told. */
interface CommonOptions {
  /** Channels fall into this many groups that do not see each other. Default 1. */
  readonly groups?: number;
  /** Default true. Leave it out before a normalisation, which has its own. */
  readonly bias?: boolean;
  /** How weights start. Default `he`. */
  readonly init?: Init;
}

/** Options of a convolution. */
export interface ConvOptions extends CommonOptions {
  /** Default 1. */
  readonly stride?: Size;
  /**
   * Pixels of zeros around the image: a number, `[vertical, horizontal]` or `[top, left, bottom, right]`.
   * Default: as many as keep the size at stride 1.
   */
  readonly padding?: Size | readonly [number, number, number, number];
  /** Steps between the taps of the kernel. Default 1. */
  readonly dilation?: Size;
}

/** Options of a convolution over a sequence. */
export interface Conv1dOptions extends CommonOptions {
  /** Default 1. */
  readonly stride?: number;
  /**
   * Zeros at both ends, or `[before, after]`; with `[(kernel - 1) · dilation, 0]` nothing looks ahead.
   * Default: as many as keep the length at stride 1.
   */
  readonly padding?: number | readonly [number, number];
  /** Default 1. */
  readonly dilation?: number;
}

/** Options of a transposed convolution. */
export interface ConvTransposeOptions extends CommonOptions {
  /** Default 1. */
  readonly stride?: Size;
  /** Rows and columns that are cut off at each side. Default 0. */
  readonly padding?: Size;
  /** Rows and columns that are added below and on the right. Default 0. */
  readonly outputPadding?: Size;
}

/**
 * Convolution over images, `[N, C, H, W]` → `[N, channels, H', W']` with
 * H' = ⌊(H + padding - dilation·(kernel - 1) - 1) / stride⌋ + 1 (ONNX Conv-11), weights
 * `[channels, C / groups, h, w]`.
 *
 * @example
 * nn.conv(16, 3, { stride: 2 })
 * nn.conv(64, [1, 7], { bias: false })
 */
export function conv(channels: number, kernel: Size, options: ConvOptions = {}): Layer {
  return layer("conv", (net, x) => {
    ranked(net, x, {
      what: "a convolution",
      form: "[N,C,H,W]",
      ranks: [4],
      fix: "Give the example the shape [channels, height, width].",
    });
    return convolution(net, x, { ...options, channels, kernel, axes: 2 });
  });
}

/**
 * Convolution over sequences, `[N, C, L]` → `[N, channels, L']`, weights `[channels, C / groups, kernel]`.
 *
 * @example
 * nn.conv1d(32, 3, { dilation: 4, padding: [8, 0] }) // sees the past alone
 */
export function conv1d(channels: number, kernel: number, options: Conv1dOptions = {}): Layer {
  return layer("conv", (net, x) => {
    ranked(net, x, {
      what: "a convolution over a sequence",
      form: "[N,C,L]",
      ranks: [3],
      fix: "Give the example the shape [channels, length].",
    });
    return convolution(net, x, { ...options, channels, kernel, axes: 1 });
  });
}

/**
 * A convolution of each channel by itself, `[N, C, H, W]` → `[N, C, H', W']` (or `[N, C, L]`), weights
 * `[C, 1, …kernel]`.
 *
 * @example
 * nn.depthwise(3, { stride: 2, bias: false })
 */
export function depthwise(kernel: Size, options: Omit<ConvOptions, "groups"> = {}): Layer {
  return layer("depthwise", (net, x) => {
    const shape = ranked(net, x, {
      what: "a depthwise convolution",
      form: "[N,C,H,W] or [N,C,L]",
      ranks: [3, 4],
      fix: "Give the example the shape [channels, height, width].",
    });
    const channels = net.channels(x);
    const axes = shape.length - 2;
    return convolution(net, x, { ...options, channels, kernel, axes, groups: channels });
  });
}

interface Convolution extends CommonOptions {
  readonly channels: number;
  readonly kernel: number | readonly number[];
  readonly axes: number;
  readonly stride?: number | readonly number[];
  readonly padding?: number | readonly number[];
  readonly dilation?: number | readonly number[];
}

function convolution(net: Net, x: ValueName, options: Convolution): ValueName {
  const { channels, axes, groups = 1, bias = true, init = "he" } = options;
  const kernel = wholeSizes(net, "the kernel", options.kernel, { axes });
  const dilations = wholeSizes(net, "the dilation", options.dilation ?? 1, { axes });
  const strides = wholeSizes(net, "the stride", options.stride ?? 1, { axes });
  const into = checkChannels(net, x, { channels, groups });
  const weight = net.weight("weight", [channels, into / groups, ...kernel], init, { groups });
  const inputs = bias ? [x, weight, net.weight("bias", [channels], 0)] : [x, weight];
  const reach = kernel.map((size, axis) => (size - 1) * (dilations[axis] ?? 1));
  const attributes: Record<string, Attribute> = {
    kernel_shape: ints(kernel),
    strides: ints(strides),
    pads: ints(padsOf(net, options.padding, reach)),
    ...(dilations.some((step) => step !== 1) ? { dilations: ints(dilations) } : {}),
    ...(groups === 1 ? {} : { group: int(groups) }),
  };
  return fitting(net, x, net.emit("Conv", inputs, { attributes }));
}

/** ONNX's order: all beginnings, then all ends. Without padding given, one that keeps the size. */
function padsOf(
  net: Net,
  padding: number | readonly number[] | undefined,
  reach: readonly number[],
): readonly number[] {
  if (padding === undefined) {
    const begin = reach.map((taps) => Math.floor(taps / 2));
    return [...begin, ...reach.map((taps) => Math.ceil(taps / 2))];
  }
  const axes = reach.length;
  const given = wholeSizes(net, "the padding", padding, { axes, least: 0, ends: true });
  // Of a sequence, `[before, after]` is complete.
  return given.length === 2 * axes ? given : [...given, ...given];
}

/** The channels of a value that must divide into the groups, as those that are made must. */
function checkChannels(
  net: Net,
  x: ValueName,
  { channels, groups }: { channels: number; groups: number },
): number {
  positive(net, "the number of channels", channels);
  positive(net, "the number of groups", groups);
  const into = net.channels(x);
  if (into % groups !== 0 || channels % groups !== 0) {
    net.fail(
      "nn/groups",
      `${into} channels in and ${channels} out do not divide into ${groups} groups`,
      "Choose a number of groups that divides both.",
    );
  }
  return into;
}

/** A window that is larger than the padded image has no place. */
export function fitting(net: Net, x: ValueName, y: ValueName): ValueName {
  const before = net.shape(x);
  const unfit = net
    .shape(y)
    .findIndex((dim, axis) => (dim === "?" || dim === 0) && typeof before[axis] === "number");
  if (unfit < 0) return y;
  return net.fail(
    "nn/window",
    `axis ${unfit} of ${formatShape(before)} is shorter than the window`,
    "Use a smaller kernel, more padding, or fewer strides before it.",
  );
}

/**
 * Transposed convolution, `[N, C, H, W]` → `[N, channels, H', W']` with
 * H' = (H - 1)·stride - 2·padding + kernel + outputPadding (ONNX ConvTranspose-11), weights
 * `[C, channels / groups, h, w]`.
 *
 * @example
 * nn.convTranspose(64, 2, { stride: 2 }) // twice the size
 */
export function convTranspose(
  channels: number,
  kernel: Size,
  options: ConvTransposeOptions = {},
): Layer {
  const { stride = 1, padding = 0, outputPadding = 0 } = options;
  const { groups = 1, bias = true, init = "he" } = options;
  return layer("conv_transpose", (net, x) => {
    ranked(net, x, {
      what: "a transposed convolution",
      form: "[N,C,H,W]",
      ranks: [4],
      fix: "Give the example the shape [channels, height, width].",
    });
    const into = checkChannels(net, x, { channels, groups });
    const taps = wholeSizes(net, "the kernel", kernel, { axes: 2 });
    const strides = wholeSizes(net, "the stride", stride, { axes: 2 });
    const weight = net.weight("weight", [into, channels / groups, ...taps], init, {
      groups,
      transposed: strides,
    });
    const inputs = bias ? [x, weight, net.weight("bias", [channels], 0)] : [x, weight];
    const pads = wholeSizes(net, "the padding", padding, { axes: 2, least: 0 });
    const extra = wholeSizes(net, "outputPadding", outputPadding, { axes: 2, least: 0 });
    if (extra.some((one, axis) => one >= (strides[axis] ?? 1))) {
      const text = `outputPadding [${extra}] is not below the stride [${strides}]`;
      net.fail("nn/option", text, "Give less of it, or a larger stride.");
    }
    const attributes: Record<string, Attribute> = {
      kernel_shape: ints(taps),
      strides: ints(strides),
      pads: ints([...pads, ...pads]),
      ...(extra.some((one) => one !== 0) ? { output_padding: ints(extra) } : {}),
      ...(groups === 1 ? {} : { group: int(groups) }),
    };
    return fitting(net, x, net.emit("ConvTranspose", inputs, { attributes }));
  });
}
