// Softmax written out, with the largest element taken off first so that no power overflows. Without that
// the two differ where one overflows, and it is left as it is.

import { int, type Node } from "../../graph/graph.ts";
import { type Reduction, reductionOf } from "./mean.ts";
import type { Idiom, Match, View } from "./view.ts";

/** exp(x - max x) / Σ exp(x - max x). */
export const softmax: Idiom = {
  name: "Softmax",
  roots: ["Div", "Mul"],
  *match(view, root): Generator<Match> {
    for (const [top, below] of view.operands(root)) {
      if (root.op === "Div" && top !== root.inputs[0]) continue;
      const inverse = root.op === "Mul" ? view.made(below, "Reciprocal") : undefined;
      if (root.op === "Mul" && inverse === undefined) continue;
      const sum = reductionOf(view, inverse?.inputs[0] ?? below, "ReduceSum");
      const exp = view.made(top, "Exp");
      const centred = exp && view.made(exp.inputs[0] ?? "", "Sub");
      if (sum === undefined || exp === undefined || centred === undefined) continue;
      if (sum.of !== top) continue;
      const [x = "", highest = ""] = centred.inputs;
      const max = reductionOf(view, highest, "ReduceMax");
      if (max === undefined || max.of !== x) continue;
      const axis = commonAxis(view, sum, max);
      if (axis === undefined) continue;
      const nodes: Node[] = [...sum.nodes, exp, centred, ...max.nodes];
      if (inverse !== undefined) nodes.push(inverse);
      yield { op: "Softmax", inputs: [x], attributes: { axis: int(axis) }, nodes };
    }
  },
};

/** Before operator set 13, Softmax goes over all axes from the given one on: only the last is the same. */
function commonAxis(view: View, a: Reduction, b: Reduction): number | undefined {
  const [axis, ...more] = a.axes;
  if (axis === undefined || more.length > 0) return undefined;
  if (b.axes.length !== 1 || b.axes[0] !== axis) return undefined;
  const rank = view.shape(a.of)?.length ?? 0;
  return view.opset >= 13 || axis === rank - 1 ? axis : undefined;
}
