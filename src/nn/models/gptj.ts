// GPT-J-style decoders (Wang and Komatsuzaki 2021): attention and the two-layer network side by side behind
// one norm, rotary positions of neighbouring pairs in the first part of each head.

import { transformer } from "../blocks/transformer.ts";
import { type Layer, layer, named } from "../layer.ts";
import { dense, embedding, layerNorm } from "../layers/index.ts";

/** Options of a GPT-J-style decoder; the defaults are GPT-J 6B. */
export interface GptjOptions {
  /** Rows of the token table. Default 50,400. */
  readonly tokens?: number;
  /** Default 4096. */
  readonly width?: number;
  /** Default 28. */
  readonly depth?: number;
  /** Default 16. */
  readonly heads?: number;
  /** How many elements of each head rotary positions turn. Default 64. */
  readonly rotarySize?: number;
}

/**
 * Tokens `[N, S]` int64 → logits `[N, S, tokens]`. GPT-J 6B has 6,050,882,784 parameters and one skip in each
 * of its 28 blocks.
 */
export function gptj(options: GptjOptions = {}): Layer {
  const { tokens = 50_400, width = 4096, depth = 28, heads = 16, rotarySize: size = 64 } = options;
  const init = { name: "normal", deviation: 0.02 } as const;
  return layer("gptj", (net, ids) => {
    let x = net.inside(named("tokens", embedding(tokens, width, { init })), ids);
    for (let i = 0; i < depth; i++) {
      const block = transformer({
        attention: { heads, causal: true, rotary: { interleaved: true, size }, bias: false, init },
        mlp: { init, activation: "gelu-tanh" },
        parallel: true,
      });
      x = net.inside(named(`block${i + 1}`, block), x);
    }
    return net.inside(named("head", dense(tokens, { init })), net.inside(layerNorm(), x));
  });
}
