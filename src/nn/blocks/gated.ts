// Blocks in which a gate that is computed from the input weighs the branch: highway and gated residual.

import type { ValueName } from "../../graph/graph.ts";
import { float32 } from "../../graph/tensor.ts";
import { type Layer, layer, named } from "../layer.ts";
import { conv, dense } from "../layers/index.ts";
import type { Net } from "../net.ts";
import { mustAgree } from "./merge.ts";

/** Options of the gate of a block. */
export interface GateOptions {
  /**
   * Makes what the sigmoid is taken of, without a bias. Default: `dense` over the last axis, for images
   * a 1x1 convolution. One value an example, such as `[N, 1]`, gates the branch as a whole.
   */
  readonly gate?: Layer;
  /** Where the bias of the gate starts; it has one element a channel. */
  readonly gateBias?: number;
}

/**
 * Highway block (Srivastava, Greff and Schmidhuber 2015, 1505.00387, equation 3):
 * `y = T(x)·H(x) + (1 - T(x))·x`, `T(x) = sigmoid(gate(x) + bias)`. Keeps the shape, so `transform`
 * (H) does too. Any rank; the default gate takes the last axis for channels, axis 1 in images.
 *
 * The bias starts negative, so that a deep network first carries its input (section 2.2): -1 for 10
 * layers, -3 for 50. Default -2.
 *
 * @example
 * nn.highway(nn.sequential(nn.dense(64), nn.relu()), { gateBias: -2 })
 */
export function highway(transform: Layer, options: GateOptions = {}): Layer {
  return layer("highway", (net, x) => {
    const branch = net.inside(named("transform", transform), x);
    mustAgree(net, x, branch, "Let the transform keep the shape of its input.");
    const gate = net.inside(gateOf({ gateBias: -2, ...options }), x);
    const rest = net.emit("Sub", [net.constant(float32([], [1]), "one"), gate], { name: "carry" });
    const changed = net.emit("Mul", [gate, branch], { name: "transformed" });
    const carried = net.emit("Mul", [rest, x], { name: "carried" });
    return net.emit("Add", [changed, carried], { name: "merge" });
  });
}

/**
 * Gated residual block (Parisotto et al. 2020, 1910.06764, section 3.2, "output" gate):
 * `y = x + g(x)·f(x)`, `g(x) = sigmoid(gate(x) + bias)`. Keeps the shape, so `inner` (f) does too.
 * The bias starts at -2, near the identity; the paper's sign is the other way round.
 *
 * @example
 * nn.gatedResidual(nn.sequential(nn.layerNorm(), nn.dense(64), nn.relu()))
 */
export function gatedResidual(inner: Layer, options: GateOptions = {}): Layer {
  return layer("gated", (net, x) => {
    const branch = net.inside(named("branch", inner), x);
    mustAgree(net, x, branch, "Let the branch keep the shape of its input.");
    const gate = net.inside(gateOf({ gateBias: -2, ...options }), x);
    const weighed = net.emit("Mul", [gate, branch], { name: "weighed" });
    return net.emit("Add", [x, weighed], { name: "merge" });
  });
}

/** sigmoid(gate(x) + bias), the bias along the channels. */
function gateOf(options: { gate?: Layer; gateBias: number }): Layer {
  return layer("gate", (net, x) => {
    const logits = net.inside(options.gate ?? linear(net, x), x);
    const shape = net.shape(logits);
    const bias =
      shape.length === 4
        ? net.weight("bias", [net.channels(logits), 1, 1], options.gateBias)
        : net.weight("bias", [net.size(logits, -1)], options.gateBias);
    return net.emit("Sigmoid", [net.emit("Add", [logits, bias])]);
  });
}

/** A linear map of the channels, each position by itself. */
function linear(net: Net, x: ValueName): Layer {
  if (net.shape(x).length === 4) return conv(net.channels(x), 1, { bias: false });
  return dense(net.size(x, -1), { bias: false });
}
