// Deep networks of one dimension: a highway network of dense layers, and a temporal convolutional network.

import { highway } from "../blocks/gated.ts";
import { mustAgree } from "../blocks/merge.ts";
import { type Layer, layer, named } from "../layer.ts";
import { conv1d, dense, dropout, identity, relu, sequential } from "../layers/index.ts";

/** Options of a highway network. */
export interface HighwayMlpOptions {
  /** Default 10. */
  readonly classes?: number;
  /** Units of every layer. Default 50. */
  readonly width?: number;
  /** Highway layers. Default 10. */
  readonly depth?: number;
  /** Where the biases of the gates start. Default -1, for 10 layers; -3 for 50 (section 2.2). */
  readonly gateBias?: number;
}

/**
 * Highway network of dense layers (Srivastava et al. 2015, "Training very deep networks", 1507.06228,
 * section 3.1), `[N, K]` → `[N, classes]`.
 *
 * @example
 * nn.highwayMlp({ depth: 50, gateBias: -3 })
 */
export function highwayMlp(options: HighwayMlpOptions = {}): Layer {
  const { classes = 10, width = 50, depth = 10, gateBias = -1 } = options;
  const blocks = Array.from({ length: depth }, () =>
    highway(sequential(dense(width), relu()), { gateBias }),
  );
  return named("highway_mlp", sequential(dense(width), relu(), ...blocks, dense(classes)));
}

/** Options of a temporal convolutional network. */
export interface TcnOptions {
  /** Default 10. */
  readonly classes?: number;
  /** Channels of each block, whose dilation is 2 to the power of its index. Default eight of 25. */
  readonly channels?: readonly number[];
  /** Default 7. */
  readonly kernel?: number;
  /** Default 0.2. */
  readonly dropout?: number;
}

/**
 * Residual temporal convolutional network (Bai et al. 2018, 1803.01271, section 3 and figure 1),
 * `[N, C, L]` → `[N, classes, L]`: what is said at a step depends on that step and those before it, on
 * `1 + 2·(kernel - 1)·(2^blocks - 1)` of them. Without the paper's weight normalisation.
 *
 * @example
 * nn.tcn({ classes: 10, channels: [25, 25, 25, 25] })
 */
export function tcn(options: TcnOptions = {}): Layer {
  const { classes = 10, kernel = 7, dropout: rate = 0.2 } = options;
  const { channels = Array.from({ length: 8 }, () => 25) } = options;
  const blocks = channels.map((count, i) =>
    named(`block${i + 1}`, temporalBlock(count, { kernel, dilation: 2 ** i, rate })),
  );
  return named("tcn", sequential(...blocks, named("classify", conv1d(classes, 1))));
}

/** relu(x + f(x)) of two causal convolutions, figure 1b: a 1x1 convolution where the channels differ. */
function temporalBlock(
  channels: number,
  options: { kernel: number; dilation: number; rate: number },
): Layer {
  const { kernel, dilation, rate } = options;
  const causal = (): Layer =>
    conv1d(channels, kernel, { dilation, padding: [(kernel - 1) * dilation, 0] });
  const branch = sequential(causal(), relu(), dropout(rate), causal(), relu(), dropout(rate));
  return layer("temporal", (net, x) => {
    const made = net.inside(named("branch", branch), x);
    const fits = net.channels(x) === channels;
    const skip = net.inside(fits ? identity() : named("shortcut", conv1d(channels, 1)), x);
    mustAgree(net, skip, made, "Keep the length.");
    return net.inside(relu(), net.emit("Add", [made, skip], { name: "merge" }));
  });
}
