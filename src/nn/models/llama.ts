// LLaMA-style decoders (Touvron et al. 2023; grouped heads since Llama 2 70B): pre-norm by the root mean
// square, rotary positions, SwiGLU, no biases.

import { transformer } from "../blocks/transformer.ts";
import { type Layer, layer, named } from "../layer.ts";
import { dense, embedding, rmsNorm } from "../layers/index.ts";
import { tiedHead } from "./language.ts";

/** Options of a LLaMA-style decoder; the defaults are Llama 2 7B. */
export interface LlamaOptions {
  /** Tokens that there are. Default 32,000. */
  readonly tokens?: number;
  /** Default 4096. */
  readonly width?: number;
  /** Default 32. */
  readonly depth?: number;
  /** Default 32. */
  readonly heads?: number;
  /** Heads of keys and values. Default `heads`. */
  readonly keyHeads?: number;
  /** Units of the inner layer of each block. Default 11,008. */
  readonly units?: number;
  /** Base of the rotary positions. Default 10,000. */
  readonly rotaryBase?: number;
  /** Default 1e-5. */
  readonly epsilon?: number;
  /** Whether the output layer is the table of the tokens. Default false. */
  readonly tied?: boolean;
}

/**
 * Tokens `[N, S]` int64 → logits `[N, S, tokens]`. Llama 2 7B has 6,738,415,616 parameters and two skips in
 * each of its 32 blocks.
 *
 * @example
 * llama({ tokens: 49_152, width: 576, depth: 30, heads: 9, keyHeads: 3, units: 1536, tied: true }) // SmolLM-135M
 */
export function llama(options: LlamaOptions = {}): Layer {
  const { tokens = 32_000, width = 4096, depth = 32, heads = 32, units = 11_008 } = options;
  const { keyHeads = heads, rotaryBase: base = 10_000, epsilon = 1e-5, tied = false } = options;
  const init = { name: "normal", deviation: 0.02 } as const;
  return layer("llama", (net, ids) => {
    let x = net.inside(named("tokens", embedding(tokens, width, { init })), ids);
    for (let i = 0; i < depth; i++) {
      const block = transformer({
        attention: { heads, keyHeads, causal: true, rotary: { base }, bias: false, init },
        mlp: { init, units, activation: "swiglu", bias: false },
        norm: "rms",
        epsilon,
      });
      x = net.inside(named(`block${i + 1}`, block), x);
    }
    x = net.inside(rmsNorm({ epsilon }), x);
    if (tied) return tiedHead(net, x, { name: "tokens", tokens });
    return net.inside(named("head", dense(tokens, { bias: false, init })), x);
  });
}
