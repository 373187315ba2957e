// ShuffleNet v2: Ma et al. 2018, "ShuffleNet V2: practical guidelines for efficient CNN architecture design",
// figure 3 (c) and (d), table 5.

import { int } from "../../graph/graph.ts";
import { int64 } from "../../graph/tensor.ts";
import { type Layer, layer, named } from "../layer.ts";
import {
  batchNorm,
  concat,
  conv,
  dense,
  depthwise,
  globalPool,
  identity,
  maxPool,
  relu,
  sequential,
  split,
} from "../layers/index.ts";
import { stage } from "./stage.ts";

/** Options of a ShuffleNet v2. */
export interface ShuffleNetOptions {
  /** Default 1000. */
  readonly classes?: number;
  /** Channels of the three stages. Default 116, 232, 464, which is the 1.0x of table 5. */
  readonly channels?: readonly number[];
  /** Blocks of the three stages. Default 4, 8, 4. */
  readonly blocks?: readonly number[];
  /** Channels before the pooling over all pixels. Default 1024. */
  readonly end?: number;
}

/**
 * ShuffleNet v2 1.0x, `[N, 3, 224, 224]` → `[N, classes]`. In each block but the first of a stage half of the
 * channels passes by; shuffling lets the next block change it.
 *
 * @example
 * nn.shufflenetV2()
 */
export function shufflenetV2(options: ShuffleNetOptions = {}): Layer {
  const { classes = 1000, channels = [116, 232, 464], blocks = [4, 8, 4], end = 1024 } = options;
  return named(
    "shufflenet_v2",
    sequential(
      ...convNormRelu(24, 3, 2),
      maxPool(3, { stride: 2, padding: 1 }),
      ...channels.map((wide, s) =>
        stage(s + 2, blocks[s] ?? 1, (i) => (i === 0 ? shrinking(wide) : passing(wide))),
      ),
      ...convNormRelu(end, 1),
      globalPool(),
      dense(classes),
    ),
  );
}

function convNormRelu(channels: number, kernel: number, stride = 1): readonly Layer[] {
  return [conv(channels, kernel, { stride, bias: false }), batchNorm(), relu()];
}

/** Figure 3 (c): half of the channels is changed, half passes by. */
function passing(channels: number): Layer {
  return sequential(split(2, 1, identity(), branch(channels / 2, 1)), shuffle(2));
}

/** Figure 3 (d): both halves are made from all channels, with stride 2. */
function shrinking(channels: number): Layer {
  const half = channels / 2;
  const short = sequential(...depthwiseNorm(2), ...convNormRelu(half, 1));
  return sequential(
    concat(1, named("shortcut", short), named("branch", branch(half, 2))),
    shuffle(2),
  );
}

function branch(channels: number, stride: number): Layer {
  return sequential(
    ...convNormRelu(channels, 1),
    ...depthwiseNorm(stride),
    ...convNormRelu(channels, 1),
  );
}

function depthwiseNorm(stride: number): readonly Layer[] {
  return [depthwise(3, { stride, bias: false }), batchNorm()];
}

/**
 * Channels dealt out like cards, so that each group gets some of all (Zhang et al. 2018, "ShuffleNet", section
 * 3.1): [a b c d] in two groups becomes [a c b d]. Keeps the shape.
 */
function shuffle(groups: number): Layer {
  return layer("shuffle", (net, x) => {
    const channels = net.channels(x);
    const each = channels / groups;
    const order = Array.from(
      { length: channels },
      (_, i) => (i % groups) * each + Math.floor(i / groups),
    );
    // One Gather, where the paper reshapes and transposes: it holds for any height and width.
    return net.emit("Gather", [x, net.constant(int64([channels], order), "order")], {
      attributes: { axis: int(1) },
    });
  });
}
