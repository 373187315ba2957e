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

/** What a repair did, and in which functions there is more to do, by their keys. */
export interface Attempt extends Outcome {
  readonly inside: ReadonlySet<string>;
}

/** Why what stands in a function is not mended there; it is where the function can be put in the place of its calls. */
export const IN_FUNCTION = "it stands in a function";
