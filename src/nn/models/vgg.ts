// VGG: Simonyan and Zisserman 2015, "Very deep convolutional networks for large-scale image recognition"
// (1409.1556), table 1. No skips: what depth was before them.

import { type Layer, named } from "../layer.ts";
import {
  adaptivePool,
  batchNorm,
  conv,
  dense,
  dropout,
  flatten,
  maxPool,
  relu,
  sequential,
} from "../layers/index.ts";

/** Configurations A, B, D and E of table 1, by their weighted layers. */
export type VggDepth = 11 | 13 | 16 | 19;

/** Options of a VGG. */
export interface VggOptions {
  /** Default 1000. */
  readonly classes?: number;
  /** Batch normalisation behind each convolution, which the paper did not have yet. Default false. */
  readonly norm?: boolean;
  /** Channels of the first stage. Default 64. */
  readonly width?: number;
  /** Units of the two hidden dense layers. Default 4096. */
  readonly hidden?: number;
  /** Share of these units that is dropped in training. Default 0.5. */
  readonly dropout?: number;
}

/** Convolutions of each stage. */
const STAGES: Readonly<Record<VggDepth, readonly number[]>> = {
  11: [1, 1, 2, 2, 2],
  13: [2, 2, 2, 2, 2],
  16: [2, 2, 3, 3, 3],
  19: [2, 2, 4, 4, 4],
};

/** Channels of each stage, in widths. */
const CHANNELS = [1, 2, 4, 8, 8];

/**
 * VGG-11 to 19, `[N, 3, 224, 224]` → `[N, classes]`. Other sizes are pooled to 7x7 before the dense layers.
 *
 * @example
 * nn.vgg(16, { norm: true })
 */
export function vgg(depth: VggDepth, options: VggOptions = {}): Layer {
  const { classes = 1000, norm = false, width = 64, hidden = 4096, dropout: rate = 0.5 } = options;
  const unit = (channels: number): Layer[] =>
    norm ? [conv(channels, 3), batchNorm(), relu()] : [conv(channels, 3), relu()];
  const stages = STAGES[depth].map((count, i) => {
    const channels = width * (CHANNELS[i] ?? 1);
    const layers = Array.from({ length: count }, () => unit(channels)).flat();
    return named(`stage${i + 1}`, sequential(...layers, maxPool(2)));
  });
  const scaled = { init: { name: "normal", deviation: 0.01 } } as const;
  return named(
    `vgg${depth}`,
    sequential(
      ...stages,
      adaptivePool(7, 7),
      flatten(),
      ...[dense(hidden, scaled), relu(), dropout(rate)],
      ...[dense(hidden, scaled), relu(), dropout(rate)],
      dense(classes, scaled),
    ),
  );
}
