// Everything that can be said against a model: what the runtime would refuse, merges whose operands do not
// fit, and the hazards. One list, each finding once.

import { type Diagnostic, diagnostic, type Severity } from "../base/diagnostic.ts";
import { inferShapes } from "../canonical/infer-shapes.ts";
import type { Graph } from "../graph/graph.ts";
import { verify } from "../ops/verify.ts";
import { examine } from "./census.ts";
import { RULES } from "./hazards/index.ts";
import type { SizeOptions } from "./memory.ts";
import { mergeDiagnostics } from "./merges.ts";

const SEVERITIES: readonly Severity[] = ["error", "warning", "info"];

/** As many places are named of a finding that repeats; the others are counted. */
const PLACES_MAX = 12;

/**
 * Mistakes and hazards of a graph: errors first, then warnings and remarks, each in the order of the
 * nodes; what is no node's comes first. A finding that repeats with the same words, as in stacked blocks, is told once, with its places
 * in a note. Every id of a hazard has a page in docs/reference/lint/.
 *
 * @param options sizes at which memory is judged: a batch of 1 where nothing is said.
 */
export function lint(graph: Graph, options: SizeOptions = {}): Diagnostic[] {
  const all = byPlace(graph, findings(graph, options));
  return SEVERITIES.flatMap((severity) => folded(all.filter((one) => one.severity === severity)));
}

/** The same with each place told, in no order. */
export function findings(graph: Graph, options: SizeOptions = {}): Diagnostic[] {
  const inferred = inferShapes(graph);
  const model = examine(inferred, options);
  const hazards = RULES.flatMap((rule) => rule.check(model)).map(withoutSkip);
  return [...verify(graph), ...mergeDiagnostics(inferred), ...hazards];
}

/** Sorted by where the graph runs the node; in the order of the rules at each. */
function byPlace(graph: Graph, found: readonly Diagnostic[]): Diagnostic[] {
  const positions = new Map(graph.nodes.map(({ name }, position) => [name, position]));
  const placed = found.map((one) => {
    const name = one.where.replace(/^node /, "");
    // Some places have the op behind the name.
    const position = positions.get(name) ?? positions.get(name.replace(/ \([^()]*\)$/, ""));
    return { one, position: position ?? -1 };
  });
  return placed.toSorted((a, b) => a.position - b.position).map(({ one }) => one);
}

/** Without the id of the skip, which means something in a census alone. */
function withoutSkip({ skip: _, ...hazard }: Diagnostic & { skip?: string }): Diagnostic {
  return hazard;
}

/** Findings that differ in their place alone as one, at the first of the places. */
function folded(findings: readonly Diagnostic[]): Diagnostic[] {
  const groups = new Map<string, Map<string, Diagnostic>>();
  for (const one of findings) {
    const key = JSON.stringify([one.id, one.text, one.notes, one.fix]);
    const group = groups.get(key) ?? new Map<string, Diagnostic>();
    groups.set(key, group);
    if (!group.has(one.where)) group.set(one.where, one);
  }
  return [...groups.values()].flatMap((group) => {
    const [first, ...others] = group.values();
    return first === undefined ? [] : [others.length === 0 ? first : repeated(first, others)];
  });
}

function repeated(first: Diagnostic, others: readonly Diagnostic[]): Diagnostic {
  const places = others.slice(0, PLACES_MAX).map(({ where }) => where);
  const more = others.length - places.length;
  const note = `In ${others.length + 1} places, also at ${places.join(", ")}${more > 0 ? ` and ${more} more` : ""}.`;
  return diagnostic({ ...first, notes: [...first.notes, note] });
}
