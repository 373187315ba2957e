// Layers that read all layers before them: attention residuals and depth-weighted averages.

import { int, type ValueName } from "../../graph/graph.ts";
import { type Layer, layer, named } from "../layer.ts";
import type { Net } from "../net.ts";
import { at, rms } from "./hyper.ts";
import { mustAgree } from "./merge.ts";

const KEEP = "Let every layer keep the shape of its input.";

/**
 * Attention residuals (Kimi Team 2026, 2603.15031, sections 3 and 4): every layer reads
 *
 *     h = Σ softmax_i(w · rms(v_i)) · v_i
 *
 * over the input and what the layers before it made, with a learned query w, `[D]`, of its own; the
 * output is one more such sum. `[N, …, D]` → the same; channels on the last axis. Queries start at
 * zero, where h is the mean. `block` layers are added up into one value, which keeps fewer of them
 * alive; the layers of an unfinished block read its sum so far. Default 1: every layer is a value.
 *
 * @example
 * nn.attentionResiduals([nn.dense(64), nn.dense(64)], { block: 1 })
 */
export function attentionResiduals(
  layers: readonly Layer[],
  options: { block?: number } = {},
): Layer {
  const { block = 1 } = options;
  return layer("attended", (net, x) => {
    const done = [x];
    let open: ValueName | undefined;
    for (const [i, inner] of layers.entries()) {
      const h = net.inside(attended(), stacked(net, open === undefined ? done : [...done, open]));
      const made = net.inside(named(`layer${i + 1}`, inner), h);
      mustAgree(net, x, made, KEEP);
      open = open === undefined ? made : net.emit("Add", [open, made], { name: "block" });
      if ((i + 1) % block === 0) {
        done.push(open);
        open = undefined;
      }
    }
    return net.inside(attended(), stacked(net, open === undefined ? done : [...done, open]));
  });
}

/** Values along a new axis before the last. */
function stacked(net: Net, values: readonly ValueName[]): ValueName {
  const rows = values.map((value) => net.emit("Unsqueeze", [value, at(net, -2)], { name: "row" }));
  return net.emit("Concat", rows, { name: "values", attributes: { axis: int(-2) } });
}

/** `[…, L, D]` → `[…, D]`: the values weighed by how well they fit a learned query. */
function attended(): Layer {
  return layer("mix", (net, values) => {
    const query = net.weight("query", [net.size(values, -1), 1], 0);
    const scores = net.emit("MatMul", [rms(net, values), query], { name: "scores" });
    const shares = net.emit("Softmax", [scores], { attributes: { axis: int(-2) } });
    const weighed = net.emit("Mul", [shares, values], { name: "weighed" });
    return net.emit("ReduceSum", [weighed, at(net, -2)], {
      name: "merge",
      attributes: { keepdims: int(0) },
    });
  });
}

/**
 * Depth-weighted averages (Pagliardini et al. 2024, DenseFormer, 2402.02622, section 3): behind each
 * block `i` the state becomes `Σ_j a_ij · x_j` over the input and the outputs of all blocks so far. The
 * factors are learned numbers and start as the identity: 1 for the newest, 0 for the others.
 *
 * @example
 * nn.depthWeighted([nn.dense(64), nn.dense(64)])
 */
export function depthWeighted(blocks: readonly Layer[]): Layer {
  return layer("dense_former", (net, x) => {
    const values = [x];
    let state = x;
    for (const [i, block] of blocks.entries()) {
      const made = net.inside(named(`block${i + 1}`, block), state);
      mustAgree(net, x, made, KEEP);
      values.push(made);
      const last = values.length - 1;
      const parts = values.map((value, j) => {
        const factor = net.weight(`average${i + 1}.factor${j}`, [1], j === last ? 1 : 0);
        return net.emit("Mul", [value, factor], { name: `average${i + 1}.part` });
      });
      state = net.emit("Sum", parts, { name: `average${i + 1}.merge` });
    }
    return state;
  });
}
