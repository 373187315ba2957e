// Networks of inverted residuals: MobileNetV2 (Sandler et al. 2018, table 2) and EfficientNet-B0 (Tan and Le
// 2019, table 1).

import { invertedResidual } from "../blocks/inverted-residual.ts";
import { linearDecay } from "../blocks/stochastic-depth.ts";
import { type Layer, named } from "../layer.ts";
import {
  batchNorm,
  conv,
  dense,
  dropout,
  globalPool,
  relu6,
  sequential,
  silu,
} from "../layers/index.ts";
import { stage } from "./stage.ts";

/** Options of a network of inverted residuals. */
export interface MobileNetOptions {
  /** Default 1000. */
  readonly classes?: number;
  /** All channels as a multiple of those of the paper, rounded to multiples of 8. Default 1. */
  readonly width?: number;
  /** At most so many blocks in a stage; for small variants. */
  readonly blocksMax?: number;
  /** Before the last layer. Default 0.2. */
  readonly dropout?: number;
  /** Rate of stochastic depth of the last block. Default 0; 0.2 in EfficientNet. */
  readonly dropPath?: number;
}

/** A row of the papers' tables: expansion, channels, blocks, stride of the first, kernel. */
type Row = readonly [
  expand: number,
  channels: number,
  blocks: number,
  stride: number,
  kernel: number,
];

const MOBILENET_V2: readonly Row[] = [
  [1, 16, 1, 1, 3],
  [6, 24, 2, 2, 3],
  [6, 32, 3, 2, 3],
  [6, 64, 4, 2, 3],
  [6, 96, 3, 1, 3],
  [6, 160, 3, 2, 3],
  [6, 320, 1, 1, 3],
];

const EFFICIENTNET_B0: readonly Row[] = [
  [1, 16, 1, 1, 3],
  [6, 24, 2, 2, 3],
  [6, 40, 2, 2, 5],
  [6, 80, 3, 2, 3],
  [6, 112, 3, 1, 5],
  [6, 192, 4, 2, 5],
  [6, 320, 1, 1, 3],
];

/**
 * MobileNetV2, `[N, 3, 224, 224]` → `[N, classes]`.
 *
 * @example
 * nn.mobilenetV2({ width: 0.5 })
 */
export function mobilenetV2(options: MobileNetOptions = {}): Layer {
  return named(
    "mobilenet_v2",
    inverted(MOBILENET_V2, { activation: relu6, dropPath: 0, ...options }),
  );
}

/**
 * EfficientNet-B0, `[N, 3, 224, 224]` → `[N, classes]`: squeeze-and-excitation to a quarter of the channels
 * that come into a block.
 *
 * @example
 * nn.efficientnetB0({ classes: 10 })
 */
export function efficientnetB0(options: MobileNetOptions = {}): Layer {
  const defaults = { activation: silu, dropPath: 0.2, squeeze: 4 };
  return named("efficientnet_b0", inverted(EFFICIENTNET_B0, { ...defaults, ...options }));
}

function inverted(
  rows: readonly Row[],
  options: MobileNetOptions & { activation: () => Layer; dropPath: number; squeeze?: number },
): Layer {
  const { classes = 1000, width = 1, blocksMax = Number.POSITIVE_INFINITY } = options;
  const { dropout: rate = 0.2, activation, dropPath, squeeze } = options;
  const counts = rows.map(([, , blocks]) => Math.min(blocks, blocksMax));
  const before = (s: number): number => counts.slice(0, s).reduce((a, b) => a + b, 0);
  const rateOf = linearDecay(dropPath, before(rows.length));
  const block = { activation, ...(squeeze === undefined ? {} : { squeeze }) };
  return sequential(
    conv(inEights(32 * width), 3, { stride: 2, bias: false }),
    batchNorm(),
    activation(),
    ...rows.map(([expand, channels, , first, kernel], s) =>
      stage(s + 1, counts[s] ?? 1, (i) => {
        const stride = i === 0 ? first : 1;
        const own = { expand, kernel, stride, dropPath: rateOf(before(s) + i) };
        return invertedResidual(inEights(channels * width), { ...block, ...own });
      }),
    ),
    // Narrow variants keep the width of the end (Sandler et al. 2018, section 5.1).
    conv(inEights(1280 * Math.max(1, width)), 1, { bias: false }),
    batchNorm(),
    activation(),
    globalPool(),
    dropout(rate),
    dense(classes),
  );
}

/** The nearest multiple of 8 that is no more than a tenth smaller, as in the authors' code. */
function inEights(channels: number): number {
  const rounded = Math.max(8, Math.floor((channels + 4) / 8) * 8);
  return rounded < 0.9 * channels ? rounded + 8 : rounded;
}
