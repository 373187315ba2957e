// Activations that a sum stretches without a word are stretched by an Expand that says so. Results stay the
// same, bit for bit.

import { stretchedSums, stretches } from "../../analysis/hazards/broadcast.ts";
import { FreshNames } from "../../canonical/fresh-names.ts";
import { inferShapes } from "../../canonical/infer-shapes.ts";
import type { Graph, Node } from "../../graph/graph.ts";
import { typeOf } from "../../graph/query.ts";
import { Mending } from "./mending.ts";
import type { Fixed, Outcome, Unfixed } from "./outcome.ts";

const ID = "merge/silent-broadcast";

/** Expand came with this operator set. */
const OPSET_MIN = 8;

/** Writes an Expand before every operand that a sum of two stretches. */
export function repairBroadcasts(graph: Graph): Outcome {
  const sums = new Set(stretchedSums(graph).map(({ where }) => where));
  const placed = graph.nodes.map((node) => ({ node, where: `node ${node.name}` }));
  const fixable = new Map(
    placed.flatMap(({ node, where }) => (sums.has(where) ? [[node, where] as const] : [])),
  );
  const own = new Set(fixable.values());
  const inner = [...sums].filter((where) => !own.has(where));
  const unfixed: Unfixed[] = inner.map((where) => ({
    id: ID,
    where,
    reason: "it stands in a function or branch",
  }));
  const fixed: Fixed[] = [];
  const names = new FreshNames(graph);
  const inferred = inferShapes(graph);
  const opset = graph.opsets.get("") ?? 1;
  const nodes = graph.nodes.flatMap((node): readonly Node[] => {
    const where = fixable.get(node);
    if (where === undefined) return [node];
    if (node.inputs.length !== 2 || opset < OPSET_MIN) {
      const reason =
        opset < OPSET_MIN ? "its operator set has no Expand" : "it has more than two operands";
      unfixed.push({ id: ID, where, reason });
      return [node];
    }
    const mending = new Mending({ names, opset, stem: node.name });
    const inputs = node.inputs.map((name, i) => {
      const other = node.inputs[1 - i] ?? "";
      const [small, large] = [name, other].map((one) => typeOf(inferred, one)?.shape);
      return stretches(small, large)
        ? mending.emit("Expand", [name, mending.emit("Shape", [other])])
        : name;
    });
    fixed.push({ id: ID, where, text: "An Expand stretches the smaller operand." });
    return [...mending.nodes, { ...node, inputs }];
  });
  return { graph: fixed.length === 0 ? graph : { ...graph, nodes }, fixed, unfixed };
}
