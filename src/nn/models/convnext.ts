// ConvNeXt: Liu et al. 2022, "A ConvNet for the 2020s", table 9 and figure 4.

import { skip } from "../blocks/skip.ts";
import { linearDecay } from "../blocks/stochastic-depth.ts";
import { type Layer, named } from "../layer.ts";
import {
  conv,
  dense,
  depthwise,
  gelu,
  globalPool,
  layerNorm,
  sequential,
  transpose,
} from "../layers/index.ts";
import { stage } from "./stage.ts";

/** Options of a ConvNeXt. */
export interface ConvNeXtOptions {
  /** Default 1000. */
  readonly classes?: number;
  /** Channels of the first stage; each further stage has twice as many. Default 96. */
  readonly width?: number;
  /** Blocks of each stage. Default 3, 3, 9, 3. */
  readonly blocks?: readonly number[];
  /** Rate of stochastic depth of the last block. Default 0.1. */
  readonly dropPath?: number;
  /** Where the scales of the branches start. Default 1e-6. */
  readonly layerScale?: number;
}

const EPSILON = 1e-6;

/**
 * ConvNeXt-T, `[N, 3, 224, 224]` → `[N, classes]`. Blocks are x + λ·dense(gelu(dense(norm(depthwise 7x7(x))))).
 *
 * @example
 * nn.convnextTiny({ classes: 10 })
 */
export function convnextTiny(options: ConvNeXtOptions = {}): Layer {
  const { classes = 1000, width = 96, blocks = [3, 3, 9, 3], dropPath = 0.1 } = options;
  const { layerScale = 1e-6 } = options;
  const before = (s: number): number => blocks.slice(0, s).reduce((a, b) => a + b, 0);
  const rate = linearDecay(dropPath, before(blocks.length));
  return named(
    "convnext_tiny",
    sequential(
      named("stem", sequential(conv(width, 4, { stride: 4, padding: 0 }), channelNorm())),
      ...blocks.flatMap((count, s) => {
        const channels = width * 2 ** s;
        const options = { branchScale: { layerScale } } as const;
        return [
          ...(s === 0 ? [] : [named(`down${s}`, downsample(channels))]),
          stage(s + 1, count, (i) =>
            skip(mix(channels), { ...options, dropPath: rate(before(s) + i) }),
          ),
        ];
      }),
      globalPool(),
      layerNorm({ epsilon: EPSILON }),
      dense(classes),
    ),
  );
}

function channelNorm(): Layer {
  return layerNorm({ axis: 1, epsilon: EPSILON });
}

function downsample(channels: number): Layer {
  return sequential(channelNorm(), conv(channels, 2, { stride: 2, padding: 0 }));
}

/** The branch: pixels are mixed in each channel, then channels in each pixel. */
function mix(channels: number): Layer {
  const start = { init: { name: "truncated-normal", deviation: 0.02 } } as const;
  return sequential(
    depthwise(7, start),
    transpose(0, 2, 3, 1),
    layerNorm({ epsilon: EPSILON }),
    dense(4 * channels, start),
    gelu(),
    dense(channels, start),
    transpose(0, 3, 1, 2),
  );
}
