// Initial values of weights, by name. Each weight has a random stream of its own, derived from the
// seed and its name, so that adding a layer does not change the weights of the others.

import { unreachable } from "../base/assert.ts";
import { hashName, Random } from "../base/random.ts";
import { float32, type Tensor } from "../graph/tensor.ts";

/**
 * Rules that need no number.
 *
 * - `he`: normal with variance 2 / fan-in (He et al. 2015, equation 10), for layers before a ReLU;
 *   `he-uniform`: uniform with the same variance.
 * - `xavier`: uniform with variance 2 / (fan-in + fan-out) (Glorot and Bengio 2010, equation 16);
 *   `xavier-normal`: normal with the same variance.
 * - `orthogonal`: rows (or columns, where there are more rows) of length 1 at right angles to each other
 *   (Saxe et al. 2013, section 3), over `[out, in · kernel]`.
 * - `identity`: a layer of as many channels hands on what it gets; in the middle of a kernel, else zero.
 * - `zero`, `one`.
 *
 * Fan-in is the number of products that one output sums up, fan-out the number of outputs that one input
 * has a part in; groups count, and so do the strides of transposed convolutions.
 */
export type InitName =
  | "he"
  | "he-uniform"
  | "xavier"
  | "xavier-normal"
  | "orthogonal"
  | "identity"
  | "zero"
  | "one";

/**
 * How a weight starts: a rule by name, with what it takes, or a number that fills. `gain` multiplies;
 * `fan: "out"` keeps the variance of gradients instead of values; a truncated normal draws again what is
 * beyond two deviations.
 *
 * @example
 * nn.conv(64, 3, { init: { name: "he", fan: "out" } })
 */
export type Init =
  | number
  | InitName
  | { readonly name: InitName; readonly gain?: number; readonly fan?: "in" | "out" }
  | { readonly name: "normal" | "truncated-normal"; readonly deviation: number }
  | { readonly name: "uniform"; readonly bound: number };

/** How the fans of a weight follow from its shape `[out, in / groups, …kernel]`. */
export interface FanOptions {
  /** Default 1. */
  readonly groups?: number;
  /**
   * The weight is `[in, out / groups, …kernel]`, as of a transposed convolution with these strides; an
   * empty list for a matrix `[in, out]`.
   */
  readonly transposed?: readonly number[];
}

/** A weight to start. */
export interface WeightSeed extends FanOptions {
  readonly name: string;
  readonly shape: readonly number[];
  readonly seed: number;
}

const NAMES: readonly string[] = [
  ...["he", "he-uniform", "xavier", "xavier-normal", "orthogonal", "identity", "zero", "one"],
];

/** Whether this says how a weight starts; types rule out most of what does not, but not NaN. */
export function isInit(init: Init): boolean {
  if (typeof init === "number") return Number.isFinite(init);
  if (typeof init === "string") return NAMES.includes(init);
  switch (init?.name) {
    case "normal":
    case "truncated-normal":
      return Number.isFinite(init.deviation) && init.deviation >= 0;
    case "uniform":
      return Number.isFinite(init.bound) && init.bound >= 0;
    default:
      return NAMES.includes(init?.name) && Number.isFinite(init.gain ?? 1);
  }
}

/** The tensor that a weight starts from, seeded by `seed` and `name`. */
export function initialTensor(init: Init, weight: WeightSeed): Tensor {
  const { name, shape, seed } = weight;
  const count = shape.reduce((a, b) => a * b, 1);
  const values = new Float32Array(count);
  if (typeof init === "number") return float32(shape, values.fill(init));
  const rule = typeof init === "string" ? { name: init } : init;
  const random = new Random(seed, hashName(name));
  switch (rule.name) {
    case "normal":
      random.fillNormal(values, rule.deviation);
      break;
    case "truncated-normal":
      random.fillNormal(values, rule.deviation, 2);
      break;
    case "uniform":
      random.fillUniform(values, rule.bound);
      break;
    default:
      fillByRule(values, rule, { random, weight });
  }
  return float32(shape, values);
}

