// The sum and the norm in one node of the runtime, apart again where the sum is read by others too: then
// paths start at the sum, and the norm lies on them.

import type { Graph, Node } from "../graph/graph.ts";
import { ownOriginals } from "../graph/original.ts";
import { FreshNames } from "./fresh-names.ts";

/** Fused ops, with the plain norm and the inputs of each part. Source: ONNX Runtime, contrib operators. */
const FUSED: ReadonlyMap<
  string,
  { readonly norm: string; readonly summed: readonly number[]; readonly scales: readonly number[] }
> = new Map([
  ["SkipLayerNormalization", { norm: "LayerNormalization", summed: [0, 1, 4], scales: [2, 3] }],
  [
    "SkipSimplifiedLayerNormalization",
    { norm: "SimplifiedLayerNormalization", summed: [0, 1, 3], scales: [2] },
  ],
]);

/** Output 3 of the fused ops: the sum itself. */
const SUM = 3;

/** Splits each fused norm whose sum is an output as well; the same graph if there is none. */
export function unfuseNorms(graph: Graph): Graph {
  if (!graph.nodes.some(isFused)) return graph;
  const names = new FreshNames(graph);
  return { ...graph, nodes: graph.nodes.flatMap((node) => apart(node, names)) };
}

function isFused(node: Node): boolean {
  const known = node.domain === "com.microsoft" && FUSED.has(node.op);
  return known && (node.outputs[SUM] ?? "") !== "";
}

function apart(node: Node, names: FreshNames): readonly Node[] {
  const [normed = ""] = node.outputs;
  const sum = node.outputs[SUM] ?? "";
  const parts = FUSED.get(node.op);
  if (parts === undefined || !isFused(node)) return [node];
  const inputsAt = (positions: readonly number[]): string[] =>
    positions.map((position) => node.inputs[position] ?? "").filter((name) => name !== "");
  const originals = ownOriginals(node);
  const added: Node = {
    ...{ name: node.name, op: "Sum", domain: "", attributes: new Map(), originals },
    ...{ inputs: inputsAt(parts.summed), outputs: [sum] },
  };
  if (normed === "") return [added];
  const norm: Node = {
    ...{ name: names.node(`${node.name}/norm`), op: parts.norm, originals },
    ...{ domain: parts.norm === "LayerNormalization" ? "" : "com.microsoft" },
    ...{ inputs: [sum, ...inputsAt(parts.scales)], outputs: [normed], attributes: node.attributes },
  };
  return [added, norm];
}
