// Cases of normalisation, of the softmax family, and of the losses built on it.

import { float, int } from "../../../src/graph/graph.ts";
import { between, type Generator, type Generators, positive, shapeOf, turn, x } from "../case.ts";

const batchNorm: Generator = (random, variant) => {
  const training = variant % 2 === 1;
  const [n, channels] = [between(random, 2, 4), between(random, 1, 3)];
  const spatial = shapeOf(random, turn(Math.floor(variant / 2), [2, 1, 0, 3] as const), 3);
  return {
    op: "BatchNormalization",
    form: `${training ? "training" : "inference"}, ${spatial.length}-D`,
    inputs: [
      x([n, channels, ...spatial]),
      x([channels]),
      x([channels]),
      x([channels]),
      x([channels], positive),
    ],
    attributes: {
      ...(training && { training_mode: int(1) }),
      ...(variant % 3 === 0 && { epsilon: float(1e-2) }),
    },
    outputs: training ? 3 : 1,
  };
};

function softmax(op: string): Generator {
  return (random, variant) => {
    const rank = between(random, 1, 4);
    const axis = random.integer(rank);
    const form = turn(variant, ["default", "axis", "negative axis"] as const);
    return {
      op,
      form,
      inputs: [x(shapeOf(random, rank))],
      ...(form !== "default" && {
        attributes: { axis: int(form === "axis" ? axis : axis - rank) },
      }),
    };
  };
}

/** All of this family. */
export const norm: Generators = {
  BatchNormalization: batchNorm,
  Softmax: softmax("Softmax"),
  LogSoftmax: softmax("LogSoftmax"),
};
