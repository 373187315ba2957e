// A sum whose operands are stretched without a word: both are computed from the inputs, and one has size 1,
// or no axis, where the other has more.

import { diagnostic } from "../../base/diagnostic.ts";
import { canonicalize } from "../../canonical/canonical.ts";
import { isFloat } from "../../graph/dtype.ts";
import type { Graph, Node, ValueName } from "../../graph/graph.ts";
import { typeOf, usesOf } from "../../graph/query.ts";
import { elementCount, formatShape, type Shape, UNKNOWN_DIM } from "../../graph/shape.ts";
import { placeOf } from "./nodes.ts";
import type { Finding, Rule } from "./rule.ts";

/** Products are gates and scales, differences are centred by means: both are meant to broadcast. */
const SUMS = new Set(["Add", "Sum", "Mean"]);

/** Their results say how large something is, not what it holds. */
const SIZES = new Set(["Shape", "Size"]);

/** Written out by the author: the axes are stretched on purpose. */
const ON_PURPOSE = new Set(["Unsqueeze", "Expand"]);

/** An activation that is broadcast over another one at a sum. */
export const silentBroadcast: Rule = {
  id: "merge/silent-broadcast",
  title: "a sum stretches an activation without a word",
  check: ({ graph }) => {
    // With the symbol of the batch kept: a batch of 1 is not stretched over another.
    const canonical = canonicalize(graph);
    const computed = activations(canonical);
    return canonical.nodes.flatMap((node) => stretched(canonical, node, computed));
  },
};

/** Values that depend on what the inputs hold. */
function activations(graph: Graph): ReadonlyMap<ValueName, Node | undefined> {
  const found = new Map<ValueName, Node | undefined>();
  for (const { name } of graph.inputs)
    if (!graph.initializers.has(name)) found.set(name, undefined);
  for (const node of graph.nodes) {
    if (SIZES.has(node.op) || !node.inputs.some((name) => found.has(name))) continue;
    for (const name of node.outputs) found.set(name, node);
  }
  return found;
}

function stretched(
  graph: Graph,
  node: Node,
  computed: ReadonlyMap<ValueName, Node | undefined>,
): Finding[] {
  if (node.domain !== "" || !SUMS.has(node.op) || isMask(graph, node)) return [];
  const all = node.inputs.map((name) => ({ name, type: typeOf(graph, name) }));
  // An input of the model that is added as it is, is a bias or a mask of the caller's.
  const activation = ({ name }: { name: ValueName }): boolean => computed.get(name) !== undefined;
  for (const small of all) {
    const shape = small.type?.shape;
    if (shape === undefined || !activation(small) || elementCount(shape) === 1) continue;
    if (ON_PURPOSE.has(computed.get(small.name)?.op ?? "")) continue;
    const large = all.find((one) => {
      const other = one.type?.shape;
      return other !== undefined && computed.has(one.name) && stretches(shape, other);
    });
    if (large === undefined || !isFloat(small.type?.dtype ?? "bool")) continue;
    return [
      diagnostic({
        id: "merge/silent-broadcast",
        severity: "warning",
        where: placeOf({ node, graph }),
        text: `"${small.name}" ${formatShape(shape)} is stretched over "${large.name}" ${formatShape(large.type?.shape)}: if one shape is a slip, nothing says so`,
        fix: `If it is meant, write it out with Expand; else give "${small.name}" the shape of the other.`,
      }),
    ];
  }
  return [];
}

/** Whether the first shape has 1, or nothing, where the second has more. */
function stretches(small: Shape, large: Shape): boolean {
  return large.some((dim, axis) => {
    const at = axis - large.length + small.length;
    return (small[at] ?? 1) === 1 && dim !== 1 && dim !== UNKNOWN_DIM;
  });
}

/** What is added before a softmax is a mask or a bias of positions. */
function isMask(graph: Graph, node: Node): boolean {
  return usesOf(graph, node.outputs[0] ?? "").some(({ node: reader }) => reader.op === "Softmax");
}
