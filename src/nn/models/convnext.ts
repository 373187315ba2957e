// ConvNeXt: Liu et al. 2022, "A ConvNet for the 2020s", table 9.

import { convnextBlock } from "../blocks/convnext-block.ts";
import { linearDecay } from "../blocks/stochastic-depth.ts";
import { type Layer, named } from "../layer.ts";
import { conv, dense, globalPool, layerNorm, sequential } from "../layers/index.ts";
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
 * ConvNeXt-T, `[N, 3, 224, 224]` → `[N, classes]`.
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
        return [
          ...(s === 0 ? [] : [named(`down${s}`, downsample(channels))]),
          stage(s + 1, count, (i) => convnextBlock({ layerScale, dropPath: rate(before(s) + i) })),
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
