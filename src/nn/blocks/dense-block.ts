// Dense blocks (Huang et al. 2017, "Densely connected convolutional networks", section 3): every layer reads
// what all layers before it made.

import { int } from "../../graph/graph.ts";
import { type Layer, layer, named } from "../layer.ts";
import { avgPool, batchNorm, conv, dropout, relu, sequential } from "../layers/index.ts";

/** Options of a dense block. */
export interface DenseBlockOptions {
  /** Channels that each layer adds, k. Default 32. */
  readonly growth?: number;
  /** Channels of the 1x1 convolution before the 3x3 one, as a multiple of k; 0 leaves it out. Default 4. */
  readonly bottleneck?: number;
  /** Share of what each layer adds that is dropped in training. Default 0. */
  readonly dropout?: number;
}

/**
 * `[N, C, H, W]` → `[N, C + layers·growth, H, W]`: each layer is norm, relu, 1x1 convolution, norm, relu, 3x3
 * convolution, and is appended to what it read.
 *
 * @example
 * nn.denseBlock(6, { growth: 32 })
 */
export function denseBlock(layers: number, options: DenseBlockOptions = {}): Layer {
  const { growth = 32, bottleneck = 4, dropout: rate = 0 } = options;
  const inner = [
    ...(bottleneck === 0
      ? []
      : [batchNorm(), relu(), conv(bottleneck * growth, 1, { bias: false })]),
    batchNorm(),
    relu(),
    conv(growth, 3, { bias: false }),
    ...(rate === 0 ? [] : [dropout(rate)]),
  ];
  const one = layer("layer", (net, x) => {
    const added = inner.reduce((y, next) => net.inside(next, y), x);
    return net.emit("Concat", [x, added], { name: "merge", attributes: { axis: int(1) } });
  });
  return named(
    "dense_block",
    sequential(...Array.from({ length: layers }, (_, i) => named(`layer${i + 1}`, one))),
  );
}

/**
 * Between two dense blocks, `[N, C, H, W]` → `[N, ⌊C·compression⌋, ⌊H/2⌋, ⌊W/2⌋]`: norm, relu, 1x1
 * convolution, average pooling.
 *
 * @example
 * nn.transition()
 */
export function transition(options: { readonly compression?: number } = {}): Layer {
  const { compression = 0.5 } = options;
  return layer("transition", (net, x) => {
    const channels = Math.floor(net.channels(x) * compression);
    const chain = [
      batchNorm(),
      relu(),
      conv(channels, 1, { bias: false }),
      avgPool(2, { stride: 2, padding: 0 }),
    ];
    return chain.reduce((y, next) => net.inside(next, y), x);
  });
}
