// The idioms, in the order in which they are looked for, and the pass that does so.

import { type Graph, subgraphs } from "../../graph/graph.ts";
import { activations } from "./activation.ts";
import { batchNorm, linear } from "./affine.ts";
import { attention } from "./attention.ts";
import { collapse } from "./collapse.ts";
import { groupNorm } from "./group-norm.ts";
import { passInert } from "./inert.ts";
import { lerp } from "./lerp.ts";
import { layerNorm } from "./norm.ts";
import { fakeQuantize } from "./quantize.ts";
import { rotary } from "./rotary.ts";
import { softmax } from "./softmax.ts";
import type { Idiom } from "./view.ts";

const IDIOMS: readonly Idiom[] = [
  ...activations,
  softmax,
  lerp,
  layerNorm,
  // Its inner norm may be written out itself.
  groupNorm,
  // A norm ends in a product and a sum too.
  batchNorm,
  linear,
  rotary,
  // Its softmax may be written out itself.
  attention,
  fakeQuantize,
];

/** Every idiom of a graph and of the bodies in it as one node; the same graph if there is none. */
export function collapseIdioms(graph: Graph): Graph {
  // What does nothing goes first: then no pattern has to look past it.
  return IDIOMS.reduce(
    (current, idiom) => (mayHold(current, idiom) ? collapse(current, idiom) : current),
    passInert(graph),
  );
}

const ops = new WeakMap<Graph, ReadonlySet<string>>();

/** Whether a graph, or a body in it, has an op with which the idiom can end. */
function mayHold(graph: Graph, idiom: Idiom): boolean {
  const known = ops.get(graph) ?? new Set(opsOf(graph));
  ops.set(graph, known);
  return idiom.roots.some((op) => known.has(op));
}

function* opsOf(graph: Graph): Iterable<string> {
  for (const node of graph.nodes) {
    yield node.op;
    for (const body of subgraphs(node)) yield* opsOf(body);
  }
}
