// Stochastic depth (Huang et al. 2016, "Deep networks with stochastic depth"), for each example on its own.

import { int, type ValueName } from "../../graph/graph.ts";
import { float32, int64 } from "../../graph/tensor.ts";
import { type Layer, layer } from "../layer.ts";
import { dropout } from "../layers/index.ts";
import type { Net } from "../net.ts";

/**
 * In training, zero for a share `rate` of the examples, and 1/(1 - rate) of x for the others, so that the
 * mean is x; the form for inference has no node of it. Keeps the shape.
 *
 * @example
 * nn.stochasticDepth(0.2)
 */
export function stochasticDepth(rate: number): Layer {
  return layer("drop_path", (net, x) => {
    if (!(rate >= 0 && rate < 1)) {
      const text = `the rate of stochastic depth is ${rate}`;
      net.fail("nn/option", text, "Give the share of examples to drop, from 0 to below 1.");
    }
    if (!net.training || rate === 0) return x;
    return net.emit("Mul", [x, net.inside(dropout(rate), onesOf(net, x))]);
  });
}

/**
 * The rate of block `index` (from 0) of `blocks`: it rises in equal steps to `last`, as section 3 of the
 * paper has it for survival, p_l = 1 - l/L·(1 - p_L).
 */
export function linearDecay(last: number, blocks: number): (index: number) => number {
  return (index) => ((index + 1) / blocks) * last;
}

/** Ones of shape [N, 1, …, 1]: dropout of them is one decision for each example. */
function onesOf(net: Net, x: ValueName): ValueName {
  const rank = net.shape(x).length;
  const batch = net.emit("Shape", [x], { attributes: { start: int(0), end: int(1) } });
  const singles = net.constant(
    int64(
      [rank - 1],
      Array.from({ length: rank - 1 }, () => 1),
    ),
  );
  const shape = net.emit("Concat", [batch, singles], { attributes: { axis: int(0) } });
  const one = { kind: "tensor", value: float32([1], [1]) } as const;
  return net.emit("ConstantOfShape", [shape], { attributes: { value: one } });
}
