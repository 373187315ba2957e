// What a rule of the hazards is, and what it may look at.

import type { Diagnostic } from "../../base/diagnostic.ts";
import type { Graph } from "../../graph/graph.ts";
import type { Peak } from "../memory/peak.ts";
import type { InferenceMemory } from "../memory.ts";
import type { Found, Skip } from "../skips/skip.ts";
import type { Merging } from "./nodes.ts";

/** A model with all that analysis knows of it. */
export interface Examined {
  /** As the file has it, types inferred, symbolic dims kept. */
  readonly graph: Graph;
  /** As it is run: functions unfolded, the batch set. */
  readonly run: Graph;
  /** As skips are sought: idioms are one node each. */
  readonly canonical: Graph;
  readonly skips: readonly ExaminedSkip[];
  readonly memory: InferenceMemory;
  /** The moments of its peak. */
  readonly peak: Peak;
}

/** A skip as the census tells it, and as it was found: `found` names nodes of the canonical graph. */
export interface ExaminedSkip {
  readonly skip: Skip;
  readonly found: Found;
  /** The place of the merge. */
  readonly where: string;
  /** The merges of the graph or body in which it stands. */
  readonly merging: Merging;
}

/** A diagnostic of a rule, with the id of the skip that it speaks of. */
export interface Finding extends Diagnostic {
  readonly skip?: string;
}

/** One hazard or mistake that can be seen in a model file. `docs/reference/lint/` has a page for each. */
export interface Rule {
  /** `area/what`, stable. */
  readonly id: string;
  /** The hazard in a few words. */
  readonly title: string;
  check(model: Examined): readonly Finding[];
}
