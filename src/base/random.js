// Random numbers that depend on the seed alone, so that a run can be repeated bit for bit. Counter
// based: no hidden state that would have to be saved in a checkpoint.
/** Mixes two 32-bit integers to one (the finaliser of MurmurHash3 over a Weyl sequence). */
export function mix32(seed, counter) {
  let h = (seed ^ Math.imul(counter + 1, 0x9e3779b9)) | 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
/** A number for a name, to tell streams apart: FNV-1a, 32 bits. */
export function hashName(name) {
  let hash = 0x811c9dc5;
  for (let i = 0; i < name.length; i++) {
    hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
  }
  return hash >>> 0;
}
/** A stream of numbers that is a function of its seed. */
export class Random {
  #seed;
  #counter = 0;
  constructor(seed, stream = 0) {
    this.#seed = mix32(seed >>> 0, stream ^ 0x5bd1e995);
  }
  /** Uniform in [0, 1), 32 bits. */
  uniform() {
    return mix32(this.#seed, this.#counter++) / 4_294_967_296;
  }
  /** Uniform integer in [0, bound). */
  integer(bound) {
    return Math.floor(this.uniform() * bound);
  }
  /** Standard normal (Box and Muller 1958). */
  normal() {
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    return radius * Math.cos(2 * Math.PI * this.uniform());
  }
  /** Fills a list with uniform numbers in [-bound, bound). */
  fillUniform(values, bound) {
    const seed = this.#seed;
    const first = this.#counter;
    const step = bound / 2_147_483_648;
    for (let i = 0; i < values.length; i++) {
      values[i] = ((mix32(seed, first + i) | 0) + 0.5) * step;
    }
    this.#counter = first + values.length;
  }
  /**
   * Fills a list with normal numbers of a standard deviation; those beyond `cut` deviations are drawn again.
   * The ziggurat of Marsaglia and Tsang (2000), with layer and place from different bits (Doornik 2005).
   */
  fillNormal(values, deviation, cut = Number.POSITIVE_INFINITY) {
    const { edges, heights } = ziggurat();
    const seed = this.#seed;
    let counter = this.#counter;
    let i = 0;
    while (i < values.length) {
      const bits = mix32(seed, counter++);
      const layer = bits & 0xff;
      const edge = edges[layer];
      let x = (((bits | 0) >> 8) + 0.5) * PLACE * edge;
      if (Math.abs(x) >= edges[layer + 1]) {
        // In the rim of a layer, or in the tail; once in about a hundred draws.
        this.#counter = counter;
        const kept = layer === 0 ? this.#tail(x < 0) : this.#rim(x, layer, heights);
        counter = this.#counter;
        if (kept === undefined) continue;
        x = kept;
      }
      if (Math.abs(x) <= cut) values[i++] = x * deviation;
    }
    this.#counter = counter;
  }
  #rim(x, layer, heights) {
    const below = heights[layer];
    const y = below + this.uniform() * (heights[layer + 1] - below);
    return y < Math.exp(-0.5 * x * x) ? x : undefined;
  }
  /** Beyond the last edge (Marsaglia 1964). */
  #tail(negative) {
    for (;;) {
      const beyond = -Math.log(1 - this.uniform()) / LAST_EDGE;
      const y = -Math.log(1 - this.uniform());
      if (2 * y >= beyond * beyond) return negative ? -(LAST_EDGE + beyond) : LAST_EDGE + beyond;
    }
  }
  /** A permutation of 0 … count-1 (Fisher and Yates). */
  permutation(count) {
    const order = Uint32Array.from({ length: count }, (_, i) => i);
    for (let i = count - 1; i > 0; i--) {
      const j = this.integer(i + 1);
      const held = order[i];
      order[i] = order[j];
      order[j] = held;
    }
    return order;
  }
}
/** Where the tail begins, and the area of each of 256 layers (Marsaglia and Tsang 2000, section 3). */
const LAST_EDGE = 3.654152885361009;
const LAYER_AREA = 0.00492867323399;
/** From 24 bits with a sign to (-1, 1). */
const PLACE = 1 / 8_388_608;
let made;
function ziggurat() {
  if (made !== undefined) return made;
  const density = (x) => Math.exp(-0.5 * x * x);
  const edges = new Float64Array(257);
  edges[0] = LAYER_AREA / density(LAST_EDGE);
  edges[1] = LAST_EDGE;
  for (let i = 2; i < 256; i++) {
    const x = edges[i - 1];
    edges[i] = Math.sqrt(-2 * Math.log(LAYER_AREA / x + density(x)));
  }
  const heights = edges.map(density);
  made = { edges, heights };
  return made;
}
