// The conditional skip: a block that is left out when a gate, computed from its input, says so. What is
// left out is not computed.

import { int, type ValueName } from "../../graph/graph.ts";
import { float32, int64 } from "../../graph/tensor.ts";
import { type Layer, layer, named } from "../layer.ts";
import { dense } from "../layers/index.ts";
import type { Net } from "../net.ts";
import { mustAgree } from "./merge.ts";

/** Options of a conditional skip. */
export interface ConditionalOptions {
  /**
   * Makes the logits of the gate, `[N, 1]`. Default: the mean over all positions, then `dense(1)`.
   * Keep it small beside the block: it always runs.
   */
  readonly gate?: Layer;
  /** The block runs where the mean gate of the batch lies above. Default 0.5. */
  readonly threshold?: number;
  /**
   * Whether the branch is multiplied by the gate of each example where it runs (Raposo et al. 2024,
   * 2404.02258, section 3.4): the way by which a gradient reaches the gate. Default true.
   */
  readonly weighted?: boolean;
}

/**
 * Conditional residual (Wang et al. 2018, SkipNet, 1711.09485, section 3; Veit and Belongie 2018,
 * ConvNet-AIG, 1711.11503, section 3.1): `y = x + g(x)·f(x)` where the gate is open, `y = x` where it is
 * shut, as an ONNX `If`, so that a shut block costs its gate alone. Keeps the shape, so `inner` (f) does.
 *
 * One branch is taken for the whole batch, decided on the mean of its gates: requests that are to be
 * skipped one by one are served one by one, or sorted by gate. The gates, `[N, 1]` from 0 to 1, are an
 * output of the network named `PATH.gate`, and the file says so (`skipway.gates`): a server counts what was skipped.
 * Those of a conditional inside another are none, as they exist only where the outer one is open.
 *
 * @example
 * nn.conditional(nn.sequential(nn.conv(64, 3), nn.relu(), nn.conv(64, 3)))
 */
export function conditional(inner: Layer, options: ConditionalOptions = {}): Layer {
  const { threshold = 0.5, weighted = true } = options;
  return layer("conditional", (net, x) => {
    const gate = net.inside(
      layer("gate", (own, value) => gateOf(own, value, options.gate)),
      x,
    );
    const output = net.path === "" ? "gate" : `${net.path}.gate`;
    if (!net.inBody) net.output(output, gate, { opensAbove: threshold });
    const mean = net.emit("ReduceMean", [gate], {
      name: "mean",
      attributes: { keepdims: int(0) },
    });
    const level = net.constant(float32([], [threshold]), "threshold");
    const open = net.emit("Greater", [mean, level], { name: "open" });
    const run = (own: Net): ValueName => {
      const branch = own.inside(named("", inner), x);
      mustAgree(own, x, branch, "Let the block keep the shape of its input.");
      const part = weighted ? own.emit("Mul", [spread(own, gate, x), branch]) : branch;
      return own.emit("Add", [x, part], { name: "merge" });
    };
    return net.either(open, run, () => x);
  });
}

/** sigmoid of one number an example, `[N, 1]`. */
function gateOf(net: Net, x: ValueName, logits: Layer = layer("", pooledLogits)): ValueName {
  const found = net.inside(logits, x);
  const shape = net.shape(found);
  if (shape.length !== 2 || shape[1] !== 1) {
    net.fail(
      "nn/gate",
      `the gate makes [${shape.join(",")}], not one number an example`,
      "End the gate in nn.dense(1).",
    );
  }
  return net.emit("Sigmoid", [found]);
}

/** The mean over all positions, then a dense layer: `[N, C, H, W]`, `[N, S, D]` or `[N, D]` → `[N, 1]`. */
function pooledLogits(net: Net, x: ValueName): ValueName {
  const rank = net.shape(x).length;
  if (rank === 2) return net.inside(dense(1), x);
  const axes = rank === 3 ? [1] : Array.from({ length: rank - 2 }, (_, i) => i + 2);
  const mean = net.emit("ReduceMean", [x, net.constant(int64([axes.length], axes))], {
    attributes: { keepdims: int(0) },
  });
  return net.inside(dense(1), mean);
}

/** `[N, 1]` with as many axes as `x`. */
function spread(net: Net, gate: ValueName, x: ValueName): ValueName {
  const rank = net.shape(x).length;
  if (rank === 2) return gate;
  const axes = Array.from({ length: rank - 2 }, (_, i) => i + 2);
  return net.emit("Unsqueeze", [gate, net.constant(int64([axes.length], axes))]);
}
