// All generators of cases. A new rule needs a line in the file of its family.

import type { Generator, Generators } from "../case.ts";
import { attentions } from "./attention.ts";
import { contrib } from "./contrib.ts";
import { contribAttentions } from "./contrib-attention.ts";
import { convolutions } from "./conv.ts";
import { elementwise } from "./elementwise.ts";
import { indexing } from "./indexing.ts";
import { losses } from "./losses.ts";
import { matmul } from "./matmul.ts";
import { movement } from "./movement.ts";
import { norm } from "./norm.ts";
import { norms } from "./norms.ts";
import { pool } from "./pool.ts";
import { quantized } from "./quant.ts";
import { recurrent } from "./recurrent.ts";
import { reduce } from "./reduce.ts";
import { spatial } from "./spatial.ts";

const ALL: Generators = {
  ...elementwise,
  ...reduce,
  ...movement,
  ...indexing,
  ...matmul,
  ...convolutions,
  ...pool,
  ...norm,
  ...spatial,
  ...norms,
  ...losses,
  ...recurrent,
  ...quantized,
  ...contrib,
  ...contribAttentions,
  ...attentions,
};

/** Ops of one operand that keep its batch, which may be one of none. */
const EMPTIED = [
  ...["Abs", "Neg", "Exp", "Log", "Sqrt", "Reciprocal", "Erf", "Sin", "Cos", "Tan", "Tanh"],
  ...["Sigmoid", "Relu", "LeakyRelu", "Elu", "Selu", "Celu", "Softplus", "Softsign", "Clip"],
  ...["HardSigmoid", "HardSwish", "Gelu", "Swish", "Mish", "Dropout", "Identity", "Cast"],
  ...["MaxPool", "AveragePool", "LpPool", "GlobalAveragePool", "GlobalMaxPool"],
  ...["InstanceNormalization", "Softmax", "LogSoftmax", "LpNormalization", "LRN"],
  ...["Transpose", "Tile", "Trilu", "CumSum", "DepthToSpace", "SpaceToDepth", "CenterCropPad"],
];

/** Every twelfth case with a first axis of 0. */
function emptied(generator: Generator): Generator {
  return (random, variant) => {
    const one = generator(random, variant);
    const [first, ...rest] = one.inputs;
    if (variant % 12 !== 11 || first?.kind !== "float" || first.shape.length === 0) return one;
    const none = { ...first, shape: [0, ...first.shape.slice(1)] };
    return { ...one, form: `${one.form}, batch of none`, inputs: [none, ...rest] };
  };
}

/** By op; those of other domains as `domain/type`. */
export const GENERATORS: Generators = Object.fromEntries(
  Object.entries(ALL).map(([op, generator]) => [
    op,
    EMPTIED.includes(op) ? emptied(generator) : generator,
  ]),
);
