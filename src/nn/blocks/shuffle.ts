// The unit of ShuffleNet v2 (Ma et al. 2018, "ShuffleNet V2: practical guidelines for efficient CNN architecture
// design", figure 3 c and d), and the shuffling of channels.

import { int } from "../../graph/graph.ts";
import { int64 } from "../../graph/tensor.ts";
import { type Layer, layer, named } from "../layer.ts";
import {
  batchNorm,
  concat,
  conv,
  depthwise,
  identity,
  relu,
  sequential,
  split,
} from "../layers/index.ts";

/**
 * `[N, channels, H, W]` → the same, with stride 1: half of the channels passes by, half goes through 1x1, depthwise
 * 3x3 and 1x1. With stride 2, `[N, C, H, W]` → `[N, channels, H/2, W/2]`: both halves are made from all channels, one
 * by depthwise 3x3 and 1x1 alone. Shuffling lets the next unit change what passed by.
 *
 * @example
 * nn.sequential(nn.shuffleUnit(116, { stride: 2 }), nn.shuffleUnit(116))
 */
export function shuffleUnit(channels: number, options: { readonly stride?: 1 | 2 } = {}): Layer {
  const { stride = 1 } = options;
  const half = channels / 2;
  const branch = sequential(...convNormRelu(half), ...depthwiseNorm(stride), ...convNormRelu(half));
  const short = sequential(...depthwiseNorm(stride), ...convNormRelu(half));
  const halves =
    stride === 1
      ? split(2, 1, identity(), named("branch", branch))
      : concat(1, named("shortcut", short), named("branch", branch));
  return layer("unit", (net, x) => {
    if (stride === 1 && net.channels(x) !== channels) {
      const text = `a unit of ${channels} channels with stride 1 got ${net.channels(x)}`;
      net.fail("nn/channels", text, "Give the first unit of a stage stride 2.");
    }
    const y = net.inside({ ...halves, name: "halves" }, x);
    return net.inside(channelShuffle(2), y);
  });
}

function convNormRelu(channels: number): readonly Layer[] {
  return [conv(channels, 1, { bias: false }), batchNorm(), relu()];
}

function depthwiseNorm(stride: number): readonly Layer[] {
  return [depthwise(3, { stride, bias: false }), batchNorm()];
}

/**
 * Channels dealt out like cards, so that each group gets some of all (Zhang et al. 2018, "ShuffleNet", section
 * 3.1): [a b c d] in two groups becomes [a c b d]. Keeps the shape.
 *
 * @example
 * nn.channelShuffle(2)
 */
export function channelShuffle(groups: number): Layer {
  return layer("shuffle", (net, x) => {
    const channels = net.channels(x);
    const each = channels / groups;
    if (!Number.isInteger(each)) {
      const text = `${channels} channels do not fall into ${groups} groups`;
      net.fail("nn/groups", text, "Choose a number of groups that divides the channels.");
    }
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
