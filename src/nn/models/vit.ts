// The vision transformer (Dosovitskiy et al. 2021, section 3.1 and table 1): a picture as a sequence of
// patches, and the encoder of a transformer.

import type { ValueName } from "../../graph/graph.ts";
import { int } from "../../graph/graph.ts";
import { int64 } from "../../graph/tensor.ts";
import { linearDecay } from "../blocks/stochastic-depth.ts";
import { transformer } from "../blocks/transformer.ts";
import { type Layer, layer, named } from "../layer.ts";
import { dense, layerNorm } from "../layers/index.ts";
import { patches } from "../layers/patches.ts";
import { positions } from "../layers/positions.ts";
import { integerList } from "../layers/shared.ts";
import type { Net } from "../net.ts";

/** Options of a vision transformer; the defaults are ViT-B/16. */
export interface VitOptions {
  /** Side of a patch in pixels. Default 16. */
  readonly patch?: number;
  /** Default 768. */
  readonly width?: number;
  /** Default 12. */
  readonly depth?: number;
  /** Default 12. */
  readonly heads?: number;
  /** Units of the inner layer of each block. Default 4·width. */
  readonly units?: number;
  /** Default 1000. */
  readonly classes?: number;
  /** Share of examples that leave out a branch of the last block in training; less before. Default 0. */
  readonly dropPath?: number;
}

/**
 * `[N, 3, H, W]` → `[N, classes]`; H and W are multiples of the patch. ViT-B/16 at 224x224 has 86,567,656
 * parameters and two skips in each of its 12 blocks.
 *
 * @example
 * nn.buildNet(vit(), { input: { name: "image", shape: [3, 224, 224] }, output: "logits", seed: 1 })
 */
export function vit(options: VitOptions = {}): Layer {
  const { patch = 16, width = 768, depth = 12, heads = 12, classes = 1000 } = options;
  const { units = 4 * width, dropPath = 0 } = options;
  const rate = linearDecay(dropPath, depth);
  return layer("vit", (net, image) => {
    let x = net.inside(patches(patch, width), image);
    x = net.inside(withClassToken, x);
    x = net.inside(positions(net.size(x, 1)), x);
    for (let i = 0; i < depth; i++) {
      const block = transformer({
        attention: { heads },
        mlp: { units },
        epsilon: 1e-6,
        dropPath: rate(i),
      });
      x = net.inside(named(`block${i + 1}`, block), x);
    }
    x = net.inside(layerNorm({ epsilon: 1e-6 }), x);
    return net.inside(named("head", dense(classes)), firstPlace(net, x));
  });
}

/** `[N, S, C]` → `[N, S + 1, C]`: a learned vector in front, from which the class is read. */
const withClassToken = layer("class_token", (net, x) => {
  const token = net.weight("weight", [1, 1, net.size(x, -1)], 0);
  const batch = net.emit("Shape", [x], { attributes: { start: int(0), end: int(1) } });
  const one = integerList(net, [1, 1]);
  const shape = net.emit("Concat", [batch, one], { attributes: { axis: int(0) } });
  const tokens = net.emit("Expand", [token, shape]);
  return net.emit("Concat", [tokens, x], { attributes: { axis: int(1) } });
});

/** `[N, S, C]` → `[N, C]`: the first place of each sequence. */
export function firstPlace(net: Net, x: ValueName): ValueName {
  return net.emit("Gather", [x, net.constant(int64([], [0]), "first")], {
    name: "first",
    attributes: { axis: int(1) },
  });
}
