// Residual blocks (He et al. 2016, "Deep residual learning for image recognition", figures 2 and 5), with
// the activation behind the sum or before the branch (He et al. 2016, "Identity mappings in deep residual
// networks", figure 1), and their plain twins: the same layers without the skip.

import type { ValueName } from "../../graph/graph.ts";
import type { Init } from "../init.ts";
import { type Layer, layer } from "../layer.ts";
import { batchNorm, conv, dense, relu } from "../layers/index.ts";
import type { Net } from "../net.ts";
import { type BranchScale, fixupGain, scalarBias } from "./branch-scale.ts";
import type { Shortcut } from "./shortcut.ts";
import { addSkip } from "./skip.ts";
import { squeezeExcite } from "./squeeze-excite.ts";

/** Makes a norm whose scale starts at `scale`, such as `nn.batchNorm`. */
export type NormMaker = (options: { readonly scale: number }) => Layer;

/** Options of all residual blocks. */
export interface BlockOptions {
  /** Default `auto`. */
  readonly shortcut?: Shortcut;
  /**
   * `post`: norms and activations behind the layers, the last activation behind the sum. `pre`: both before
   * the layers, so that nothing stands on the skip; where x must change its shape, the shortcut starts
   * behind the first activation. Default `post`.
   */
  readonly order?: "post" | "pre";
  /** How the branch starts out small. Default `none`; `fixup` takes the norms away. */
  readonly branchScale?: BranchScale;
  /** Share of examples whose branch is dropped in training. Default 0. */
  readonly dropPath?: number;
  /** Default `nn.relu`. */
  readonly activation?: () => Layer;
}

/** Options of a residual block of convolutions. */
export interface ResidualOptions extends BlockOptions {
  /** Of the convolution that shrinks the image. Default 1. */
  readonly stride?: number;
  /** Default `nn.batchNorm`. Layers have a bias where there are no norms. */
  readonly norm?: NormMaker | "none";
  /** Squeeze-and-excitation at the end of the branch, with channels / `squeeze` inside. */
  readonly squeeze?: number;
}

/** Options of a bottleneck. */
export interface BottleneckOptions extends ResidualOptions {
  /** Channels of the 3x3 convolution. Default channels / 4. */
  readonly width?: number;
  /** Groups of the 3x3 convolution (Xie et al. 2017, figure 3c). Default 1. */
  readonly groups?: number;
}

/** Options of a residual block of dense layers. */
export interface ResidualDenseOptions extends BlockOptions {
  /** Units inside. Default as many as outside. */
  readonly hidden?: number;
  /** Default none. */
  readonly norm?: NormMaker | "none";
}

/**
 * `[N, C, H, W]` → `[N, channels, H/stride, W/stride]`: relu(x + norm(conv(relu(norm(conv(x)))))), both
 * convolutions 3x3. With `order: "pre"`: x + conv(relu(norm(conv(relu(norm(x)))))).
 *
 * @example
 * nn.residual(128, { stride: 2, shortcut: "padded", branchScale: "rezero" })
 *
 * @throws SkipwayError `input` when the shortcut is `identity` and the shapes differ; the diagnostic
 * names both shapes and the projection that would fit.
 */
export function residual(channels: number, options: ResidualOptions = {}): Layer {
  const { stride = 1 } = options;
  return block("residual", options, [
    { channels, kernel: 3, stride },
    { channels, kernel: 3 },
  ]);
}

/**
 * `[N, C, H, W]` → `[N, channels, H/stride, W/stride]`: 1x1 to `width` channels, 3x3 with the stride, 1x1 to
 * `channels`. The stride stands at the 3x3, as in PyTorch; the paper has it at the first 1x1.
 *
 * @example
 * nn.bottleneck(256, { width: 128, groups: 32 }) // ResNeXt
 */
export function bottleneck(channels: number, options: BottleneckOptions = {}): Layer {
  const { stride = 1, groups = 1, width = Math.max(1, Math.floor(channels / 4)) } = options;
  return block("bottleneck", options, [
    { channels: width, kernel: 1 },
    { channels: width, kernel: 3, stride, groups },
    { channels, kernel: 1 },
  ]);
}

/**
 * `[N, …, K]` → `[N, …, units]`: the same of two dense layers, relu(x + dense(relu(dense(x)))).
 *
 * @example
 * nn.residualDense(64, { order: "pre", branchScale: { fixup: 1000 } })
 */
export function residualDense(units: number, options: ResidualDenseOptions = {}): Layer {
  const { hidden = units, norm = "none" } = options;
  return block("residual", { ...options, norm }, [{ units: hidden }, { units }]);
}

