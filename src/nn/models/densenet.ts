// Densely connected networks: Huang et al. 2017, "Densely connected convolutional networks", table 1.

import { denseBlock, transition } from "../blocks/dense-block.ts";
import { type Layer, named } from "../layer.ts";
import { batchNorm, conv, dense, globalPool, maxPool, relu, sequential } from "../layers/index.ts";

/** Depths of table 1, and the 161 layers with growth 48 of the authors' code. */
export type DenseNetDepth = 121 | 161 | 169 | 201;

/** Options of a DenseNet. */
export interface DenseNetOptions {
  /** Default 1000. */
  readonly classes?: number;
  /** Channels that each layer adds. Default 32; 48 in DenseNet-161. */
  readonly growth?: number;
  /** Layers of each dense block, in place of those of the depth. */
  readonly blocks?: readonly number[];
  /** Share of what each layer adds that is dropped in training. Default 0. */
  readonly dropout?: number;
}

const BLOCKS: Readonly<Record<DenseNetDepth, readonly number[]>> = {
  121: [6, 12, 24, 16],
  161: [6, 12, 36, 24],
  169: [6, 12, 32, 32],
  201: [6, 12, 48, 32],
};

/**
 * DenseNet, `[N, 3, 224, 224]` → `[N, classes]`.
 *
 * @example
 * nn.densenet(121)
 */
export function densenet(depth: DenseNetDepth, options: DenseNetOptions = {}): Layer {
  const { classes = 1000, growth = depth === 161 ? 48 : 32, blocks = BLOCKS[depth] } = options;
  const { dropout = 0 } = options;
  return named(
    `densenet${depth}`,
    sequential(
      conv(2 * growth, 7, { stride: 2, bias: false }),
      batchNorm(),
      relu(),
      maxPool(3, { stride: 2, padding: 1 }),
      ...blocks.flatMap((layers, i) => [
        ...(i === 0 ? [] : [named(`transition${i}`, transition())]),
        named(`dense${i + 1}`, denseBlock(layers, { growth, dropout })),
      ]),
      batchNorm(),
      relu(),
      globalPool(),
      dense(classes),
    ),
  );
}
