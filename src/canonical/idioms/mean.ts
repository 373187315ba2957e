// Means and other reductions that keep their axes, in the ways in which exporters write them: as one op, as
// a sum divided by a number, with the axes left out and brought back, as the pooling of a whole picture.

import { intAttribute, type Node, type ValueName } from "../../graph/graph.ts";
import { elementCount, isStatic, type Shape, sameShape } from "../../graph/shape.ts";
import { multiples } from "./algebra.ts";
import type { View } from "./view.ts";

/** What `of` becomes when it is reduced over `axes`, which stay with length 1. */
export interface Reduction {
  readonly of: ValueName;
  readonly axes: readonly number[];
  /** The node that reduces. */
  readonly node: Node;
  /** All nodes, that one included. */
  readonly nodes: readonly Node[];
}

/** A value as a reduction by one of the given ops. */
export function reductionOf(
  view: View,
  name: ValueName,
  ...ops: readonly string[]
): Reduction | undefined {
  const spread = view.made(name, "Expand");
  const inner = spread === undefined ? name : (spread.inputs[0] ?? "");
  const back = view.made(inner, "Reshape", "Unsqueeze");
  const node = view.made(back === undefined ? inner : (back.inputs[0] ?? ""), ...ops);
  const [of = ""] = node?.inputs ?? [];
  const axes = node && view.reducedAxes(node);
  if (node === undefined || axes === undefined) return undefined;
  const nodes = [spread, back, node].filter((one) => one !== undefined);
  const keeps = intAttribute(node, "keepdims", 1) !== 0;
  if (keeps && nodes.length === 1) return { of, axes, node, nodes };
  const kept = view.shape(of)?.map((dim, axis) => (axes.includes(axis) ? 1 : dim));
  return kept && sameShape(kept, view.shape(name)) ? { of, axes, node, nodes } : undefined;
}

/** A value as a mean: of `of`, or of its square. */
export function meanOf(
  view: View,
  name: ValueName,
): (Reduction & { readonly squared: boolean }) | undefined {
  const pooled = view.made(name, "GlobalAveragePool");
  const [picture = ""] = pooled?.inputs ?? [];
  const rank = view.shape(picture)?.length ?? 0;
  if (pooled !== undefined && rank > 2) {
    const axes = Array.from({ length: rank - 2 }, (_, i) => i + 2);
    return { of: picture, axes, node: pooled, nodes: [pooled], squared: false };
  }
  const whole = reductionOf(view, name, "ReduceMean");
  if (whole !== undefined) return { ...whole, squared: false };
  for (const { value, factor, nodes } of multiples(view, name)) {
    const sum = reductionOf(view, value, "ReduceSum", "ReduceSumSquare");
    const count = sum && countOver(view.shape(sum.of), sum.axes);
    if (sum === undefined || count === undefined) continue;
    if (!view.isNear(factor * count, 1, sum.of)) continue;
    const squared = sum.node.op === "ReduceSumSquare";
    return { ...sum, nodes: [...nodes, ...sum.nodes], squared };
  }
  return undefined;
}

/** Elements over some axes, where they are known. */
function countOver(shape: Shape | undefined, axes: readonly number[]): number | undefined {
  const dims = axes.map((axis) => shape?.[axis] ?? "");
  return isStatic(dims) ? elementCount(dims) : undefined;
}
