// Softmax written out, with the largest element taken off first so that no power overflows. Without that
// the two differ where one overflows, and it is left as it is.

import { int, type Node } from "../../graph/graph.ts";
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
      const sum = view.made(inverse?.inputs[0] ?? below, "ReduceSum");
      const exp = view.made(top, "Exp");
      const centred = exp && view.made(exp.inputs[0] ?? "", "Sub");
      if (sum === undefined || exp === undefined || centred === undefined) continue;
      if (sum.inputs[0] !== top) continue;
      const [x = "", highest = ""] = centred.inputs;
      const max = view.made(highest, "ReduceMax");
      if (max === undefined || max.inputs[0] !== x) continue;
      const axis = commonAxis(view, sum, max);
      if (axis === undefined) continue;
      const nodes: Node[] = [sum, exp, centred, max];
      if (inverse !== undefined) nodes.push(inverse);
      yield { op: "Softmax", inputs: [x], attributes: { axis: int(axis) }, nodes };
    }
  },
};

/** Before operator set 13, Softmax goes over all axes from the given one on: only the last is the same. */
function commonAxis(view: View, a: Node, b: Node): number | undefined {
  const [first, second] = [view.reducedAxes(a), view.reducedAxes(b)];
  const [axis] = first ?? [];
  if (axis === undefined || first?.length !== 1 || second?.length !== 1 || second[0] !== axis) {
    return undefined;
  }
  const rank = view.shape(a.inputs[0] ?? "")?.length ?? 0;
  return view.opset >= 13 || axis === rank - 1 ? axis : undefined;
}
