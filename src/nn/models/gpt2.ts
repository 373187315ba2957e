// GPT-2 (Radford et al. 2019): a pre-norm decoder with learned positions; its output layer is the table of
// its tokens.

import { transformer } from "../blocks/transformer.ts";
import { type Layer, layer, named } from "../layer.ts";
import { dropout, embedding, layerNorm } from "../layers/index.ts";
import { positions } from "../layers/positions.ts";
import { tiedHead } from "./language.ts";

/** Options of GPT-2; the defaults are its small size. */
export interface Gpt2Options {
  /** Tokens that there are. Default 50,257. */
  readonly tokens?: number;
  /** Longest sequence. Default 1024. */
  readonly length?: number;
  /** Default 768. */
  readonly width?: number;
  /** Default 12. */
  readonly depth?: number;
  /** Default 12. */
  readonly heads?: number;
  /** Share dropped behind embeddings, attention and branches in training. Default 0.1. */
  readonly dropout?: number;
}

/**
 * Tokens `[N, S]` int64 → logits `[N, S, tokens]`. GPT-2 small has 124,439,808 parameters and two skips in
 * each of its 12 blocks.
 *
 * @example
 * nn.buildNet(gpt2(), { input: { name: "tokens", shape: ["S"], dtype: "int64" }, output: "logits", seed: 1 })
 */
export function gpt2(options: Gpt2Options = {}): Layer {
  const { tokens = 50_257, length = 1024, width = 768, depth = 12, heads = 12 } = options;
  const rate = options.dropout ?? 0.1;
  // Section 2.3 of the paper: what goes into the sum of L blocks starts 1/√(2L) as large.
  const init = { name: "normal", deviation: 0.02 } as const;
  const last = { name: "normal", deviation: 0.02 / Math.sqrt(2 * depth) } as const;
  return layer("gpt2", (net, ids) => {
    let x = net.inside(named("tokens", embedding(tokens, width, { init })), ids);
    x = net.inside(positions(length), x);
    if (rate > 0) x = net.inside(dropout(rate), x);
    for (let i = 0; i < depth; i++) {
      const block = transformer({
        attention: {
          heads,
          causal: true,
          dropout: rate,
          init: { query: init, key: init, value: init, out: last },
        },
        mlp: { activation: "gelu-tanh", init: { up: init, down: last } },
        dropout: rate,
      });
      x = net.inside(named(`block${i + 1}`, block), x);
    }
    return tiedHead(net, net.inside(layerNorm(), x), { name: "tokens", tokens });
  });
}
