// Pictures as sequences.

import { ints } from "../../graph/graph.ts";
import type { Init } from "../init.ts";
import { type Layer, layer } from "../layer.ts";
import { conv } from "./conv.ts";
import { integerList } from "./shared.ts";

/**
 * Each square of `size` pixels as one vector, row by row (Dosovitskiy et al. 2021, equation 1), `[N, C, H, W]`
 * → `[N, (H/size)·(W/size), width]`: a convolution whose stride is its kernel.
 *
 * @example
 * nn.sequential(nn.patches(16, 768), nn.transformer({ attention: { heads: 12 } }))
 */
export function patches(
  size: number,
  width: number,
  options: { readonly init?: Init } = {},
): Layer {
  return layer("patches", (net, image) => {
    const grid = net.inside(conv(width, size, { stride: size, padding: 0, ...options }), image);
    const rows = net.emit("Reshape", [grid, integerList(net, [0, 0, -1])]);
    return net.emit("Transpose", [rows], { attributes: { perm: ints([0, 2, 1]) } });
  });
}
