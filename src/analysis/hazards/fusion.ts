// What keeps the runtime from computing several ops as one.

import { diagnostic } from "../../base/diagnostic.ts";
import { indexOf } from "../../graph/query.ts";
import { isMove } from "../skips/vocabulary.ts";
import { everyNode, placeOf, type Standing } from "../standing.ts";
import type { Rule } from "./rule.ts";

/** Layers whose weights can take a norm in inference form up. */
const FOLDS = new Set(["Conv", "ConvTranspose", "Gemm"]);

/** A batch norm that cannot be folded into the layer before it (ONNX Runtime, "Graph Optimizations": Conv BatchNorm Fusion). */
export const normApart: Rule = {
  id: "fusion/norm-apart",
  title: "a BatchNormalization cannot be folded into the layer before it",
  check: ({ run }) =>
    [...everyNode(run)].flatMap((at) => {
      const why = at.node.op === "BatchNormalization" ? whatStandsBetween(at) : undefined;
      if (why === undefined) return [];
      return [
        diagnostic({
          id: "fusion/norm-apart",
          severity: "warning",
          where: placeOf(at),
          text: `${why}: the runtime computes the norm apart, over the whole activation, in each run`,
          fix: "Fold norms before quantizing; ask for no output between a layer and its norm.",
        }),
      ];
    }),
};

function whatStandsBetween({ node, graph }: Standing): string | undefined {
  const { producers, uses, outputs } = indexOf(graph);
  const between: string[] = [];
  for (let name = node.inputs[0] ?? ""; ; ) {
    const before = producers.get(name);
    // With other readers, the value is needed as it is: the norm starts a branch.
    if (before === undefined || (uses.get(name)?.length ?? 0) > 1) return undefined;
    if (FOLDS.has(before.op)) {
      const layer = `${before.op} ${before.name}`;
      if (outputs.has(name)) return `what ${layer} gives is an output too`;
      return between.length > 0 ? `${between.join(", ")} stands behind ${before.op}` : undefined;
    }
    if (!isMove(before) || outputs.has(name)) return undefined;
    // The runtime leaves an Identity out.
    if (before.op !== "Identity") between.unshift(before.op);
    name = before.inputs[0] ?? "";
  }
}
