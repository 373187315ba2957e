// Everything that can be said against a model: what the runtime would refuse, merges whose operands do not
// fit, and the hazards. One list, each finding once.

import { type Diagnostic, diagnostic, type Severity } from "../base/diagnostic.ts";
import { canonicalize } from "../canonical/canonical.ts";
import { inferShapes } from "../canonical/infer-shapes.ts";
import type { Graph } from "../graph/graph.ts";
import { verify } from "../ops/verify.ts";
import { examine } from "./census.ts";
import { RULES } from "./hazards/index.ts";
import { type Home, Homes } from "./homes.ts";
import type { SizeOptions } from "./memory.ts";
import { mergeDiagnostics } from "./merges.ts";

const SEVERITIES: readonly Severity[] = ["error", "warning", "info"];

/** As many places are named of a finding that repeats; the others are counted. */
const PLACES_MAX = 12;

/**
 * Mistakes and hazards of a graph: errors first, then warnings and remarks, each in the order of the
 * nodes; what is no node's comes first. A finding that repeats with the same words, as in stacked blocks, or in
 * each call of a function, is told once, with its places in a note. Every id of a hazard has a page in docs/reference/lint/.
 *
 * @param options sizes at which memory is judged: a batch of 1 where nothing is said.
 */
export function lint(graph: Graph, options: SizeOptions = {}): Diagnostic[] {
  const homes = new Homes(graph);
  const all = findings(graph, options).map((one): Placed => ({ one, home: homes.of(one.where) }));
  return SEVERITIES.flatMap((severity) =>
    folded(byPlace(all.filter(({ one }) => one.severity === severity))),
  );
}

interface Placed {
  readonly one: Diagnostic;
  readonly home: Home | undefined;
}

/** The same with each place told, in no order. */
export function findings(graph: Graph, options: SizeOptions = {}): Diagnostic[] {
  const model = examine(inferShapes(graph), options);
  const hazards = RULES.flatMap((rule) => rule.check(model)).map(withoutSkip);
  // With the symbols kept: a batch of 1 fits where others do not.
  const unfolded = canonicalize(model.graph, { idioms: false });
  return [...verify(graph), ...mergeDiagnostics(unfolded), ...hazards];
}

/** Sorted by where the graph runs the node; in the order of the rules at each. */
function byPlace(placed: readonly Placed[]): Placed[] {
  const at = ({ home }: Placed): number => home?.position ?? -1;
  return placed.toSorted((a, b) => at(a) - at(b));
}

/** Without the id of the skip, which means something in a census alone. */
function withoutSkip({ skip: _, ...hazard }: Diagnostic & { skip?: string }): Diagnostic {
  return hazard;
}

/**
 * Findings that differ in their place alone as one, at the first of the places; so, too, what is found of one
 * node of a function in several calls, though the words name values of each.
 */
function folded(findings: readonly Placed[]): Diagnostic[] {
  const groups = new Map<string, Map<string, Placed>>();
  const known = new Map<string, string>();
  for (const placed of findings) {
    const { one, home } = placed;
    const own = JSON.stringify([one.id, one.text, one.notes, one.fix]);
    const called = home?.functions.at(-1);
    const node = called && JSON.stringify([one.id, called, home?.name]);
    const key = (node && known.get(node)) ?? own;
    if (node !== undefined) known.set(node, key);
    const group = groups.get(key) ?? new Map<string, Placed>();
    groups.set(key, group);
    if (!group.has(one.where)) group.set(one.where, placed);
  }
  return [...groups.values()].flatMap((group) => {
    const [first, ...others] = group.values();
    if (first === undefined) return [];
    return [others.length === 0 ? first.one : repeated(first, others)];
  });
}

function repeated({ one, home }: Placed, others: readonly Placed[]): Diagnostic {
  const places = others.slice(0, PLACES_MAX).map((other) => other.one.where);
  const more = others.length - places.length;
  const also = `also at ${places.join(", ")}${more > 0 ? ` and ${more} more` : ""}.`;
  const called = home?.functions.at(-1);
  const same =
    called !== undefined &&
    others.every(
      (other) => other.home?.functions.at(-1) === called && other.home.name === home?.name,
    );
  const note = same
    ? `In ${others.length + 1} calls of function ${called}, ${also}`
    : `In ${others.length + 1} places, ${also}`;
  return diagnostic({ ...one, notes: [...one.notes, note] });
}
