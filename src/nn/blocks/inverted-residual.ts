// The inverted residual (Sandler et al. 2018, "MobileNetV2", section 3.3 and table 1), also with
// squeeze-and-excitation inside (Tan et al. 2019, "MnasNet", figure 7).

import { type Layer, layer } from "../layer.ts";
import { batchNorm, conv, depthwise, relu6 } from "../layers/index.ts";
import type { ScaleOfAnyBranch } from "./branch-scale.ts";
import { addSkip } from "./skip.ts";
import { squeezeExcite } from "./squeeze-excite.ts";

/** Options of an inverted residual. */
export interface InvertedResidualOptions {
  /** Channels inside, as a multiple of those that come in. 1 leaves the first convolution out. Default 6. */
  readonly expand?: number;
  /** Of the depthwise convolution. Default 3. */
  readonly kernel?: number;
  /** Of the depthwise convolution. Default 1. */
  readonly stride?: number;
  /** Squeeze-and-excitation behind the depthwise convolution, with channels that come in / `squeeze`. */
  readonly squeeze?: number;
  /** Default `nn.relu6`. */
  readonly activation?: () => Layer;
  /** Default `none`. */
  readonly branchScale?: ScaleOfAnyBranch;
  /** Share of examples whose branch is dropped in training. Default 0. */
  readonly dropPath?: number;
}

/**
 * `[N, C, H, W]` → `[N, channels, H/stride, W/stride]`: 1x1 to C·expand channels, depthwise, 1x1 to
 * `channels` without an activation, each with a norm; plus x where the shapes agree.
 *
 * @example
 * nn.invertedResidual(40, { kernel: 5, stride: 2, squeeze: 4, activation: nn.silu })
 */
export function invertedResidual(channels: number, options: InvertedResidualOptions = {}): Layer {
  const { expand = 6, kernel = 3, stride = 1, squeeze, activation = relu6 } = options;
  return layer("inverted", (net, x) => {
    const narrow = net.channels(x);
    const wide = narrow * expand;
    const chain = [
      ...(expand === 1 ? [] : [conv(wide, 1, { bias: false }), batchNorm(), activation()]),
      depthwise(kernel, { stride, bias: false }),
      batchNorm(),
      activation(),
      ...(squeeze === undefined
        ? []
        : [squeezeExcite(Math.max(1, Math.floor(narrow / squeeze)), { activation })]),
      conv(channels, 1, { bias: false }),
      batchNorm(),
    ];
    const branch = chain.reduce((y, next) => net.inside(next, y), x);
    if (stride !== 1 || narrow !== channels) return branch;
    const { branchScale = "none", dropPath = 0 } = options;
    return addSkip(net, x, { kind: "identity", branch, stride, branchScale, dropPath });
  });
}
