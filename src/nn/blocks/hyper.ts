// Several residual streams side by side, mixed by matrices that the network learns: manifold-constrained
// hyper-connections.

import { int, type ValueName } from "../../graph/graph.ts";
import { float32, int64 } from "../../graph/tensor.ts";
import { type Layer, layer } from "../layer.ts";
import type { Net } from "../net.ts";

/** Options of hyper-connections. */
export interface HyperOptions {
  /** Default 4. */
  readonly streams?: number;
  /** Rounds of Sinkhorn and Knopp's scaling. Default 20. */
  readonly iterations?: number;
  /** Whether the mixing depends on the input, beside its learned constant part. Default true. */
  readonly dynamic?: boolean;
}

/** Where the learned factors of the dynamic part start (Xie et al. 2025, table 5). */
const DYNAMIC_START = 0.01;
/** Logit by which a fresh mixing matrix prefers the diagonal: exp(8) to 1 is nearly the identity. */
const DIAGONAL = 8;

/**
 * Manifold-constrained hyper-connections (Xie et al. 2025, 2512.24880, section 4, after Zhu et al. 2024,
 * 2409.19606): n streams `X`, `[…, D]` each, and for every layer F
 *
 *     X ← H_res·X + H_postᵀ·F(H_pre·X)
 *
 * with `H_pre = sigmoid`, `H_post = 2·sigmoid` and `H_res` doubly stochastic (rows and columns sum to 1),
 * all computed from the normalised streams. `[N, …, D]` → the same; channels on the last axis.
 *
 * The streams start as copies of x and end in their mean. A fresh network is close to the residual
 * network of the same layers: H_pre averages, H_post is one, H_res nearly the identity.
 *
 * @example
 * nn.hyperConnections([nn.sequential(nn.layerNorm(), nn.dense(64))], { streams: 4 })
 */
export function hyperConnections(layers: readonly Layer[], options: HyperOptions = {}): Layer {
  const { streams = 4, iterations = 20, dynamic = true } = options;
  return layer("hyper", (net, x) => {
    if (!Number.isInteger(streams) || streams < 2) {
      net.fail("nn/streams", `there are ${streams} streams`, "Take two streams or more.");
    }
    const rank = net.shape(x).length;
    const sizes = Array.from({ length: rank + 1 }, (_, axis) => (axis === rank - 1 ? streams : 1));
    const alone = net.emit("Unsqueeze", [x, at(net, -2)]);
    const start = net.emit("Expand", [alone, net.constant(int64([rank + 1], sizes))], {
      name: "streams",
    });
    const end = layers.reduce(
      (state, inner) => net.inside(mixed(inner, { streams, iterations, dynamic }), state),
      start,
    );
    return net.emit("ReduceMean", [end, at(net, -2)], {
      name: "merge",
      attributes: { keepdims: int(0) },
    });
  });
}

/** One layer among the streams, `[…, n, D]` → `[…, n, D]`. */
function mixed(inner: Layer, options: Required<HyperOptions>): Layer {
  const { streams: n } = options;
  return layer("mixed", (net, state) => {
    const context = options.dynamic ? contextOf(net, state, n) : undefined;
    const logits = (name: string, sizes: readonly number[], start: number): ValueName =>
      mapping(net, { name, context, sizes, start });
    const pre = net.emit("Sigmoid", [logits("pre", [1, n], -Math.log(n - 1))], { name: "pre" });
    const open = net.emit("Sigmoid", [logits("post", [n, 1], 0)]);
    const post = net.emit("Mul", [open, net.constant(float32([], [2]))], { name: "post" });
    const raw = net.emit("Add", [logits("res", [n, n], 0), diagonal(net, n)]);
    const res = sinkhorn(net, raw, options.iterations);

    const read = net.emit("Squeeze", [net.emit("MatMul", [pre, state]), at(net, -2)]);
    const made = net.emit("Unsqueeze", [net.inside(inner, read), at(net, -2)]);
    const kept = net.emit("MatMul", [res, state], { name: "kept" });
    const written = net.emit("Mul", [post, made], { name: "written" });
    return net.emit("Add", [kept, written], { name: "merge" });
  });
}

/** All streams of a position in one row, normalised: `[…, n, D]` → `[…, n·D]`. */
function contextOf(net: Net, state: ValueName, n: number): ValueName {
  const leading = net.shape(state).length - 2;
  const width = n * net.size(state, -1);
  // A zero in the target of Reshape keeps the size that stands there.
  const target = [...Array.from({ length: leading }, () => 0), width];
  const row = net.emit("Reshape", [state, net.constant(int64([leading + 1], target))]);
  return rms(net, row);
}

/** Logits of a mapping: a learned constant, and what the context adds to it. */
function mapping(
  net: Net,
  map: {
    name: string;
    context: ValueName | undefined;
    sizes: readonly number[];
    start: number;
  },
): ValueName {
  const { name, context, sizes, start } = map;
  const bias = net.weight(`${name}.bias`, sizes, start);
  if (context === undefined) return bias;
  const count = sizes.reduce((a, b) => a * b, 1);
  const weight = net.weight(`${name}.weight`, [net.size(context, -1), count], "xavier");
  const flat = net.emit("MatMul", [context, weight], { name: `${name}.dynamic` });
  const leading = Array.from({ length: net.shape(context).length - 1 }, () => 0);
  const target = net.constant(int64([leading.length + 2], [...leading, ...sizes]));
  const matrix = net.emit("Reshape", [flat, target]);
  const factor = net.weight(`${name}.factor`, [1], DYNAMIC_START);
  return net.emit("Add", [net.emit("Mul", [factor, matrix]), bias]);
}

/** Rows and columns scaled in turn until both sum to 1 (Sinkhorn and Knopp 1967), columns first. */
export function sinkhorn(net: Net, logits: ValueName, iterations: number): ValueName {
  // The first scaling of columns of exp(logits), without the overflow.
  let matrix = net.emit("Softmax", [logits], { name: "columns", attributes: { axis: int(-2) } });
  for (let round = 1; round <= iterations; round++) {
    if (round > 1) matrix = scaledAlong(net, matrix, { axis: -2, name: "columns" });
    matrix = scaledAlong(net, matrix, { axis: -1, name: "rows" });
  }
  return matrix;
}

function scaledAlong(net: Net, matrix: ValueName, by: { axis: number; name: string }): ValueName {
  const sums = net.emit("ReduceSum", [matrix, at(net, by.axis)]);
  return net.emit("Div", [matrix, sums], { name: by.name });
}

/** x divided by the root of the mean of its squares along the last axis; without a scale of its own. */
export function rms(net: Net, x: ValueName): ValueName {
  const square = net.emit("Mul", [x, x]);
  const mean = net.emit("ReduceMean", [square, at(net, -1)]);
  const shifted = net.emit("Add", [mean, net.constant(float32([], [1e-6]))]);
  return net.emit("Div", [x, net.emit("Sqrt", [shifted])], { name: "rms" });
}

function diagonal(net: Net, n: number): ValueName {
  const values = Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? DIAGONAL : 0));
  return net.constant(float32([n, n], values), "diagonal");
}

/** An axis as an operand. */
export function at(net: Net, axis: number): ValueName {
  return net.constant(int64([1], [axis]));
}
