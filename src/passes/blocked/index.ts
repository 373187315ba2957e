// The blocked lowering of a training graph: its convolutions, norms and what stands between them run in the
// layout that ONNX Runtime computes convolutions in, forward and backward.

export { enterBlocked } from "./enter.ts";
export { blockedIndex } from "./weight-form.ts";

import type { Graph } from "../../graph/graph.ts";
import { expandBlocked } from "./expand.ts";
import { fuseBlocked } from "./fuse.ts";

/** A graph with gradients of a blocked region as nodes that the runtime knows. */
export function lowerBlocked(graph: Graph, block: number): Graph {
  return expandBlocked(fuseBlocked(graph), block);
}
