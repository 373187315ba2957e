// SqueezeNet 1.1: Iandola et al. 2016, "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters"
// (1602.07360), in the cheaper form that its authors published with their code.

import { type Layer, named } from "../layer.ts";
import { concat, conv, dropout, globalPool, maxPool, relu, sequential } from "../layers/index.ts";

/**
 * SqueezeNet 1.1, `[N, 3, 224, 224]` → `[N, classes]`. `width` scales all channels. No skips.
 *
 * @example
 * nn.squeezenet({ classes: 10 })
 */
export function squeezenet(options: { classes?: number; width?: number } = {}): Layer {
  const { classes = 1000, width = 64 } = options;
  const scaled = (channels: number): number => Math.max(1, Math.round((channels * width) / 64));
  const pool = (): Layer => maxPool(3, { stride: 2, ceil: true });
  const fire = (number: number, squeeze: number, expand: number): Layer =>
    named(`fire${number}`, fireModule(scaled(squeeze), scaled(expand)));
  const layers = [
    conv(scaled(64), 3, { stride: 2, padding: 0 }),
    relu(),
    pool(),
    fire(2, 16, 64),
    fire(3, 16, 64),
    pool(),
    fire(4, 32, 128),
    fire(5, 32, 128),
    pool(),
    fire(6, 48, 192),
    fire(7, 48, 192),
    fire(8, 64, 256),
    fire(9, 64, 256),
    dropout(0.5),
    named("classify", conv(classes, 1, { init: { name: "normal", deviation: 0.01 } })),
    relu(),
    globalPool(),
  ];
  return named("squeezenet", sequential(...layers));
}

/** Few channels, then 1x1 and 3x3 convolutions of them side by side (figure 1): `[N, 2·expand, H, W]`. */
function fireModule(squeeze: number, expand: number): Layer {
  return sequential(
    named("squeeze", conv(squeeze, 1)),
    relu(),
    named(
      "expand",
      concat(
        1,
        named("one", sequential(conv(expand, 1), relu())),
        named("three", sequential(conv(expand, 3), relu())),
      ),
    ),
  );
}
