// The transformer block (Vaswani et al. 2017, figure 1): attention and a two-layer network, each with a
// skip, in the forms that are in use: where the normalisation stands, which it is, and how branches scale.

import type { ValueName } from "../../graph/graph.ts";
import { float32 } from "../../graph/tensor.ts";
import type { Init } from "../init.ts";
import { type Layer, layer, named } from "../layer.ts";
import { type AttentionOptions, attention, initOf } from "../layers/attention.ts";
import { dense, dropout, gelu, layerNorm, relu, rmsNorm, silu } from "../layers/index.ts";
import type { Net } from "../net.ts";
import { type ScaleOfAnyBranch, scaleLayers } from "./branch-scale.ts";
import { stochasticDepth } from "./stochastic-depth.ts";

/** Options of the two-layer network. */
export interface MlpOptions {
  /** Units of the inner layer. Default 4·C; of a gated one, which has a third matrix, 8·C/3. */
  readonly units?: number;
  /**
   * What stands between the layers. `gelu`, `gelu-tanh` (its approximation, as in GPT-2) and `relu`; `swiglu`
   * and `geglu` multiply an activated projection with a plain one (Shazeer 2020). Default `gelu`.
   */
  readonly activation?: "gelu" | "gelu-tanh" | "relu" | "swiglu" | "geglu";
  /** Default true. */
  readonly bias?: boolean;
  /** How weights start: all alike, or by name. Default `xavier`. */
  readonly init?: Init | Readonly<Partial<Record<"up" | "gate" | "down", Init>>>;
  /** Share dropped behind the inner layer in training. Default 0. */
  readonly dropout?: number;
}

/**
 * down(activation(up(x))), or down(activation(gate(x))·up(x)), `[…, C]` → `[…, C]`. Weights: `up`, `down` and
 * `gate`.
 *
 * @example
 * nn.mlp({ units: 11008, activation: "swiglu", bias: false }) // LLaMA 7B
 */
export function mlp(options: MlpOptions = {}): Layer {
  const { activation = "gelu", bias = true } = options;
  const init = initOf(options.init);
  return layer("mlp", (net, x) => {
    const width = net.size(x, -1);
    const isGated = activation === "swiglu" || activation === "geglu";
    const { units = isGated ? Math.floor((8 * width) / 3) : 4 * width } = options;
    const part = (name: "up" | "gate" | "down", value: ValueName): ValueName => {
      const size = name === "down" ? width : units;
      return net.inside(named(name, dense(size, { bias, init: init(name) })), value);
    };
    const active = net.inside(FUNCTIONS[activation](), part(isGated ? "gate" : "up", x));
    const inner = isGated ? net.emit("Mul", [active, part("up", x)]) : active;
    const some = options.dropout ? net.inside(dropout(options.dropout), inner) : inner;
    return part("down", some);
  });
}

const FUNCTIONS = {
  gelu: () => gelu(),
  "gelu-tanh": () => gelu({ approximate: "tanh" }),
  relu,
  swiglu: silu,
  geglu: () => gelu(),
};

/** Options of all transformer blocks. */
interface TransformerBase {
  readonly attention: AttentionOptions;
  readonly mlp?: MlpOptions;
  /** Which normalisation: of the layer (Ba et al. 2016) or by the root mean square alone (Zhang and Sennrich 2019). Default `layer`. */
  readonly norm?: "layer" | "rms";
  /** What the normalisation adds to the variance. Default that of the layer. */
  readonly epsilon?: number;
  /**
   * Attention to another sequence between the two parts, as in the decoder of Vaswani et al. 2017. With a
   * skip of its own.
   */
  readonly cross?: AttentionOptions;
  /** What each branch is multiplied by, such as `{ layerScale: 1e-5 }` or `"rezero"`. Default `none`. */
  readonly branchScale?: ScaleOfAnyBranch;
  /** Share of examples whose branch is left out in training (Huang et al. 2016). Default 0. */
  readonly dropPath?: number;
  /** Share of a branch's elements that is dropped in training. Default 0. */
  readonly dropout?: number;
}

/** Attention, then the two-layer network, each normalised at its start, or at start and end. */
export interface PreNormOptions extends TransformerBase {
  /** `pre`: x + f(norm(x)) (Xiong et al. 2020); `sandwich`: x + norm(f(norm(x))) (Ding et al. 2021). Default `pre`. */
  readonly placement?: "pre" | "sandwich";
  readonly deepNorm?: never;
  readonly parallel?: false;
}

