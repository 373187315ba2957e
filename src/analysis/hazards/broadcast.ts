// A sum whose operands are stretched without a word: both are computed from the inputs, and one has size 1,
// or no axis, where the other has more.

import { diagnostic } from "../../base/diagnostic.ts";
import { canonicalize } from "../../canonical/canonical.ts";
import { isFloat } from "../../graph/dtype.ts";
import type { Graph, Node, Value, ValueName } from "../../graph/graph.ts";
import { typeOf, usesOf } from "../../graph/query.ts";
import { elementCount, formatShape, type Shape, UNKNOWN_DIM } from "../../graph/shape.ts";
import { bodiesAt, placeOf, type Scene, type Standing } from "../standing.ts";
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
  check: ({ graph }) => stretchedSums(graph).map(told),
};

/** A sum, and which of its operands is stretched over which. */
export interface StretchedSum {
  /** `node NAME`, with the name that the file has. */
  readonly where: string;
  readonly small: Value;
  readonly large: Value;
  /** Of all operands, in their order. */
  readonly shapes: readonly (Shape | undefined)[];
}

/** All sums that stretch an activation. */
export function stretchedSums(graph: Graph): readonly StretchedSum[] {
  // With the symbol of the batch kept: a batch of 1 is not stretched over another.
  return sumsIn({ graph: canonicalize(graph) }, new Map());
}

function sumsIn(scene: Scene, outer: Computed): StretchedSum[] {
  const computed = activations(scene.graph, outer);
  return scene.graph.nodes.flatMap((node) => {
    const at = { ...scene, node };
    const inside = bodiesAt(at).flatMap((body) => sumsIn(body, computed));
    return [...stretched(at, computed), ...inside];
  });
}

function told({ where, small, large }: StretchedSum): Finding {
  return diagnostic({
    id: "merge/silent-broadcast",
    severity: "warning",
    where,
    text: `"${small.name}" ${formatShape(small.shape)} is stretched over "${large.name}" ${formatShape(large.shape)}: if one shape is a slip, nothing says so`,
    fix: `If it is meant, write it out with Expand; else give "${small.name}" the shape of the other.`,
  });
}

/** Values that depend on what the inputs hold, with the nodes that make them. */
type Computed = ReadonlyMap<ValueName, Node | undefined>;

/** A body has those that it captures, too. */
function activations(graph: Graph, outer: Computed): Computed {
  const found = new Map<ValueName, Node | undefined>();
  for (const name of graph.values.keys()) if (outer.has(name)) found.set(name, outer.get(name));
  for (const { name } of graph.inputs)
    if (!graph.initializers.has(name)) found.set(name, undefined);
  for (const node of graph.nodes) {
    if (SIZES.has(node.op) || !node.inputs.some((name) => found.has(name))) continue;
    for (const name of node.outputs) found.set(name, node);
  }
  return found;
}

function stretched(at: Standing, computed: Computed): StretchedSum[] {
  const { node, graph } = at;
  if (node.domain !== "" || !SUMS.has(node.op) || isMask(graph, node)) return [];
  const all = node.inputs.flatMap((name): Value[] => {
    const type = typeOf(graph, name);
    return type === undefined ? [] : [{ ...type, name }];
  });
  for (const small of all) {
    const maker = computed.get(small.name);
    // An input of the model that is added as it is, is a bias or a mask of the caller's.
    if (maker === undefined || ON_PURPOSE.has(maker.op) || !isFloat(small.dtype)) continue;
    if (elementCount(small.shape) === 1) continue;
    const large = all.find((one) => computed.has(one.name) && stretches(small.shape, one.shape));
    if (large === undefined) continue;
    const shapes = node.inputs.map((name) => typeOf(graph, name)?.shape);
    return [{ where: placeOf(at), small, large, shapes }];
  }
  return [];
}

/** Whether the first shape has 1, or nothing, where the second has more. Shapes that cannot be joined are an error, no slip. */
export function stretches(small: Shape | undefined, large: Shape | undefined): boolean {
  if (small === undefined || large === undefined) return false;
  const pairs = large.map((dim, axis) => [small[axis - large.length + small.length] ?? 1, dim]);
  const clash = pairs.some(([own, dim]) => {
    const known = typeof own === "number" && typeof dim === "number";
    return known && own !== dim && own !== 1 && dim !== 1;
  });
  return !clash && pairs.some(([own, dim]) => own === 1 && dim !== 1 && dim !== UNKNOWN_DIM);
}

/** What is added before a softmax is a mask or a bias of positions. */
function isMask(graph: Graph, node: Node): boolean {
  return usesOf(graph, node.outputs[0] ?? "").some(({ node: reader }) => reader.op === "Softmax");
}