/** Fans of a weight: how many products go into an output, and out of an input. */
export function fansOf(shape: readonly number[], options: FanOptions): { in: number; out: number } {
  const { groups = 1, transposed } = options;
  const taps = shape.slice(2).reduce((a, b) => a * b, 1);
  const [first = 1, second = 1] = shape;
  if (transposed === undefined) return { in: second * taps, out: (first / groups) * taps };
  // Between the strides, an output sees only every so manieth tap.
  const seen = taps / transposed.reduce((a, b) => a * b, 1);
  return { in: (first / groups) * seen, out: second * taps };
}

function fillByRule(
  values: Float32Array,
  rule: { readonly name: InitName; readonly gain?: number; readonly fan?: "in" | "out" },
  { random, weight }: { random: Random; weight: WeightSeed },
): void {
  const { name, gain = 1, fan = "in" } = rule;
  const fans = fansOf(weight.shape, weight);
  const both = (fans.in + fans.out) / 2;
  switch (name) {
    case "he":
      random.fillNormal(values, gain * Math.sqrt(2 / fans[fan]));
      break;
    case "he-uniform":
      random.fillUniform(values, gain * Math.sqrt(6 / fans[fan]));
      break;
    case "xavier":
      random.fillUniform(values, gain * Math.sqrt(3 / both));
      break;
    case "xavier-normal":
      random.fillNormal(values, gain * Math.sqrt(1 / both));
      break;
    case "orthogonal":
      fillOrthogonal(values, { rows: weight.shape[0] ?? 1, gain, random });
      break;
    case "identity":
      fillIdentity(values, weight, gain);
      break;
    case "zero":
      break;
    case "one":
      values.fill(gain);
      break;
    default:
      unreachable(name);
  }
}

/**
 * Rows at right angles, drawn evenly among all such matrices: normal vectors, made orthogonal one after
 * another (Gram and Schmidt), each twice, which is as exact as the arithmetic (Giraud et al. 2005).
 */
function fillOrthogonal(
  values: Float32Array,
  options: { rows: number; gain: number; random: Random },
): void {
  const { rows, gain, random } = options;
  const columns = values.length / rows;
  const [few, long] = rows <= columns ? [rows, columns] : [columns, rows];
  const drawn = new Float32Array(few * long);
  random.fillNormal(drawn, 1);
  const vectors = Float64Array.from(drawn);
  const at = (i: number): Float64Array => vectors.subarray(i * long, (i + 1) * long);
  for (let i = 0; i < few; i++) {
    const own = at(i);
    for (let pass = 0; pass < 2; pass++) {
      for (let j = 0; j < i; j++) subtractAlong(own, at(j));
    }
    const length = Math.sqrt(dot(own, own));
    for (let k = 0; k < long; k++) own[k] = (own[k] ?? 0) / length;
  }
  for (let i = 0; i < few; i++) {
    for (const [k, value] of at(i).entries()) {
      values[few === rows ? i * long + k : k * few + i] = gain * value;
    }
  }
}

function dot(a: Float64Array, b: Float64Array): number {
  let total = 0;
  for (let i = 0; i < a.length; i++) total += (a[i] ?? 0) * (b[i] ?? 0);
  return total;
}

/** Takes from `a` what it has in the direction of `unit`. */
function subtractAlong(a: Float64Array, unit: Float64Array): void {
  const share = dot(a, unit);
  for (let i = 0; i < a.length; i++) a[i] = (a[i] ?? 0) - share * (unit[i] ?? 0);
}

/** 1 in the middle of the kernel from channel i of each group to output i of it (Dirac). */
function fillIdentity(values: Float32Array, weight: WeightSeed, gain: number): void {
  const { shape, groups = 1 } = weight;
  const [first = 1, second = 1, ...kernel] = shape;
  const taps = kernel.reduce((a, b) => a * b, 1);
  const middle = kernel.reduce((offset, size) => offset * size + Math.floor((size - 1) / 2), 0);
  const perGroup = first / groups;
  for (let i = 0; i < first; i++) {
    const channel = i % perGroup;
    if (channel < second) values[(i * second + channel) * taps + middle] = gain;
  }
}
