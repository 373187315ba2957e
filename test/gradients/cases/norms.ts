// Cases of the norms of rows, groups and windows.

import type { Random } from "../../../src/base/random.ts";
import { type Attribute, float, int, ints } from "../../../src/graph/graph.ts";
import {
  between,
  type Generator,
  type Generators,
  omitted,
  oneOf,
  shapeOf,
  turn,
  x,
} from "../case.ts";

/** Far from zero, and near it beside epsilon. */
const EPSILONS = [1e-5, 1e-2, 0.5] as const;

function layerNorm(op: string, opset: number): Generator {
  return (random, variant) => {
    const rank = between(random, 1, 4);
    // Rows of two are ±1 whatever they hold, and of the gradient only rounding is left.
    const shape = shapeOf(random, rank, 4).map((size, axis) =>
      axis === rank - 1 ? size + 2 : size,
    );
    const axis = random.integer(rank);
    const biased = op === "LayerNormalization" && variant % 2 === 0;
    const told = op === "RMSNormalization" ? 1 : turn(variant, [1, 3, 1, 2] as const);
    const outputs = op === "SimplifiedLayerNormalization" ? Math.min(told, 2) : told;
    const scaled = shape.slice(axis);
    return {
      op,
      form: `axis ${axis === rank - 1 ? "last" : "before"}${biased ? ", bias" : ""}, outputs ${outputs}`,
      opset,
      inputs: [x(shape), x(scaled), ...(biased ? [x(scaled)] : [])],
      attributes: {
        axis: int(variant % 3 === 0 ? axis : axis - rank),
        epsilon: float(turn(variant, EPSILONS)),
      },
      outputs,
    };
  };
}

function skipNorm(centred: boolean): Generator {
  return (random, variant) => {
    const [n, length, width] = [
      between(random, 1, 3),
      between(random, 1, 4),
      between(random, 4, 7),
    ];
    const skip = turn<readonly number[]>(variant, [
      [n, length, width],
      [1, length, width],
      [length, width],
    ] as const);
    const vector = [width];
    const form = turn(variant, ["plain", "bias", "sum", "bias, sum"] as const);
    const bias = form.includes("bias") ? [x(vector)] : [];
    const shift = centred ? [variant % 3 === 0 && bias.length > 0 ? omitted : x(vector)] : [];
    return {
      op: centred ? "SkipLayerNormalization" : "SkipSimplifiedLayerNormalization",
      domain: "com.microsoft",
      form: `${form}${skip.length === 3 && skip[0] === n ? "" : ", skip broadcast"}`,
      inputs: [x([n, length, width]), x(skip), x(vector), ...shift, ...bias],
      attributes: { epsilon: float(turn(variant, EPSILONS)) },
      outputs: form.includes("sum") ? 4 : 1,
      reads: [0, 3],
    };
  };
}

/** A batch of images, signals or volumes with so many channels. */
function images(random: Random, channels: number, variant: number): number[] {
  const pixels = shapeOf(random, turn(variant, [2, 1, 3] as const), 3);
  return [between(random, 1, 3), channels, 3, ...pixels.slice(1)];
}

const instanceNorm: Generator = (random, variant) => {
  const channels = between(random, 1, 3);
  const shape = images(random, channels, variant);
  return {
    op: "InstanceNormalization",
    form: `${shape.length - 2}-D`,
    inputs: [x(shape), x([channels]), x([channels])],
    attributes: { epsilon: float(turn(variant, EPSILONS)) },
  };
};

const groupNorm: Generator = (random, variant) => {
  const groups = between(random, 1, 3);
  const channels = groups * between(random, 1, 3);
  const opset = turn(variant, [21, 22] as const);
  const shape = images(random, channels, variant);
  return {
    op: "GroupNormalization",
    form: `${shape.length - 2}-D, per channel`,
    opset,
    inputs: [x(shape), x([channels]), x([channels])],
    attributes: { num_groups: int(groups), epsilon: float(turn(variant, EPSILONS)) },
  };
};

const meanVariance: Generator = (random, variant) => {
  const given = turn(variant, [undefined, [0, 2], [-1], [1, 2, 3]] as const);
  return {
    op: "MeanVarianceNormalization",
    form: given === undefined ? "usual axes" : "axes",
    inputs: [x([2, between(random, 1, 3), between(random, 3, 4), 3])],
    ...(given && { attributes: { axes: ints(given) } }),
  };
};

const lpNorm: Generator = (random, variant) => {
  const rank = between(random, 1, 4);
  const axis = random.integer(rank);
  const order = turn(variant, [2, 1] as const);
  return {
    op: "LpNormalization",
    form: `order ${order}`,
    inputs: [
      x(
        shapeOf(random, rank, 4).with(axis, 3),
        (r) => 0.3 * Math.sign(r.normal()) + r.normal() * 0.05,
      ),
    ],
    attributes: { p: int(order), axis: int(variant % 3 === 0 ? axis - rank : axis) },
  };
};

/** The runtime has windows of odd sizes alone. */
const lrn: Generator = (random, variant) => {
  const size = turn(variant, [3, 1, 5] as const);
  const attributes: Record<string, Attribute> = { size: int(size) };
  if (variant % 2 === 0) {
    Object.assign(attributes, {
      alpha: float(2),
      beta: float(oneOf(random, [0.5, 1.25])),
      bias: float(0.5),
    });
  }
  return {
    op: "LRN",
    form: `${size} channels`,
    inputs: [x([between(random, 1, 2), between(random, 1, 6), between(random, 1, 3), 2])],
    attributes,
  };
};

/** All of this family. */
export const norms: Generators = {
  LayerNormalization: layerNorm("LayerNormalization", 20),
  RMSNormalization: layerNorm("RMSNormalization", 23),
  SimplifiedLayerNormalization: layerNorm("SimplifiedLayerNormalization", 20),
  "com.microsoft/SkipLayerNormalization": skipNorm(true),
  "com.microsoft/SkipSimplifiedLayerNormalization": skipNorm(false),
  InstanceNormalization: instanceNorm,
  GroupNormalization: groupNorm,
  MeanVarianceNormalization: meanVariance,
  LpNormalization: lpNorm,
  LRN: lrn,
};
