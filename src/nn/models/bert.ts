// BERT (Devlin et al. 2019): a post-norm encoder over tokens, with their kind (first or second sentence) and
// a mask for padding as further inputs.

import { transformer } from "../blocks/transformer.ts";
import { type Layer, layer, named } from "../layer.ts";
import { dense, dropout, embedding, layerNorm, tanh } from "../layers/index.ts";
import { positions } from "../layers/positions.ts";
import { firstPlace } from "./vit.ts";

/** Options of BERT; the defaults are its base size, uncased. */
export interface BertOptions {
  /** Tokens that there are. Default 30,522. */
  readonly tokens?: number;
  /** Longest sequence. Default 512. */
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
 * Tokens `[N, S]` int64 → states `[N, S, width]`. Further inputs: `token_types` (0 or 1) and
 * `attention_mask` (1 where there is a token), both like the tokens; further output: `pooled` `[N, width]`,
 * made of the first place. The base size has 109,482,240 parameters, the pooler's 590,592 included and the
 * heads of pre-training not, and two skips in each of its 12 blocks.
 *
 * @example
 * nn.buildNet(bert(), { input: { name: "tokens", shape: ["S"], dtype: "int64" }, output: "states", seed: 1 })
 */
export function bert(options: BertOptions = {}): Layer {
  const { tokens = 30_522, length = 512, width = 768, depth = 12, heads = 12 } = options;
  const rate = options.dropout ?? 0.1;
  const init = { name: "truncated-normal", deviation: 0.02 } as const;
  return layer("bert", (net, ids) => {
    const types = net.input("token_types", net.shape(ids), "int64");
    const words = net.inside(named("tokens", embedding(tokens, width, { init })), ids);
    const kinds = net.inside(named("types", embedding(2, width, { init })), types);
    let x = net.inside(positions(length, { init }), net.emit("Add", [words, kinds]));
    x = net.inside(layerNorm({ epsilon: 1e-12 }), x);
    if (rate > 0) x = net.inside(dropout(rate), x);
    for (let i = 0; i < depth; i++) {
      const block = transformer({
        attention: { heads, mask: "attention_mask", dropout: rate, init },
        mlp: { init },
        placement: "post",
        epsilon: 1e-12,
        dropout: rate,
      });
      x = net.inside(named(`block${i + 1}`, block), x);
    }
    const first = net.inside(named("pooler", dense(width, { init })), firstPlace(net, x));
    net.output("pooled", net.inside(tanh(), first));
    return x;
  });
}