/** Attention, then the two-layer network, each sum normalised. */
export interface PostNormOptions extends TransformerBase {
  /** norm(x + f(x)), as first published. */
  readonly placement: "post";
  /**
   * DeepNorm (Wang et al. 2022, figure 2) for a stack of so many blocks N, an encoder or a decoder alone:
   * norm(α·x + f(x)) with α = (2N)^¼, and initial weights of value, out, up, gate and down times β = (8N)^-¼.
   */
  readonly deepNorm?: number;
  readonly parallel?: false;
}

/** Both at once, behind one normalisation. */
export interface ParallelOptions extends TransformerBase {
  /** x + attention(norm(x)) + mlp(norm(x)) (Wang and Komatsuzaki 2021; Chowdhery et al. 2022). */
  readonly parallel: true;
  readonly placement?: "pre";
  readonly deepNorm?: never;
  readonly cross?: never;
}

/** Options of a transformer block. */
export type TransformerOptions = PreNormOptions | PostNormOptions | ParallelOptions;

/**
 * One block, `[N, S, C]` → `[N, S, C]`. Weights: `attention_norm`, `attention`, `mlp_norm`, `mlp`; parallel
 * blocks have one `norm`, sandwiches also `attention_norm_out` and `mlp_norm_out`.
 *
 * @example
 * nn.transformer({ attention: { heads: 12 } }) // ViT-B
 * @example
 * nn.transformer({
 *   attention: { heads: 32, causal: true, rotary: true, bias: false },
 *   mlp: { units: 11008, activation: "swiglu", bias: false },
 *   norm: "rms",
 * }) // LLaMA 7B
 */
export function transformer(options: TransformerOptions): Layer {
  const deep = options.deepNorm === undefined ? undefined : deepInits(options.deepNorm);
  const attend = attention({ ...options.attention, ...deep?.attention });
  const think = mlp({ ...options.mlp, ...deep?.mlp });
  return layer("block", (net, x) => {
    if (options.parallel === true) {
      const normal = net.inside(normOf("norm", options), x);
      const attended = finish(net, "attention", net.inside(attend, normal), options);
      const thought = finish(net, "mlp", net.inside(think, normal), options);
      const both = net.emit("Add", [attended, thought], { name: "branches" });
      return net.emit("Add", [both, x], { name: "merge" });
    }
    const part = (name: string, inner: Layer, value: ValueName): ValueName =>
      residualPart(net, value, { name, inner, options });
    const attended = part("attention", attend, x);
    const informed =
      options.cross === undefined
        ? attended
        : part("cross", named("cross", attention(options.cross)), attended);
    return part("mlp", think, informed);
  });
}

/** A branch with its skip and its normalisation. */
function residualPart(
  net: Net,
  x: ValueName,
  part: { name: string; inner: Layer; options: PreNormOptions | PostNormOptions },
): ValueName {
  const { name, inner, options } = part;
  const { placement = "pre", deepNorm } = options;
  const norm = (suffix: string, value: ValueName): ValueName =>
    net.inside(normOf(`${name}_norm${suffix}`, options), value);
  const start = placement === "post" ? x : norm("", x);
  const end = net.inside(inner, start);
  const branch = finish(net, name, placement === "sandwich" ? norm("_out", end) : end, options);
  const skip = deepNorm === undefined ? x : net.emit("Mul", [x, alphaOf(net, deepNorm)]);
  const sum = net.emit("Add", [branch, skip], { name: `${name}_merge` });
  return placement === "post" ? norm("", sum) : sum;
}

/** α of DeepNorm. */
function alphaOf(net: Net, blocks: number): ValueName {
  return net.constant(float32([], [(2 * blocks) ** 0.25]), "alpha");
}

/** Initial weights of DeepNorm: Xavier's, those behind which values pass times β. */
function deepInits(blocks: number) {
  const init = { name: "xavier-normal", gain: (8 * blocks) ** -0.25 } as const;
  const plain = "xavier-normal";
  const attention = { query: plain, key: plain, value: init, out: init } as const;
  return { attention: { init: attention }, mlp: { init } };
}

function normOf(name: string, { norm = "layer", epsilon }: TransformerBase): Layer {
  const options = epsilon === undefined ? {} : { epsilon };
  return named(name, norm === "layer" ? layerNorm(options) : rmsNorm(options));
}

/** What happens to a branch before it is merged. */
function finish(net: Net, name: string, branch: ValueName, options: TransformerBase): ValueName {
  const { branchScale = "none", dropPath, dropout: rate } = options;
  const layers = scaleLayers(branchScale).map((scale) => named(`${name}_scale`, scale));
  if (rate) layers.unshift(dropout(rate));
  if (dropPath) layers.push(stochasticDepth(dropPath));
  return layers.reduce((value, next) => net.inside(next, value), branch);
}
