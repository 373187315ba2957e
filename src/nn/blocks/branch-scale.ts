// How the branch of a skip starts out small, so that a deep network starts as a shallow one: one option
// for all blocks. Each way multiplies the branch by something that is learned.

import { type Layer, layer } from "../layer.ts";

/**
 * What the branch of a residual block is multiplied by at its end.
 *
 * - `none`: nothing.
 * - `zero`: nothing, but the scale of the last norm of the branch starts at 0 (Goyal et al. 2017, section
 *   5.1), or the weights of its last layer, where no norm ends it.
 * - `rezero`: a learned scalar that starts at 0 (Bachlechner et al. 2020, equation 2).
 * - `{ skipInit: a }`: the same from `a`, 0 or 1/√L, in place of norms (De and Smith 2020, section 3).
 * - `{ layerScale: v }`: one learned number for each channel, from `v` (Touvron et al. 2021, "Going deeper
 *   with image transformers", equation 4). Channels are axis 1 of images, else the last; `axis` says otherwise.
 * - `{ fixup: L }`: for a network of L blocks without norms, the whole of Zhang, Dauphin and Ma 2019
 *   ("Fixup initialization", section 3.2): He's initial values times L^(-1/(2m-2)) for m layers in a branch,
 *   the last layer zero, a scalar bias before each layer and activation, a scalar multiplier from 1.
 */
export type BranchScale = ScaleOfAnyBranch | "zero" | { readonly fixup: number };

/** Those that need nothing from the branch itself. */
export type ScaleOfAnyBranch =
  | "none"
  | "rezero"
  | { readonly skipInit: number }
  | { readonly layerScale: number; readonly axis?: number };

/**
 * One learned number for each channel, from `value`; keeps the shape.
 *
 * @example
 * nn.layerScale(1e-6)
 */
export function layerScale(value: number, options: { readonly axis?: number } = {}): Layer {
  return layer("layer_scale", (net, x) => {
    const rank = net.shape(x).length;
    const { axis = rank < 4 ? -1 : 1 } = options;
    const at = axis < 0 ? rank + axis : axis;
    const behind = Array.from({ length: rank - 1 - at }, () => 1);
    const weight = net.weight("weight", [net.size(x, at), ...behind], value);
    return net.emit("Mul", [x, weight]);
  });
}

/** A learned number by which all of x is multiplied; keeps the shape. Rank 1: numbers of rank 0 are constants. */
export function scalarScale(value: number): Layer {
  return layer("scale", (net, x) => net.emit("Mul", [x, net.weight("weight", [1], value)]));
}

/** A learned number that is added to all of x; keeps the shape. */
export function scalarBias(): Layer {
  return layer("bias", (net, x) => net.emit("Add", [x, net.weight("weight", [1], 0)]));
}

/** The layers that a scale puts at the end of a branch. */
export function scaleLayers(scale: BranchScale): readonly Layer[] {
  if (scale === "none" || scale === "zero") return [];
  if (scale === "rezero") return [scalarScale(0)];
  if ("skipInit" in scale) return [scalarScale(scale.skipInit)];
  if ("layerScale" in scale) {
    return [layerScale(scale.layerScale, scale.axis === undefined ? {} : { axis: scale.axis })];
  }
  return [scalarScale(1), scalarBias()];
}

/**
 * What Fixup multiplies the initial values of a layer by: `blocks` in the network, `layers` in the branch. The
 * exponent has no meaning for one layer, which is the last one and starts at zero.
 */
export function fixupGain(blocks: number, layers: number): number {
  return layers < 2 ? 0 : blocks ** (-1 / (2 * layers - 2));
}
