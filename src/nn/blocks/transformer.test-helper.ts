// Transformer blocks computed by hand in float64.

import { attend, type ByHand, type Rows, type Weights } from "../layers/attention.test-helper.ts";

/** Sums of vectors, place by place. */
export function plus(...all: readonly Rows[]): Rows {
  const [first = []] = all;
  return first.map((row, i) =>
    row.map((_, j) => all.reduce((sum, one) => sum + (one[i]?.[j] ?? Number.NaN), 0)),
  );
}

/** A function of each element. */
function each(x: Rows, apply: (value: number) => number): Rows {
  return x.map((row) => row.map(apply));
}

/** Place by place. */
function product(a: Rows, b: Rows): Rows {
  return a.map((row, i) => row.map((value, j) => value * (b[i]?.[j] ?? Number.NaN)));
}

/** x·sigmoid(x). */
export function silu(x: number): number {
  return x / (1 + Math.exp(-x));
}

/** GELU by its approximation. */
export function geluTanh(x: number): number {
  return 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
}

/** GELU by the series of the error function, which converges for all x of a test. */
export function gelu(x: number): number {
  const z = x / Math.SQRT2;
  let term = z;
  let erf = 0;
  for (let n = 0; n < 200; n++) {
    erf += term / (2 * n + 1);
    term *= -(z * z) / (n + 1);
  }
  return 0.5 * x * (1 + (2 / Math.sqrt(Math.PI)) * erf);
}

/** What a block by hand is told. */
export interface BlockByHand {
  readonly attention: ByHand;
  readonly cross?: ByHand;
  readonly placement?: "pre" | "post" | "sandwich" | "parallel";
  readonly norm?: "layer" | "rms";
  readonly epsilon?: number;
  readonly activation?: (value: number) => number;
  readonly isGated?: boolean;
  readonly skipScale?: number;
}

/** A transformer block; branches are multiplied by the weights `attention_scale` and `mlp_scale`, if any. */
export function block(x: Rows, weights: Weights, options: BlockByHand): Rows {
  const { placement = "pre", norm = "layer", epsilon = 1e-5, skipScale = 1 } = options;
  const normed = (name: string, rows: Rows): Rows =>
    norm === "layer"
      ? weights.at(name).layerNorm(rows, epsilon)
      : weights.at(name).rmsNorm(rows, epsilon);
  const branches: Readonly<Record<string, (rows: Rows) => Rows>> = {
    attention: (rows) => attend(rows, weights.at("attention"), options.attention),
    cross: (rows) =>
      options.cross === undefined ? rows : attend(rows, weights.at("cross"), options.cross),
    mlp: (rows) => mlpOf(rows, weights.at("mlp"), options),
  };
  const scaled = (name: string, rows: Rows): Rows => {
    if (!weights.has(`${name}_scale.weight`)) return rows;
    const scale = weights.vector(`${name}_scale.weight`);
    return rows.map((row) => row.map((value, i) => value * (scale[i] ?? scale[0] ?? 0)));
  };
  const branch = (name: string, rows: Rows): Rows => branches[name]?.(rows) ?? [];
  if (placement === "parallel") {
    const rows = normed("norm", x);
    return plus(
      x,
      scaled("attention", branch("attention", rows)),
      scaled("mlp", branch("mlp", rows)),
    );
  }
  const names = options.cross === undefined ? ["attention", "mlp"] : ["attention", "cross", "mlp"];
  return names.reduce((value, name) => {
    const start = placement === "post" ? value : normed(`${name}_norm`, value);
    const end = branch(name, start);
    const last = placement === "sandwich" ? normed(`${name}_norm_out`, end) : end;
    const skip = each(value, (one) => one * skipScale);
    const total = plus(skip, scaled(name, last));
    return placement === "post" ? normed(`${name}_norm`, total) : total;
  }, x);
}

function mlpOf(rows: Rows, weights: Weights, options: BlockByHand): Rows {
  const { activation = gelu, isGated = false } = options;
  const up = weights.at("up").linear(rows);
  const inner = isGated
    ? product(each(weights.at("gate").linear(rows), activation), up)
    : each(up, activation);
  return weights.at("down").linear(inner);
}
