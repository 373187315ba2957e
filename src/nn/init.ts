// Initial values of weights, by name. Each weight has a random stream of its own, derived from the
// seed and its name, so that adding a layer does not change the weights of the others.

import { unreachable } from "../base/assert.ts";
import { Random } from "../base/random.ts";
import { float32, type Tensor } from "../graph/tensor.ts";

/**
 * How a weight starts. `he`: normal with variance 2 / fan-in (He et al. 2015, equation 10), for layers
 * before a ReLU. `xavier`: uniform with variance 2 / (fan-in + fan-out) (Glorot and Bengio 2010,
 * equation 16). A number fills.
 */
export type Init = "he" | "xavier" | number;

/** The tensor that a weight starts from: shape [out, in, …kernel], seeded by `seed` and `name`. */
export function initialTensor(
  init: Init,
  weight: { name: string; shape: readonly number[]; seed: number },
): Tensor {
  const { name, shape, seed } = weight;
  const count = shape.reduce((a, b) => a * b, 1);
  const values = new Float32Array(count);
  if (typeof init === "number") return float32(shape, values.fill(init));
  const random = new Random(seed, hashName(name));
  const taps = shape.slice(2).reduce((a, b) => a * b, 1);
  const fanIn = (shape[1] ?? 1) * taps;
  const fanOut = (shape[0] ?? 1) * taps;
  switch (init) {
    case "he": {
      const deviation = Math.sqrt(2 / fanIn);
      for (let i = 0; i < count; i++) values[i] = deviation * random.normal();
      break;
    }
    case "xavier": {
      const bound = Math.sqrt(6 / (fanIn + fanOut));
      for (let i = 0; i < count; i++) values[i] = bound * (2 * random.uniform() - 1);
      break;
    }
    default:
      unreachable(init);
  }
  return float32(shape, values);
}

/** FNV-1a, 32 bits: any spread-out hash serves to tell the streams apart. */
function hashName(name: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < name.length; i++) {
    hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
  }
  return hash >>> 0;
}
