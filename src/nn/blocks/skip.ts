// A skip around any branch, y = shortcut(x) + scale·branch(x): what all additive blocks end in.

import type { ValueName } from "../../graph/graph.ts";
import { type Layer, layer, named } from "../layer.ts";
import type { Net } from "../net.ts";
import { type BranchScale, type ScaleOfAnyBranch, scaleLayers } from "./branch-scale.ts";
import { type Shortcut, type ShortcutTarget, shortcutOf } from "./shortcut.ts";
import { stochasticDepth } from "./stochastic-depth.ts";

/** Options of a skip. */
export interface SkipOptions {
  /** Default `auto`. `none` leaves the branch alone. */
  readonly shortcut?: Shortcut;
  /** Default `none`. */
  readonly branchScale?: ScaleOfAnyBranch;
  /** Share of examples whose branch is dropped in training. Default 0. */
  readonly dropPath?: number;
}

/**
 * x + branch(x) for a branch of one's own; where the branch changes the shape, the shortcut changes it too.
 * Weights of the branch are named `skip.branch.…`.
 *
 * @example
 * nn.skip(nn.sequential(nn.layerNorm(), nn.dense(64), nn.gelu(), nn.dense(16)), { branchScale: "rezero" })
 *
 * @throws SkipwayError `input` when the shortcut cannot make the shapes fit.
 */
export function skip(branch: Layer, options: SkipOptions = {}): Layer {
  const { shortcut = "auto", branchScale = "none", dropPath = 0 } = options;
  return layer("skip", (net, x) => {
    const y = net.inside(named("branch", branch), x);
    return shortcut === "none"
      ? y
      : addSkip(net, x, { kind: shortcut, branch: y, branchScale, dropPath });
  });
}

/** The end of an additive block: scales the branch, drops it at random, adds the shortcut. */
export function addSkip(
  net: Net,
  x: ValueName,
  end: ShortcutTarget & { readonly branchScale?: BranchScale; readonly dropPath?: number },
): ValueName {
  const { branchScale = "none", dropPath = 0 } = end;
  const scaled = scaleLayers(branchScale).reduce((y, next) => net.inside(next, y), end.branch);
  const branch = net.inside(stochasticDepth(dropPath), scaled);
  const carried = shortcutOf(net, x, { ...end, branch });
  return net.emit("Add", [branch, carried], { name: "merge" });
}
