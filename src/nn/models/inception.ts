// Networks whose blocks look at the same value through several kernels: GoogLeNet (Szegedy et al. 2015,
// "Going deeper with convolutions", 1409.4842, table 1) and Inception v3 (Szegedy et al. 2016, "Rethinking
// the inception architecture", 1512.00567, table 1). Their concatenations are no skips: every branch works.

import { type Layer, named } from "../layer.ts";
import {
  avgPool,
  batchNorm,
  type ConvOptions,
  concat,
  conv,
  dense,
  dropout,
  globalPool,
  maxPool,
  relu,
  sequential,
} from "../layers/index.ts";

/** Options of both networks. */
export interface InceptionOptions {
  /** Default 1000. */
  readonly classes?: number;
  /** All channels are multiplied by it. Default 1. */
  readonly width?: number;
  /** Share of the last features that is dropped in training. Default 0.2 in GoogLeNet, 0.5 in Inception v3. */
  readonly dropout?: number;
}

/** Convolution, norm and relu with the channels that the table states. */
type Unit = (channels: number, kernel: number | [number, number], more?: ConvOptions) => Layer;

function unitOf(width: number): Unit {
  return (channels, kernel, more = {}) =>
    named(
      "unit",
      sequential(
        conv(Math.max(1, Math.round(channels * width)), kernel, { bias: false, ...more }),
        batchNorm({ epsilon: 1e-3 }),
        relu(),
      ),
    );
}

/** Branches side by side, joined along the channels. */
function branches(...parts: readonly (readonly Layer[])[]): Layer {
  return concat(1, ...parts.map((part, i) => named(`branch${i + 1}`, sequential(...part))));
}

/**
 * GoogLeNet without auxiliary classifiers, `[N, 3, 224, 224]` → `[N, classes]`. With batch normalisation,
 * and 3x3 kernels for the 5x5 ones, as in the trained networks that are in use (torchvision).
 *
 * @example
 * nn.googlenet({ classes: 10 })
 */
export function googlenet(options: InceptionOptions = {}): Layer {
  const { classes = 1000, width = 1, dropout: rate = 0.2 } = options;
  const unit = unitOf(width);
  const pool = (kernel: number): Layer => maxPool(kernel, { stride: 2, ceil: true });
  /** Columns of table 1: 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection. */
  const inception = (name: string, ...columns: readonly [...SixNumbers]): Layer => {
    const [one, reduce3, three, reduce5, five, pooled] = columns;
    const block = branches(
      [unit(one, 1)],
      [unit(reduce3, 1), unit(three, 3)],
      [unit(reduce5, 1), unit(five, 3)],
      [maxPool(3, { stride: 1, padding: 1, ceil: true }), unit(pooled, 1)],
    );
    return named(`inception${name}`, block);
  };
  return named(
    "googlenet",
    sequential(
      unit(64, 7, { stride: 2 }),
      pool(3),
      unit(64, 1),
      unit(192, 3),
      pool(3),
      inception("3a", 64, 96, 128, 16, 32, 32),
      inception("3b", 128, 128, 192, 32, 96, 64),
      pool(3),
      inception("4a", 192, 96, 208, 16, 48, 64),
      inception("4b", 160, 112, 224, 24, 64, 64),
      inception("4c", 128, 128, 256, 24, 64, 64),
      inception("4d", 112, 144, 288, 32, 64, 64),
      inception("4e", 256, 160, 320, 32, 128, 128),
      pool(2),
      inception("5a", 256, 160, 320, 32, 128, 128),
      inception("5b", 384, 192, 384, 48, 128, 128),
      globalPool(),
      dropout(rate),
      dense(classes),
    ),
  );
}

type SixNumbers = [number, number, number, number, number, number];

/**
 * Inception v3 without auxiliary classifier, `[N, 3, 299, 299]` → `[N, classes]`.
 *
 * @example
 * nn.inceptionV3()
 */
export function inceptionV3(options: InceptionOptions = {}): Layer {
  const { classes = 1000, width = 1, dropout: rate = 0.5 } = options;
  const unit = unitOf(width);
  const pool = (): Layer => maxPool(3, { stride: 2 });
  return named(
    "inception_v3",
    sequential(
      unit(32, 3, { stride: 2, padding: 0 }),
      unit(32, 3, { padding: 0 }),
      unit(64, 3),
      pool(),
      unit(80, 1),
      unit(192, 3, { padding: 0 }),
      pool(),
      ...[32, 64, 64].map((pooled) => named("square", squareBlock(unit, pooled))),
      named("reduce", firstReduction(unit)),
      ...[128, 160, 160, 192].map((inner) => named("factored", factoredBlock(unit, inner))),
      named("reduce", secondReduction(unit)),
      ...[1, 2].map(() => named("wide", wideBlock(unit))),
      globalPool(),
      dropout(rate),
      dense(classes),
    ),
  );
}

const around = (): Layer => avgPool(3, { stride: 1, padding: 1 });

/** Figure 5: two 3x3 convolutions in the place of one 5x5. */
function squareBlock(unit: Unit, pooled: number): Layer {
  return branches(
    [unit(64, 1)],
    [unit(48, 1), unit(64, 5)],
    [unit(64, 1), unit(96, 3), unit(96, 3)],
    [around(), unit(pooled, 1)],
  );
}

/** Figure 10: 35x35 to 17x17. */
function firstReduction(unit: Unit): Layer {
  const down = { stride: 2, padding: 0 };
  return branches(
    [unit(384, 3, down)],
    [unit(64, 1), unit(96, 3), unit(96, 3, down)],
    [maxPool(3, { stride: 2 })],
  );
}

/** Figure 6: 7x7 kernels as a row and a column. */
function factoredBlock(unit: Unit, inner: number): Layer {
  return branches(
    [unit(192, 1)],
    [unit(inner, 1), unit(inner, [1, 7]), unit(192, [7, 1])],
    [
      unit(inner, 1),
      unit(inner, [7, 1]),
      unit(inner, [1, 7]),
      unit(inner, [7, 1]),
      unit(192, [1, 7]),
    ],
    [around(), unit(192, 1)],
  );
}

/** 17x17 to 8x8. */
function secondReduction(unit: Unit): Layer {
  const down = { stride: 2, padding: 0 };
  return branches(
    [unit(192, 1), unit(320, 3, down)],
    [unit(192, 1), unit(192, [1, 7]), unit(192, [7, 1]), unit(192, 3, down)],
    [maxPool(3, { stride: 2 })],
  );
}

/** Figure 7: row and column side by side. */
function wideBlock(unit: Unit): Layer {
  const cross = (): Layer => named("cross", branches([unit(384, [1, 3])], [unit(384, [3, 1])]));
  return branches(
    [unit(320, 1)],
    [unit(384, 1), cross()],
    [unit(448, 1), unit(384, 3), cross()],
    [around(), unit(192, 1)],
  );
}
