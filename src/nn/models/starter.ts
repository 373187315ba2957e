// The network of the main job: deep enough that its plain twin visibly falls behind.

import { residual } from "../blocks/residual.ts";
import type { Layer } from "../layer.ts";
import { batchNorm, conv, dense, globalPool, relu, sequential } from "../layers/index.ts";

/** Residual blocks of two convolutions each: with the first convolution and the dense layer, 32 weighted layers. */
const BLOCKS = 15;
const WIDTH = 16;

/** `[N, 1, 8, 8]` → `[N, 10]`. `skips: false` is the plain twin: the same layers without the skips. */
export function starter(options: { skips: boolean }): Layer {
  const shortcut = options.skips ? "identity" : "none";
  return sequential(
    conv(WIDTH, 3, { bias: false }),
    batchNorm(),
    relu(),
    ...Array.from({ length: BLOCKS }, () => residual(WIDTH, { shortcut })),
    globalPool(),
    dense(10),
  );
}
