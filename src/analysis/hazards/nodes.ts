// What several rules ask of nodes: how the file calls them, which axis they work along, who reads them.

import type { Graph, Node, ValueName } from "../../graph/graph.ts";
import { intAttribute, intsAttribute, subgraphs } from "../../graph/graph.ts";
import { originalName, originalsOf } from "../../graph/original.ts";
import { numbersOf } from "../../graph/tensor.ts";
import { Flow } from "../skips/flow.ts";
import { type Fusion, fusionsOf } from "../skips/fusion.ts";

/** A node and the graph or body in which it stands. */
export interface Standing {
  readonly node: Node;
  readonly graph: Graph;
}

/** All nodes, those of bodies behind the node that has them. Bodies are nested a few deep at most. */
export function* everyNode(graph: Graph): Generator<Standing> {
  for (const node of graph.nodes) {
    yield { node, graph };
    for (const body of subgraphs(node)) yield* everyNode(body);
  }
}

/** `node NAME`, with the name that the file has. */
export function placeOf({ node, graph }: Standing): string {
  const original = originalsOf(graph, node).at(-1);
  return `node ${original === undefined ? node.name : originalName(original)}`;
}

/** Elements of a small constant of integers: axes, a target shape. */
export function integersOf(graph: Graph, name: ValueName | undefined): number[] | undefined {
  const ref = graph.initializers.get(name ?? "");
  return ref === undefined || ref.shape.some((dim) => dim > 64) ? undefined : numbersOf(ref);
}

/** The axes of a reduction, as input or attribute; `[]` where it is over all, undefined where unknown. */
export function axesOf({ node, graph }: Standing): readonly number[] | undefined {
  const given = node.inputs[1] ?? "";
  const axes =
    given === "" ? (intsAttribute(node, "axes") ?? []) : (integersOf(graph, given) ?? undefined);
  const idle = axes?.length === 0 && intAttribute(node, "noop_with_empty_axes", 0) !== 0;
  return idle ? undefined : axes;
}

/** How activations flow through a graph, and where they meet. */
export interface Merging {
  readonly graph: Graph;
  readonly flow: Flow;
  /** By the name of the node that merges. */
  readonly fusions: ReadonlyMap<string, Fusion>;
  readonly nodes: ReadonlyMap<string, Node>;
}

const known = new WeakMap<Graph, Merging>();

/** The merges of a graph, found once for all rules. Those of bodies are not among them. */
export function mergingOf(graph: Graph): Merging {
  const before = known.get(graph);
  if (before !== undefined) return before;
  const flow = new Flow(graph);
  const merging: Merging = {
    graph,
    flow,
    fusions: new Map(fusionsOf(flow).map((one) => [one.node.name, one])),
    nodes: new Map(graph.nodes.map((node) => [node.name, node])),
  };
  known.set(graph, merging);
  return merging;
}

/** The nodes of some names. */
export function named({ nodes }: Merging, names: readonly string[]): Node[] {
  return names.flatMap((name) => nodes.get(name) ?? []);
}
