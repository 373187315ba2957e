// ShuffleNet v2: Ma et al. 2018, "ShuffleNet V2: practical guidelines for efficient CNN architecture design",
// table 5.

import { shuffleUnit } from "../blocks/shuffle.ts";
import { type Layer, named } from "../layer.ts";
import { batchNorm, conv, dense, globalPool, maxPool, relu, sequential } from "../layers/index.ts";
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
 * ShuffleNet v2 1.0x, `[N, 3, 224, 224]` → `[N, classes]`.
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
        stage(s + 2, blocks[s] ?? 1, (i) => shuffleUnit(wide, { stride: i === 0 ? 2 : 1 })),
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
