// Residual networks for ImageNet: He et al. 2016, "Deep residual learning for image recognition", table 1,
// also in the pre-activation form of "Identity mappings in deep residual networks"; ResNeXt (Xie et al. 2017,
// table 1); wide bottlenecks (Zagoruyko and Komodakis 2016, table 8).

import { type BlockOptions, bottleneck, residual } from "../blocks/residual.ts";
import { linearDecay } from "../blocks/stochastic-depth.ts";
import { type Layer, named } from "../layer.ts";
import { batchNorm, conv, dense, globalPool, maxPool, relu, sequential } from "../layers/index.ts";
import { stage } from "./stage.ts";

/** Depths of table 1. */
export type ResNetDepth = 18 | 34 | 50 | 101 | 152;

/** Options of a ResNet. `dropPath` is the rate of the last block, to which it rises in equal steps. */
export interface ResNetOptions extends BlockOptions {
  /** Default 1000. */
  readonly classes?: number;
  /** Channels of the first stage. Default 64. */
  readonly width?: number;
  /** Blocks of each stage, in place of those of the depth. */
  readonly blocks?: readonly number[];
  /** Groups of the 3x3 convolution of a bottleneck. Default 1. */
  readonly groups?: number;
  /** Channels of that convolution, as a multiple of those of the paper. Default 1. */
  readonly widen?: number;
}

const BLOCKS: Readonly<Record<ResNetDepth, readonly number[]>> = {
  18: [2, 2, 2, 2],
  34: [3, 4, 6, 3],
  50: [3, 4, 6, 3],
  101: [3, 4, 23, 3],
  152: [3, 8, 36, 3],
};

/**
 * ResNet-18 to 152, `[N, 3, 224, 224]` → `[N, classes]`. Branches start at zero (`branchScale: "zero"`)
 * unless another way is chosen. With `order: "pre"` norm and relu move from the stem to the end.
 *
 * @example
 * nn.resnet(50, { classes: 10 })
 */
export function resnet(depth: ResNetDepth, options: ResNetOptions = {}): Layer {
  const { classes = 1000, width = 64, blocks = BLOCKS[depth], groups = 1, widen = 1 } = options;
  const { order = "post", dropPath = 0 } = options;
  const total = blocks.reduce((a, b) => a + b, 0);
  const rate = linearDecay(dropPath, total);
  const before = (s: number): number => blocks.slice(0, s).reduce((a, b) => a + b, 0);
  const normed = [batchNorm(), relu()];
  return named(
    `resnet${depth}`,
    sequential(
      conv(width, 7, { stride: 2, bias: false }),
      ...(order === "post" ? normed : []),
      maxPool(3, { stride: 2, padding: 1 }),
      ...blocks.map((count, s) =>
        stage(s + 1, count, (i) => {
          const channels = width * 2 ** s;
          const own = { stride: i === 0 && s > 0 ? 2 : 1, dropPath: rate(before(s) + i) };
          const block = { branchScale: "zero", ...options, ...own } as const;
          return depth < 50
            ? residual(channels, block)
            : bottleneck(4 * channels, { ...block, groups, width: widen * channels });
        }),
      ),
      ...(order === "pre" ? normed : []),
      globalPool(),
      dense(classes),
    ),
  );
}

/**
 * ResNeXt-50 32x4d: the 3x3 convolutions in 32 groups of 4 channels in the first stage.
 *
 * @example
 * nn.resnext50()
 */
export function resnext50(options: ResNetOptions = {}): Layer {
  return named("resnext50", resnet(50, { groups: 32, widen: 2, ...options }));
}

/**
 * Wide ResNet-50-2: the 3x3 convolutions with twice the channels.
 *
 * @example
 * nn.wideResnet50()
 */
export function wideResnet50(options: ResNetOptions = {}): Layer {
  return named("wide_resnet50", resnet(50, { widen: 2, ...options }));
}
