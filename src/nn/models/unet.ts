// Encoder-decoder networks for pictures: U-Net (Ronneberger et al. 2015, 1505.04597, figure 1; with
// attention gates, Oktay et al. 2018, 1804.03999) and one in the manner of LinkNet (Chaurasia and
// Culurciello 2017, 1707.03718, figures 1 and 2).

import { residual } from "../blocks/residual.ts";
import { unetLevel } from "../blocks/unet.ts";
import { type Layer, named } from "../layer.ts";
import {
  batchNorm,
  conv,
  convTranspose,
  maxPool,
  relu,
  resize,
  sequential,
} from "../layers/index.ts";

/** Options of a U-Net. */
export interface UnetOptions {
  /** Default 2. */
  readonly classes?: number;
  /** Channels of the first level; each level below has twice as many. Default 64. */
  readonly width?: number;
  /** Levels above the bottom: as many skips. Default 4. */
  readonly levels?: number;
  /**
   * `same` keeps the size; `valid` has convolutions without padding and crops the skips, as the paper: 572x572
   * pixels give 388x388. Default `same`.
   */
  readonly padding?: "same" | "valid";
  /** Batch normalisation behind each convolution, which the paper does not have. Default false. */
  readonly norm?: boolean;
  /** `transposed` convolutions, or `nearest` pixels and a 1x1 convolution. Default `transposed`. */
  readonly up?: "transposed" | "nearest";
  /** An attention gate on each skip. Default false. */
  readonly attention?: boolean;
}

/**
 * U-Net, `[N, C, H, W]` → `[N, classes, H, W]`; heights and widths that do not halve evenly are padded on
 * the way up.
 *
 * @example
 * nn.unet({ classes: 2, width: 16 })
 */
export function unet(options: UnetOptions = {}): Layer {
  const { classes = 2, width = 64, levels = 4, padding = "same", norm = false } = options;
  const { up = "transposed", attention = false } = options;
  const kept = padding === "same" ? {} : { padding: 0 };
  const unit = (channels: number): Layer[] =>
    norm
      ? [conv(channels, 3, { ...kept, bias: false }), batchNorm(), relu()]
      : [conv(channels, 3, kept), relu()];
  const double = (channels: number): Layer => sequential(...unit(channels), ...unit(channels));
  const raise = (channels: number): Layer =>
    up === "transposed"
      ? convTranspose(channels, 2, { stride: 2 })
      : sequential(resize({ scale: 2 }), conv(channels, 1));
  let net = named("bottom", double(width * 2 ** levels));
  for (let level = levels; level >= 1; level--) {
    const channels = width * 2 ** (level - 1);
    const parts = {
      encode: double(channels),
      down: maxPool(2),
      up: raise(channels),
      decode: double(channels),
      fit: padding === "same" ? "pad" : "crop",
      ...(attention ? { attention: Math.max(1, channels / 2) } : {}),
    } as const;
    net = named(`level${level}`, unetLevel(net, parts));
  }
  return named("unet", sequential(net, named("classify", conv(classes, 1))));
}

/** Options of a LinkNet. */
export interface LinknetOptions {
  /** Default 2. */
  readonly classes?: number;
  /** Channels of the first stage. Default 64. */
  readonly width?: number;
  /** Residual blocks of each stage of the encoder. Default that of ResNet-18: two each. */
  readonly blocks?: readonly number[];
}

/**
 * In the manner of LinkNet, `[N, 3, H, W]` → `[N, classes, H, W]`: a residual encoder, and a skip around
 * each of its stages that is added to what the decoder makes. H and W are multiples of 32.
 *
 * @example
 * nn.linknet({ classes: 20 })
 */
export function linknet(options: LinknetOptions = {}): Layer {
  const { classes = 2, width = 64, blocks = [2, 2, 2, 2] } = options;
  let net: Layer = sequential();
  for (let stage = blocks.length; stage >= 1; stage--) {
    const stride = stage === 1 ? 1 : 2;
    const before = stage === 1 ? width : width * 2 ** (stage - 2);
    const channels = width * 2 ** (stage - 1);
    const encoder = Array.from({ length: blocks[stage - 1] ?? 0 }, (_, i) =>
      named(`block${i + 1}`, residual(channels, { stride: i === 0 ? stride : 1 })),
    );
    const parts = {
      down: sequential(...encoder),
      up: decoder({ from: channels, to: before, stride }),
      merge: "add",
      fit: "exact",
    } as const;
    net = named(`stage${stage}`, unetLevel(net, parts));
  }
  const normed = [batchNorm(), relu()];
  const half = Math.max(1, width / 2);
  return named(
    "linknet",
    sequential(
      ...[conv(width, 7, { stride: 2, bias: false }), ...normed],
      maxPool(3, { stride: 2, padding: 1 }),
      net,
      ...[doubled(half), ...normed],
      ...[conv(half, 3, { bias: false }), ...normed],
      named("classify", convTranspose(classes, 2, { stride: 2 })),
    ),
  );
}

/** Twice the size by a 3x3 transposed convolution. */
function doubled(channels: number): Layer {
  return convTranspose(channels, 3, { stride: 2, padding: 1, outputPadding: 1, bias: false });
}

/** Figure 2: 1x1 to a quarter of the channels, transposed 3x3, 1x1, each with norm and relu. */
function decoder(size: { from: number; to: number; stride: number }): Layer {
  const quarter = Math.max(1, size.from / 4);
  const middle =
    size.stride === 2 ? doubled(quarter) : convTranspose(quarter, 3, { padding: 1, bias: false });
  const normed = [batchNorm(), relu()];
  return sequential(
    ...[conv(quarter, 1, { bias: false }), ...normed],
    ...[middle, ...normed],
    ...[conv(size.to, 1, { bias: false }), ...normed],
  );
}
