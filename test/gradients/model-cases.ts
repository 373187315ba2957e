// The networks whose gradients are checked as wholes: a small one of each family.

import * as nn from "../../src/nn/index.ts";
import { gpt2 } from "../../src/nn/models/gpt2.ts";
import { zoo } from "../../src/nn/models/index.ts";
import { highwayMlp } from "../../src/nn/models/sequence.ts";
import { unet } from "../../src/nn/models/unet.ts";
import type { Loss } from "../../src/passes/losses.ts";

/** One network. */
export interface ModelCase {
  readonly name: string;
  readonly build: () => nn.Layer;
  readonly input: nn.NetInput;
  readonly loss: Loss;
  /** Examples where all parameters are moved together; 2 if left out. */
  readonly batch?: number;
  /** Symbols of the input besides the batch. */
  readonly sizes?: Readonly<Record<string, number>>;
  /** Integers of each input lie below; 1 where none is named. */
  readonly limits?: Readonly<Record<string, number>>;
  /** Parameters whose gradient is zero, as those in front of a normalisation that takes them away. */
  readonly zero?: RegExp;
  /** Parameters that optimisation keeps in two forms, each of which has a part of the gradient. */
  readonly apart?: RegExp;
}

const labels = (classAxis = -1): Loss => ({ kind: "cross-entropy", classAxis });
const picture: nn.NetInput = { name: "image", shape: [3, 6, 6] };
const vector: nn.NetInput = { name: "x", shape: [5] };
const tokens: nn.NetInput = { name: "tokens", shape: ["S"], dtype: "int64" };
const classes = { limits: { label: 3 } };

/** A ResNet of two stages: a stem with a pool, one block with the identity, one with a projection. */
function tinyResnet(): nn.Layer {
  return nn.sequential(
    nn.conv(4, 3, { bias: false }),
    nn.batchNorm(),
    nn.relu(),
    nn.maxPool(3, { stride: 2, padding: 1 }),
    nn.residual(4),
    nn.residual(6, { stride: 2 }),
    nn.globalPool(),
    nn.dense(3),
  );
}

/** A DenseNet of two blocks. */
function tinyDensenet(): nn.Layer {
  return nn.sequential(
    nn.conv(4, 3, { stride: 2, bias: false }),
    nn.denseBlock(2, { growth: 2 }),
    nn.transition(),
    nn.denseBlock(1, { growth: 2 }),
    nn.batchNorm(),
    nn.relu(),
    nn.globalPool(),
    nn.dense(3),
  );
}

/** Inverted residuals: one with a skip, one that halves the image. */
function tinyMobilenet(): nn.Layer {
  return nn.sequential(
    nn.conv(4, 3, { stride: 2, bias: false }),
    nn.batchNorm(),
    nn.relu6(),
    nn.invertedResidual(4, { expand: 2 }),
    nn.invertedResidual(6, { expand: 2, stride: 2 }),
    nn.globalPool(),
    nn.dropout(0.2),
    nn.dense(3),
  );
}

/** A gate whose sign is that of a constant: open or shut whatever comes in. */
function conditional(threshold: number): nn.Layer {
  const block = nn.sequential(nn.dense(5), nn.tanh());
  return nn.sequential(nn.dense(5), nn.conditional(block, { threshold }), nn.dense(3));
}

/** Small networks, one of each family. */
export const MODELS: readonly ModelCase[] = [
  { name: "resnet", build: tinyResnet, input: picture, loss: labels(), ...classes },
  {
    name: "densenet",
    build: tinyDensenet,
    input: picture,
    loss: labels(),
    ...classes,
  },
  {
    name: "unet",
    build: () => unet({ width: 2, levels: 2, norm: true, classes: 3 }),
    // Odd on the way down: what comes up is padded.
    input: { name: "image", shape: [1, 6, 6] },
    loss: labels(1),
    ...classes,
  },
  {
    name: "mobilenet-v2",
    build: tinyMobilenet,
    input: picture,
    loss: labels(),
    ...classes,
  },
  {
    name: "encoder, pre-norm",
    build: () =>
      nn.sequential(
        nn.transformer({ attention: { heads: 2 }, mlp: { units: 6 }, dropout: 0.1 }),
        nn.layerNorm(),
        nn.dense(3),
      ),
    input: { name: "x", shape: [4, 4] },
    loss: labels(),
    zero: /key\.bias$/,
    ...classes,
  },
  {
    name: "causal language model, tied",
    build: () => gpt2({ tokens: 7, width: 4, depth: 1, heads: 2, length: 8 }),
    input: tokens,
    loss: labels(),
    sizes: { S: 5 },
    limits: { tokens: 7, label: 7 },
    apart: /^tokens\.weight$/,
    zero: /key\.bias$/,
  },
  {
    name: "highway",
    build: () => highwayMlp({ depth: 2, width: 4, classes: 3 }),
    input: vector,
    loss: labels(),
    ...classes,
  },
  {
    name: "conditional, open",
    build: () => conditional(0),
    input: vector,
    loss: { kind: "mse" },
  },
  {
    name: "conditional, shut",
    build: () => conditional(1),
    input: vector,
    loss: { kind: "mse" },
    zero: /then|gate/,
  },
  {
    name: "loop",
    build: () =>
      nn.sequential(
        nn.dense(4),
        nn.recurrentResidual(3, nn.sequential(nn.dense(4), nn.tanh())),
        nn.dense(3),
      ),
    input: vector,
    loss: { kind: "huber" },
  },
];

/** Every model of the zoo that has a small form. */
export function zooCases(): ModelCase[] {
  return Object.entries(zoo).flatMap(([name, { small }]) =>
    small === undefined
      ? []
      : [
          {
            ...{ name, ...small, loss: { kind: "mse" }, sizes: { S: 6 }, limits: LIMITS },
            // Their last stages are one pixel large: two examples are +1 and -1 to a normalisation.
            batch: /mobilenet|efficientnet/.test(name) ? 8 : 2,
          } as const,
        ],
  );
}

/** Integers that the networks of the zoo take. */
const LIMITS = { tokens: 11, token_types: 2, attention_mask: 2 };
