// Residual networks for small images: He et al. 2016, "Deep residual learning for image recognition",
// section 4.2, and the pre-activation bottlenecks of "Identity mappings in deep residual networks", appendix.

import { type BlockOptions, bottleneck, residual } from "../blocks/residual.ts";
import { linearDecay } from "../blocks/stochastic-depth.ts";
import { type Layer, layer, named } from "../layer.ts";
import { batchNorm, conv, dense, globalPool, relu, sequential } from "../layers/index.ts";
import { stage } from "./stage.ts";

/** Options of a ResNet for small images. `dropPath` is the rate of the last block. */
export interface CifarResNetOptions extends BlockOptions {
  /** Default 10. */
  readonly classes?: number;
  /** Channels of the first stage. Default 16. */
  readonly width?: number;
}

/**
 * ResNet of `depth` = 6n + 2 layers (20, 32, 44, 56, 110, 1202), `[N, 3, 32, 32]` → `[N, classes]`: three
 * stages of n blocks with 16, 32 and 64 channels. Shortcuts without weights (`padded`), as in the paper;
 * branches start at zero (`branchScale`).
 *
 * @example
 * nn.cifarResnet(110, { dropPath: 0.5 })
 */
export function cifarResnet(depth: number, options: CifarResNetOptions = {}): Layer {
  return small(
    `resnet${depth}`,
    { depth, step: 6 },
    { shortcut: "padded", ...options },
    (channels, block) => residual(channels, block),
  );
}

/**
 * Pre-activation ResNet of `depth` = 9n + 2 layers (164, 1001), `[N, 3, 32, 32]` → `[N, classes]`: three
 * stages of n bottlenecks with 64, 128 and 256 channels, projections where they change.
 *
 * @example
 * nn.preActResnet(164)
 */
export function preActResnet(depth: number, options: CifarResNetOptions = {}): Layer {
  return small(
    `preact_resnet${depth}`,
    { depth, step: 9 },
    { order: "pre", ...options },
    (channels, block) => bottleneck(4 * channels, block),
  );
}

type Block = BlockOptions & { readonly stride: number };

function small(
  name: string,
  { depth, step }: { depth: number; step: number },
  options: CifarResNetOptions,
  block: (channels: number, options: Block) => Layer,
): Layer {
  const { classes = 10, width = 16, order = "post", dropPath = 0 } = options;
  const count = (depth - 2) / step;
  if (!Number.isInteger(count) || count < 1) return noSuchDepth(name, step);
  const rate = linearDecay(dropPath, 3 * count);
  const normed = [batchNorm(), relu()];
  return named(
    name,
    sequential(
      conv(width, 3, { bias: false }),
      ...(order === "post" ? normed : []),
      ...[0, 1, 2].map((s) =>
        stage(s + 1, count, (i) => {
          const own = { stride: i === 0 && s > 0 ? 2 : 1, dropPath: rate(s * count + i) };
          return block(width * 2 ** s, { branchScale: "zero", ...options, ...own });
        }),
      ),
      ...(order === "pre" ? normed : []),
      globalPool(),
      dense(classes),
    ),
  );
}

function noSuchDepth(name: string, step: number): Layer {
  const depths = [1, 2, 3].map((n) => step * n + 2).join(", ");
  return layer(name, (net) =>
    net.fail("nn/depth", `${name} has no whole number of blocks`, `Depths are ${depths}, …`),
  );
}
