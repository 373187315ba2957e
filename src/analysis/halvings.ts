// By how much pictures are made smaller on the way to a value: what the size of an input must be a multiple
// of, so that halving and doubling come back to the size they started from.

import { type Graph, intsAttribute, type Node, type ValueName } from "../graph/graph.ts";
import { typeOf } from "../graph/query.ts";

const DOWN = new Set(["Conv", "MaxPool", "AveragePool", "LpPool"]);
const UP = new Set(["Resize", "Upsample"]);

interface Scale {
  /** Size of the input over size here. */
  readonly now: number;
  /** The most on any way to here. */
  readonly most: number;
}

/** The largest reduction on the ways to each value along one axis of pictures, 1 where there is none. */
export function largestReduction(graph: Graph, axis: number): ReadonlyMap<ValueName, number> {
  const scales = new Map<ValueName, Scale>();
  for (const node of graph.nodes) {
    const before = node.inputs.flatMap((name) => scales.get(name) ?? []);
    const now = Math.max(1, ...before.map((one) => one.now)) * factor(graph, node, axis);
    const most = Math.max(now, 1, ...before.map((one) => one.most));
    for (const name of node.outputs) scales.set(name, { now, most });
  }
  return new Map([...scales].map(([name, { most }]) => [name, Math.round(most)]));
}

/** What a node divides the size by. */
function factor(graph: Graph, node: Node, axis: number): number {
  const stride = Math.max(1, intsAttribute(node, "strides")?.[axis - 2] ?? 1);
  if (DOWN.has(node.op)) return stride;
  if (node.op === "ConvTranspose") return 1 / stride;
  if (!UP.has(node.op)) return 1;
  const sizes = [node.inputs[0], node.outputs[0]].map(
    (name) => typeOf(graph, name ?? "")?.shape?.[axis],
  );
  const [from, to] = sizes;
  return typeof from === "number" && typeof to === "number" && from > 0 && to > 0
    ? 1 / Math.max(1, Math.round(to / from))
    : 1;
}
