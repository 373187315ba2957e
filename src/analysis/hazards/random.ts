// Models that do not give the same answer twice.

import { diagnostic } from "../../base/diagnostic.ts";
import { numbersOf } from "../../graph/tensor.ts";
import { everyNode, placeOf, type Standing } from "../standing.ts";
import type { Rule } from "./rule.ts";

const DRAWS = new Set([
  ...["RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"],
  ...["Bernoulli", "Multinomial"],
]);

/** Random numbers without a seed, and Dropout at work. A seed makes the first run of a session repeatable. */
export const unseeded: Rule = {
  id: "random/unseeded",
  title: "the same input does not give the same answer",
  check: ({ run }) =>
    [...everyNode(run)].flatMap((at) => {
      const why = whyRandom(at);
      if (why === undefined) return [];
      const { text, fix } = why;
      return [
        diagnostic({ id: "random/unseeded", severity: "warning", where: placeOf(at), text, fix }),
      ];
    }),
};

function whyRandom(at: Standing): { readonly text: string; readonly fix: string } | undefined {
  const { node } = at;
  if (node.domain !== "" || node.attributes.has("seed")) return undefined;
  if (node.op === "Dropout" && drops(at)) {
    return {
      text: "Dropout is in training mode: it drops other elements in each run",
      fix: "Export the model in inference mode.",
    };
  }
  if (!DRAWS.has(node.op)) return undefined;
  return {
    text: `${node.op} has no seed: the same input gives another answer in each run`,
    fix: "Set its seed, or make the random numbers an input.",
  };
}

function drops({ node, graph }: Standing): boolean {
  const mode = node.inputs[2] ?? "";
  if (mode === "") return false;
  const ref = graph.initializers.get(mode);
  const given = ref === undefined ? undefined : numbersOf(ref);
  return given !== undefined && given[0] !== 0;
}
