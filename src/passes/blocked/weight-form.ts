// How a convolution's weight lies in blocks, and the way there and back for weights outside of a graph.

import { assert } from "../../base/assert.ts";

/** In blocks of inputs and outputs, or of outputs alone (few inputs). */
export type WeightForm = "blocks" | "outputs";

/** A weight [O, I, ...k] and how it lies. */
export interface BlockedWeight {
  readonly shape: readonly number[];
  readonly form: WeightForm;
  /** Channels in a block. */
  readonly block: number;
}

/** A plain weight [O, I, …k] as [O/B, I/B, taps, B of I, B of O], or with form `outputs` [O/B, I, taps, B of O]. */
export function toBlocks(plain: Float32Array, weight: BlockedWeight): Float32Array {
  const blocked = new Float32Array(plain.length);
  eachElement(weight, (from, to) => {
    blocked[to] = plain[from] ?? 0;
  });
  return blocked;
}

/** The way back. */
export function fromBlocks(blocked: Float32Array, weight: BlockedWeight): Float32Array {
  const plain = new Float32Array(blocked.length);
  eachElement(weight, (to, from) => {
    plain[to] = blocked[from] ?? 0;
  });
  return plain;
}

/** Each element's place in the plain weight and in the blocked one. */
function eachElement(
  { shape, form, block }: BlockedWeight,
  visit: (plain: number, blocked: number) => void,
): void {
  const [outputs = 0, inputs = 0, ...kernel] = shape;
  const taps = kernel.reduce((a, b) => a * b, 1);
  assert(outputs % block === 0, `${outputs} outputs fill blocks of ${block}`);
  const each = form === "blocks" ? block : inputs;
  const groups = inputs / each;
  let plain = 0;
  for (let o = 0; o < outputs; o++) {
    for (let i = 0; i < inputs; i++) {
      const group = Math.floor(o / block) * groups + Math.floor(i / each);
      const start = group * taps * each * block + (o % block);
      for (let tap = 0; tap < taps; tap++) {
        const inner = form === "blocks" ? tap * block + (i % block) : i * taps + tap;
        visit(plain++, start + inner * block);
      }
    }
  }
}
