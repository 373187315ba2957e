// The blocked lowering of a training graph: its convolutions, norms and what stands between them run in the
// layout that ONNX Runtime computes convolutions in, forward and backward.

import type { Graph } from "../../graph/graph.ts";
import { expandBlocked } from "./expand.ts";
import { fuseBlocked } from "./fuse.ts";

export { enterBlocked } from "./enter.ts";
export { fromBlocks, toBlocks, type WeightForm } from "./weight-form.ts";

/** A graph with gradients of a blocked region as nodes that the runtime knows. */
export function lowerBlocked(graph: Graph, block: number): Graph {
  return expandBlocked(fuseBlocked(graph), block);
}
