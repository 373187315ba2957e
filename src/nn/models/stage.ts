// Stages of a network: blocks one after another, so that weights are named `stage2.block1.…`.

import { type Layer, named } from "../layer.ts";
import { sequential } from "../layers/index.ts";

/** `count` blocks as stage `number`; `block` makes each from its index in the stage. */
export function stage(number: number, count: number, block: (index: number) => Layer): Layer {
  const blocks = Array.from({ length: count }, (_, index) =>
    named(`block${index + 1}`, block(index)),
  );
  return named(`stage${number}`, sequential(...blocks));
}
