// The recurrent residual: one block, several times, with the same weights.

import { type Layer, layer, named } from "../layer.ts";
import { mustAgree } from "./merge.ts";

/**
 * `x ← x + f(x)`, `times` times over, as an ONNX `Loop` (Liao and Poggio 2016, 1604.03640, section 3: a
 * residual network whose layers share their weights). Keeps the shape, so `inner` (f) does too. As deep
 * as `times` blocks, as large as one.
 *
 * @example
 * nn.recurrentResidual(6, nn.sequential(nn.conv(32, 3), nn.relu(), nn.conv(32, 3)))
 */
export function recurrentResidual(times: number, inner: Layer): Layer {
  return layer("recurrent", (net, x) =>
    net.repeat(times, x, (own, state) => {
      const branch = own.inside(named("", inner), state);
      mustAgree(own, state, branch, "Let the block keep the shape of its input.");
      return own.emit("Add", [state, branch], { name: "merge" });
    }),
  );
}
