// What several rules ask of nodes: which axis they work along, who reads them, where activations meet.

import { assert } from "../../base/assert.ts";
import type { Graph, Node, ValueName } from "../../graph/graph.ts";
import { intAttribute, intsAttribute, subgraphs } from "../../graph/graph.ts";
import { numbersOf } from "../../graph/tensor.ts";
import { Flow } from "../skips/flow.ts";
import { type Fusion, fusionsOf } from "../skips/fusion.ts";
import type { Found } from "../skips/skip.ts";
import { bodiesAt, type Scene, type Standing } from "../standing.ts";

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

/** How activations flow through a graph or body, and where they meet. */
export interface Merging extends Scene {
  readonly flow: Flow;
  /** By the name of the node that merges. */
  readonly fusions: ReadonlyMap<string, Fusion>;
  readonly nodes: ReadonlyMap<string, Node>;
}

const known = new WeakMap<Graph, ReadonlyMap<Graph | undefined, Merging>>();

/** All merges of a graph and of the bodies in it; those of the graph first. They are found once for all rules. */
export function fusionsIn(graph: Graph): { merging: Merging; fusion: Fusion }[] {
  return [...byBody(graph).values()].flatMap((merging) =>
    [...merging.fusions.values()].map((fusion) => ({ merging, fusion })),
  );
}

/** The merges of the graph, or of the body, in which a skip was found. */
export function mergingOf(graph: Graph, { body }: Pick<Found, "body">): Merging {
  const merging = byBody(graph).get(body);
  assert(merging !== undefined, "skips are found in the graph or in a body of it");
  return merging;
}

function byBody(graph: Graph): ReadonlyMap<Graph | undefined, Merging> {
  const before = known.get(graph);
  if (before !== undefined) return before;
  const found = new Map<Graph | undefined, Merging>();
  collect({ graph }, new Flow(graph), { body: undefined, found });
  known.set(graph, found);
  return found;
}

function collect(
  scene: Scene,
  flow: Flow,
  { body, found }: { body: Graph | undefined; found: Map<Graph | undefined, Merging> },
): void {
  found.set(body, {
    ...scene,
    flow,
    fusions: new Map(fusionsOf(flow).map((one) => [one.node.name, one])),
    nodes: new Map(scene.graph.nodes.map((node) => [node.name, node])),
  });
  for (const node of scene.graph.nodes) {
    const bodies = subgraphs(node);
    for (const [i, inner] of bodiesAt({ ...scene, node }).entries()) {
      const inside = new Flow(inner.graph, { flow, node });
      collect(inner, inside, { body: bodies[i], found });
    }
  }
}

/** The nodes of some names. */
export function named({ nodes }: Merging, names: readonly string[]): Node[] {
  return names.flatMap((name) => nodes.get(name) ?? []);
}
