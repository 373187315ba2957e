// What a repair did to a graph, and what it left.

import type { Graph } from "../../graph/graph.ts";

/** A finding that is gone. */
export interface Fixed {
  readonly id: string;
  readonly where: string;
  /** What was done. */
  readonly text: string;
}

/** A finding that a repair knows and could not mend. */
export interface Unfixed {
  readonly id: string;
  readonly where: string;
  readonly reason: string;
}

/** A graph after a repair; the same graph if nothing was done. */
export interface Outcome {
  readonly graph: Graph;
  readonly fixed: readonly Fixed[];
  readonly unfixed: readonly Unfixed[];
}
