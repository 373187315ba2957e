// Layers that are random in training.

import { scalar } from "../../graph/tensor.ts";
import { type Layer, layer } from "../layer.ts";

/**
 * Dropout (Srivastava et al. 2014): in training each element is zero with probability `rate`, and the others
 * are divided by 1 - rate; in inference nothing happens. Keeps the shape. A file holds the standard Dropout
 * in both forms; training computes its mask from seed, step and place, so that a run can be repeated.
 *
 * @example
 * nn.dropout(0.1)
 */
export function dropout(rate: number): Layer {
  return layer("dropout", (net, x) => {
    if (typeof rate !== "number" || !(rate >= 0 && rate < 1)) {
      const text = `the dropout rate is ${rate}`;
      net.fail("nn/option", text, "Give the share of elements to drop, from 0 to below 1.");
    }
    return net.emit("Dropout", [x, net.constant(scalar(rate), "dropped")]);
  });
}
