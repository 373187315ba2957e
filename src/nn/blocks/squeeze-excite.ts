// Squeeze-and-excitation (Hu, Shen and Sun 2018, "Squeeze-and-excitation networks", section 3).

import { type Layer, layer } from "../layer.ts";
import { conv, relu, sigmoid } from "../layers/index.ts";

/** Options of squeeze-and-excitation. */
export interface SqueezeExciteOptions {
  /** Between the two convolutions. Default `nn.relu`. */
  readonly activation?: () => Layer;
  /** Makes factors of 0 to 1. Default `nn.sigmoid`. */
  readonly gate?: () => Layer;
}

/**
 * x times a factor for each channel, computed from the mean over all pixels by two 1x1 convolutions with
 * `squeezed` channels between them. Keeps the shape `[N, C, H, W]`.
 *
 * @example
 * nn.squeezeExcite(16)
 */
export function squeezeExcite(squeezed: number, options: SqueezeExciteOptions = {}): Layer {
  const { activation = relu, gate = sigmoid } = options;
  return layer("squeeze", (net, x) => {
    const channels = net.channels(x);
    const mean = net.emit("GlobalAveragePool", [x]);
    const inner = net.inside(activation(), net.inside(conv(squeezed, 1), mean));
    const factors = net.inside(gate(), net.inside(conv(channels, 1), inner));
    return net.emit("Mul", [x, factors]);
  });
}
