// The findings of lint that can be mended without asking: graph to graph, each repair looked at again by
// lint before it counts.

import { findings } from "../../analysis/lint.ts";
import type { Diagnostic } from "../../base/diagnostic.ts";
import type { Graph } from "../../graph/graph.ts";
import { repairBatch } from "./batch.ts";
import { repairBroadcasts } from "./broadcasts.ts";
import { withInlined } from "./calls.ts";
import { repairMerges } from "./merges.ts";
import { type Attempt, type Fixed, IN_FUNCTION, type Outcome, type Unfixed } from "./outcome.ts";

/** How a model is repaired. */
export interface RepairOptions {
  /** Of the weights that come in. Default 0. */
  readonly seed?: number;
  /** Which findings are to be mended; all if left out. */
  readonly wanted?: (id: string) => boolean;
}

interface Repair {
  readonly id: string;
  run(graph: Graph, options: { seed: number }): Attempt;
}

/** In this order: shapes are followed only through merges that fit. */
const REPAIRS: readonly Repair[] = [
  { id: "shape/mismatch", run: repairMerges },
  { id: "merge/silent-broadcast", run: repairBroadcasts },
  { id: "batch/fixed-size", run: repairBatch },
];

/**
 * Mends what can be mended, and says what was left and why. A repair counts only if lint, run anew on the
 * result, no longer tells the finding and tells no new error or warning. The same graph if nothing counts.
 */
export function repair(graph: Graph, options: RepairOptions = {}): Outcome {
  const { seed = 0, wanted = () => true } = options;
  let current = graph;
  let told = findings(graph);
  const fixed: Fixed[] = [];
  const unfixed: Unfixed[] = [];
  for (const { run } of REPAIRS.filter((one) => wanted(one.id))) {
    const { before, outcome } = reachingInside(run, current, seed);
    unfixed.push(...outcome.unfixed);
    if (outcome.fixed.length === 0) continue;
    const after = findings(outcome.graph);
    const reason = objection(outcome, before === current ? told : findings(before), after);
    if (reason === undefined) {
      current = outcome.graph;
      told = after;
      fixed.push(...outcome.fixed);
    } else {
      unfixed.push(...outcome.fixed.map(({ id, where }) => ({ id, where, reason })));
    }
  }
  return { graph: current, fixed, unfixed };
}

/** Functions may call functions; each round brings one in at least. */
const ROUNDS_MAX = 8;

/**
 * What a repair makes of a graph in which the functions that need it are in the place of their calls; `before` is
 * that graph.
 */
function reachingInside(
  run: Repair["run"],
  graph: Graph,
  seed: number,
): { before: Graph; outcome: Outcome } {
  let before = graph;
  for (let round = 0; ; round++) {
    const attempt = run(before, { seed });
    if (attempt.inside.size === 0) return { before, outcome: attempt };
    const inlined = round < ROUNDS_MAX ? withInlined(before, attempt.inside) : IN_FUNCTION;
    if (typeof inlined !== "string") before = inlined;
    else return { before, outcome: { ...attempt, unfixed: attempt.unfixed.map(because(inlined)) } };
  }
}

/** What was left for its function, with the reason why that was not brought in. */
function because(reason: string): (one: Unfixed) => Unfixed {
  return (one) => (one.reason === IN_FUNCTION ? { ...one, reason } : one);
}

/** What lint has against a result. */
function objection(
  { fixed }: Outcome,
  before: readonly Diagnostic[],
  after: readonly Diagnostic[],
): string | undefined {
  const key = ({ id, where }: { id: string; where: string }): string => JSON.stringify([id, where]);
  const known = new Set(before.map(key));
  for (const one of fixed) known.delete(key(one));
  const found = after.find((one) => one.severity !== "info" && !known.has(key(one)));
  return found && `the result would have ${found.id} at ${found.where}: ${found.text}`;
}
