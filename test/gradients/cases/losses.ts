// Cases of the losses on labels.

import { type Attribute, int, string } from "../../../src/graph/graph.ts";
import { int64 } from "../../../src/graph/tensor.ts";
import {
  between,
  constant,
  fed,
  type Generator,
  type Generators,
  positive,
  shapeOf,
  turn,
  x,
} from "../case.ts";

/** An ignored label that is a class, the last one of Python's counting, and one far from any. */
const IGNORED = [undefined, 1, -1, -100] as const;

function loss(op: string): Generator {
  return (random, variant) => {
    const [n, classes] = [between(random, 2, 4), between(random, 2, 5)];
    const spatial = shapeOf(random, turn(variant, [0, 1, 2, 3] as const), 3);
    const count = spatial.reduce((a, b) => a * b, n);
    const ignored = turn(Math.floor(variant / 2), IGNORED);
    // The first one counts, so that a mean is a number.
    const labels = Array.from({ length: count }, (_, i) =>
      i > 0 && ignored !== undefined && random.integer(3) === 0 ? ignored : 2 * random.integer(2),
    ).map((label) => (label >= classes ? 0 : label));
    const reduction = turn(variant, ["mean", "sum", "none"] as const);
    const weighted = turn(Math.floor(variant / 3), [false, true] as const);
    const told = op === "SoftmaxCrossEntropyLoss" && variant % 2 === 1;
    const label = int64([n, ...spatial], labels);
    const attributes: Record<string, Attribute> = { reduction: string(reduction) };
    if (ignored !== undefined) attributes["ignore_index"] = int(ignored);
    const parts = [
      reduction,
      ...(spatial.length > 0 ? [`${spatial.length} axes more`] : []),
      ...(weighted ? ["class weights"] : []),
      ...(ignored === undefined ? [] : ["ignored labels"]),
      ...(told ? ["log probabilities"] : []),
    ];
    return {
      op,
      form: parts.join(", "),
      inputs: [
        x([n, classes, ...spatial]),
        variant % 2 === 0 ? constant(label) : fed(label),
        ...(weighted ? [x([classes], positive)] : []),
      ],
      attributes,
      outputs: told ? 2 : 1,
    };
  };
}

/** All of this family. */
export const losses: Generators = {
  SoftmaxCrossEntropyLoss: loss("SoftmaxCrossEntropyLoss"),
  NegativeLogLikelihoodLoss: loss("NegativeLogLikelihoodLoss"),
};
