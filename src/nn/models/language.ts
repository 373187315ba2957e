// What language models have in common.

import { ints, type ValueName } from "../../graph/graph.ts";
import type { Net } from "../net.ts";

/**
 * Logits by the table of the tokens itself (Press and Wolf 2017), `[N, S, C]` → `[N, S, tokens]`: the weight
 * of the embedding of that name is shared.
 */
export function tiedHead(
  net: Net,
  x: ValueName,
  embedding: { readonly name: string; readonly tokens: number },
): ValueName {
  const { name, tokens } = embedding;
  const table = net.weight(`${name}.weight`, [tokens, net.size(x, -1)], 0);
  const turned = net.emit("Transpose", [table], { attributes: { perm: ints([1, 0]) } });
  return net.emit("MatMul", [x, turned], { name: "head" });
}
