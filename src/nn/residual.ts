// The residual block (He et al. 2016, "Deep residual learning for image recognition", figure 2 and
// section 3.3), and its plain twin: the same layers without the skip.

import type { ValueName } from "../graph/graph.ts";
import { formatShape, sameShape } from "../graph/shape.ts";
import { type Layer, layer } from "./layer.ts";
import { batchNorm, conv, relu } from "./layers/index.ts";
import type { Net } from "./net.ts";

/**
 * What the shortcut of a block is. `auto`: the identity where the shapes agree, else a projection.
 * `none`: no skip at all, which makes the block plain.
 */
export type Shortcut = "auto" | "identity" | "projection" | "none";

/** Options of a residual block. */
export interface ResidualOptions {
  /** Stride of the first convolution. Default 1. */
  readonly stride?: number;
  /** Default `auto`. */
  readonly shortcut?: Shortcut;
}

/**
 * `[N, C, H, W]` → `[N, channels, H/stride, W/stride]`: relu(x + norm(conv(relu(norm(conv(x)))))).
 *
 * @throws SkipwayError `input` when the shortcut is `identity` and the shapes differ; the diagnostic
 * names both shapes and the projection that would fit.
 */
export function residual(channels: number, options: ResidualOptions = {}): Layer {
  const { stride = 1, shortcut = "auto" } = options;
  return layer(shortcut === "none" ? "plain" : "residual", (net, x) => {
    const inner = net.inside(conv(channels, 3, { stride, bias: false }), x);
    const active = net.inside(relu(), net.inside(batchNorm(), inner));
    const outer = net.inside(conv(channels, 3, { bias: false }), active);
    const branch = net.inside(batchNorm(), outer);
    if (shortcut === "none") return net.inside(relu(), branch);
    const skip = shortcutOf(net, { x, branch, channels, stride, shortcut });
    return net.inside(relu(), net.emit("Add", [branch, skip], { name: "merge" }));
  });
}

function shortcutOf(
  net: Net,
  block: {
    x: ValueName;
    branch: ValueName;
    channels: number;
    stride: number;
    shortcut: Exclude<Shortcut, "none">;
  },
): ValueName {
  const { x, branch, channels, stride, shortcut } = block;
  const fits = sameShape(net.shape(x), net.shape(branch));
  if (shortcut === "identity" && !fits) {
    net.fail(
      "shape/mismatch",
      `the skip carries ${formatShape(net.shape(x))}, the branch makes ${formatShape(net.shape(branch))}`,
      `Use shortcut "auto": a 1x1 projection ${net.channels(x)}→${channels} with stride ${stride}.`,
    );
  }
  if (fits && shortcut !== "projection") return x;
  const project = layer("shortcut", (inner, value) =>
    inner.inside(batchNorm(), inner.inside(conv(channels, 1, { stride, bias: false }), value)),
  );
  return net.inside(project, x);
}
