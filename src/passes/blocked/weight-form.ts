// How a convolution's weight lies in blocks.

import { assert } from "../../base/assert.ts";

/** In blocks of inputs and outputs, or of outputs alone (few inputs). */
export type WeightForm = "blocks" | "outputs";

/**
 * Where each element of a plain weight [O, I, ...k] goes: [O/B, I/B, taps, B of I, B of O], or with form
 * `outputs` [O/B, I, taps, B of O].
 */
export function blockedIndex(
  shape: readonly number[],
  form: WeightForm,
  block: number,
): Uint32Array {
  const [outputs = 0, inputs = 0, ...kernel] = shape;
  const taps = kernel.reduce((a, b) => a * b, 1);
  assert(outputs % block === 0, `${outputs} outputs fill blocks of ${block}`);
  const each = form === "blocks" ? block : inputs;
  const index = new Uint32Array(outputs * inputs * taps);
  let at = 0;
  for (let o = 0; o < outputs; o++) {
    for (let i = 0; i < inputs; i++) {
      for (let tap = 0; tap < taps; tap++) {
        const groups = inputs / each;
        const group = Math.floor(o / block) * groups + Math.floor(i / each);
        const inner = form === "blocks" ? tap * block + (i % block) : i * taps + tap;
        index[at++] = (group * taps * each + inner) * block + (o % block);
      }
    }
  }
  return index;
}
