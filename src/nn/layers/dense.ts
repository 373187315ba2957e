// Fully connected layers, and tables of vectors.

import { int } from "../../graph/graph.ts";
import { formatShape } from "../../graph/shape.ts";
import type { Init } from "../init.ts";
import { type Layer, layer } from "../layer.ts";
import { positive } from "./shared.ts";

/** Options of a dense layer. */
export interface DenseOptions {
  /** Default true. */
  readonly bias?: boolean;
  /** How weights start. Default `xavier`. */
  readonly init?: Init;
}

/**
 * Fully connected over the last axis, `[N, …, K]` → `[N, …, units]`. Weights are `[units, K]` for `[N, K]`,
 * which is one Gemm, and `[K, units]` for more axes, which is a MatMul.
 *
 * @example
 * nn.dense(10)
 */
export function dense(units: number, options: DenseOptions = {}): Layer {
  const { bias = true, init = "xavier" } = options;
  return layer("dense", (net, x) => {
    positive(net, "the number of units", units);
    const shape = net.shape(x);
    if (shape.length < 2) {
      net.fail(
        "nn/rank",
        `a dense layer takes [N,…,K], it got ${formatShape(shape)}`,
        "Put nn.globalPool() or nn.flatten() before it.",
      );
    }
    const width = net.size(x, -1);
    if (shape.length === 2) {
      const inputs = [x, net.weight("weight", [units, width], init)];
      if (bias) inputs.push(net.weight("bias", [units], 0));
      return net.emit("Gemm", inputs, { attributes: { transB: int(1) } });
    }
    const weight = net.weight("weight", [width, units], init, { transposed: [] });
    const product = net.emit("MatMul", [x, weight]);
    return bias ? net.emit("Add", [product, net.weight("bias", [units], 0)]) : product;
  });
}

/**
 * A learned vector for each of `count` numbers, `[N, …]` of integers → `[N, …, size]`, weights
 * `[count, size]`, standard normal unless told otherwise.
 *
 * @example
 * nn.embedding(50257, 768, { init: { name: "normal", deviation: 0.02 } })
 */
export function embedding(
  count: number,
  size: number,
  options: { readonly init?: Init } = {},
): Layer {
  const { init = { name: "normal", deviation: 1 } } = options;
  return layer("embedding", (net, x) => {
    positive(net, "the number of vectors", count);
    positive(net, "the size of the vectors", size);
    const weight = net.weight("weight", [count, size], init);
    return net.emit("Gather", [weight, x], { attributes: { axis: int(0) } });
  });
}
