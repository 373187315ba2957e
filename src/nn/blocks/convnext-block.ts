// The block of ConvNeXt (Liu et al. 2022, "A ConvNet for the 2020s", figure 4).

import { type Layer, layer, named } from "../layer.ts";
import { dense, depthwise, gelu, layerNorm, sequential, transpose } from "../layers/index.ts";
import { skip } from "./skip.ts";

/** Options of a ConvNeXt block. */
export interface ConvNeXtBlockOptions {
  /** Of the depthwise convolution. Default 7. */
  readonly kernel?: number;
  /** Channels between the two dense layers, as a multiple of those of x. Default 4. */
  readonly expand?: number;
  /** Where the scale of the branch starts. Default 1e-6. */
  readonly layerScale?: number;
  /** Share of examples whose branch is dropped in training. Default 0. */
  readonly dropPath?: number;
}

/**
 * x + λ·dense(gelu(dense(norm(depthwise(x))))), with λ for each channel: pixels are mixed in each channel, then
 * channels in each pixel. Keeps the shape `[N, C, H, W]`.
 *
 * @example
 * nn.convnextBlock({ dropPath: 0.1 })
 */
export function convnextBlock(options: ConvNeXtBlockOptions = {}): Layer {
  const { kernel = 7, expand = 4, layerScale = 1e-6, dropPath = 0 } = options;
  const start = { init: { name: "truncated-normal", deviation: 0.02 } } as const;
  const branch = layer("branch", (net, x) => {
    const channels = net.channels(x);
    const chain = sequential(
      depthwise(kernel, start),
      transpose(0, 2, 3, 1),
      layerNorm({ epsilon: 1e-6 }),
      dense(expand * channels, start),
      gelu(),
      dense(channels, start),
      transpose(0, 3, 1, 2),
    );
    return chain.build(net, x);
  });
  return named(
    "convnext",
    skip(branch, { branchScale: { layerScale }, dropPath, shortcut: "identity" }),
  );
}
