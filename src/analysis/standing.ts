// Nodes where they stand: in the graph, or in the body of an If, Loop or Scan, with what that body sees of the
// graphs around it.

import type { Graph, Node, Original } from "../graph/graph.ts";
import { subgraphs } from "../graph/graph.ts";
import { nestedIn, originalName, ownOriginals } from "../graph/original.ts";
import { captures, typeOf } from "../graph/query.ts";
import type { TensorRef } from "../graph/tensor.ts";

/** A graph or body as its nodes see it. */
export interface Scene {
  /** Of a body, with types and weights that it reads from the graphs around it. */
  readonly graph: Graph;
  /** The control-flow node whose body it is; left out of the graph itself. */
  readonly within?: Original;
}

/** A node and where it stands. */
export interface Standing extends Scene {
  readonly node: Node;
}

/** All nodes, those of bodies behind the node that has them. Bodies are nested a few deep at most. */
export function* everyNode(graph: Graph, within?: Original): Generator<Standing> {
  for (const node of graph.nodes) {
    const at: Standing = { node, graph, ...(within && { within }) };
    yield at;
    for (const one of bodiesAt(at)) yield* everyNode(one.graph, one.within);
  }
}

/** The bodies of a node, each as its nodes see it. */
export function bodiesAt(at: Standing): Scene[] {
  return subgraphs(at.node).map((body) => ({
    graph: seen(body, at.graph),
    within: originalOf(at),
  }));
}

/** The graph and all bodies in it, a body behind the graph that has it. */
export function everyScene(graph: Graph): Scene[] {
  const scenes: Scene[] = [{ graph }];
  // The list grows as bodies are met.
  for (const scene of scenes) {
    for (const node of scene.graph.nodes) scenes.push(...bodiesAt({ ...scene, node }));
  }
  return scenes;
}

/** `node NAME`, with the name that the file has; in a body, behind that of the node around it. */
export function placeOf(at: Placed): string {
  return `node ${originalName(originalOf(at))}`;
}

type Placed = Pick<Standing, "node" | "within">;

/** The node of the file, with the nodes around it. */
export function originalOf({ node, within }: Placed): Original {
  const original = ownOriginals(node).at(-1) ?? { name: node.name };
  return within === undefined ? original : nestedIn(original, within);
}

const views = new WeakMap<Graph, { readonly outer: Graph; readonly view: Graph }>();

/** A body with what is known of the values that it captures. */
function seen(body: Graph, outer: Graph): Graph {
  const known = views.get(body);
  if (known?.outer === outer) return known.view;
  const initializers = new Map<string, TensorRef>(body.initializers);
  const values = new Map(body.values);
  for (const name of captures(body)) {
    const weight = outer.initializers.get(name);
    const type = typeOf(outer, name);
    if (weight !== undefined) initializers.set(name, weight);
    else if (type !== undefined) values.set(name, { ...type, name });
  }
  const view = { ...body, initializers, values };
  views.set(body, { outer, view });
  return view;
}
