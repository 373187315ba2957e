// Random numbers that depend on the seed alone, so that a run can be repeated bit for bit. Counter
// based: no hidden state that would have to be saved in a checkpoint.

/** Mixes two 32-bit integers to one (the finaliser of MurmurHash3 over a Weyl sequence). */
export function mix32(seed: number, counter: number): number {
  let h = (seed ^ Math.imul(counter + 1, 0x9e3779b9)) | 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** A stream of numbers that is a function of its seed. */
export class Random {
  readonly #seed: number;
  #counter = 0;

  constructor(seed: number, stream = 0) {
    this.#seed = mix32(seed >>> 0, stream ^ 0x5bd1e995);
  }

  /** Uniform in [0, 1), 32 bits. */
  uniform(): number {
    return mix32(this.#seed, this.#counter++) / 4_294_967_296;
  }

  /** Uniform integer in [0, bound). */
  integer(bound: number): number {
    return Math.floor(this.uniform() * bound);
  }

  /** Standard normal (Box and Muller 1958). */
  normal(): number {
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    return radius * Math.cos(2 * Math.PI * this.uniform());
  }

  /** A permutation of 0 … count-1 (Fisher and Yates). */
  permutation(count: number): Uint32Array {
    const order = Uint32Array.from({ length: count }, (_, i) => i);
    for (let i = count - 1; i > 0; i--) {
      const j = this.integer(i + 1);
      const held = order[i] as number;
      order[i] = order[j] as number;
      order[j] = held;
    }
    return order;
  }
}