/** A layer of a branch that has weights. */
type Unit =
  | {
      readonly channels: number;
      readonly kernel: number;
      readonly stride?: number;
      readonly groups?: number;
    }
  | { readonly units: number };

function block(name: string, options: ResidualOptions, units: readonly Unit[]): Layer {
  const { shortcut = "auto", order = "post", branchScale = "none", dropPath = 0 } = options;
  const branchOf = new Branch(options, units);
  return layer(shortcut === "none" ? "plain" : name, (net, x) => {
    const pre = order === "pre";
    const entry = pre ? branchOf.activated(net, x) : x;
    const branch = branchOf.build(net, entry);
    if (shortcut === "none") return pre ? branch : branchOf.activation(net, branch);
    const stays = shortcut === "identity" || (shortcut !== "projection" && branchOf.keeps(net, x));
    const y = addSkip(net, pre && !stays ? entry : x, {
      kind: shortcut,
      branch,
      stride: options.stride,
      norm: pre ? undefined : branchOf.norm(1),
      branchScale,
      dropPath,
    });
    return pre ? y : branchOf.activation(net, y);
  });
}

/** The branch of one block. */
class Branch {
  readonly #options: ResidualOptions;
  readonly #units: readonly Unit[];
  /** Number of blocks of the network, where the block is initialised by Fixup. */
  readonly #fixup: number | undefined;
  readonly #pre: boolean;

  constructor(options: ResidualOptions, units: readonly Unit[]) {
    const { branchScale = "none", order } = options;
    this.#options = options;
    this.#units = units;
    this.#pre = order === "pre";
    this.#fixup =
      typeof branchScale === "object" && "fixup" in branchScale ? branchScale.fixup : undefined;
  }

  /** The layers behind the entry, which is activated already in a block of order `pre`. */
  build(net: Net, entry: ValueName): ValueName {
    const { squeeze } = this.#options;
    let y = entry;
    for (const [i, unit] of this.#units.entries()) {
      if (i > 0)
        y = this.#pre ? this.activated(net, y) : this.activation(net, this.#biased(net, y));
      y = net.inside(this.#weighted(i), this.#biased(net, y));
      const norm = this.#pre ? undefined : this.norm(this.#startsAtZero(i) ? 0 : 1);
      if (norm !== undefined) y = net.inside(norm, y);
      if (i === this.#units.length - 1 && squeeze !== undefined && "channels" in unit) {
        y = net.inside(squeezeExcite(Math.max(1, Math.floor(unit.channels / squeeze))), y);
      }
    }
    return y;
  }

  /** Norm and activation, as they stand before a layer. */
  activated(net: Net, x: ValueName): ValueName {
    const norm = this.norm(1);
    const y = norm === undefined ? x : net.inside(norm, x);
    return this.activation(net, this.#biased(net, y));
  }

  activation(net: Net, x: ValueName): ValueName {
    const { activation = relu } = this.#options;
    return net.inside(activation(), x);
  }

  norm(scale: number): Layer | undefined {
    const { norm = batchNorm } = this.#options;
    return norm === "none" || this.#fixup !== undefined ? undefined : norm({ scale });
  }

  /** Whether x has the shape that the block makes. */
  keeps(net: Net, x: ValueName): boolean {
    const { stride = 1 } = this.#options;
    const last = this.#units.at(-1);
    if (last === undefined) return true;
    return "units" in last
      ? net.size(x, -1) === last.units
      : stride === 1 && net.channels(x) === last.channels;
  }

  #biased(net: Net, x: ValueName): ValueName {
    return this.#fixup === undefined ? x : net.inside(scalarBias(), x);
  }

  #startsAtZero(i: number): boolean {
    return this.#options.branchScale === "zero" && i === this.#units.length - 1;
  }

  #weighted(i: number): Layer {
    const unit = this.#units[i] ?? { units: 0 };
    const bias = this.norm(1) === undefined && this.#fixup === undefined;
    const init = this.#init(i);
    if ("units" in unit) return dense(unit.units, { bias, init });
    const { channels, kernel, stride = 1, groups = 1 } = unit;
    return conv(channels, kernel, { stride, groups, bias, init });
  }

  #init(i: number): Init {
    const isLast = i === this.#units.length - 1;
    const zero = this.#fixup !== undefined || (this.#startsAtZero(i) && !this.#endsInNorm());
    if (isLast && zero) return 0;
    if (this.#fixup === undefined) return "he";
    return { name: "he", gain: fixupGain(this.#fixup, this.#units.length) };
  }

  /** The norm at the end of the branch can start at zero in the place of the last layer. */
  #endsInNorm(): boolean {
    return !this.#pre && this.norm(1) !== undefined;
  }
}
