// Which values a gradient flows through: those that depend on what it is asked for, and from which the loss
// can be reached. Nodes on such a path that let nothing through are findings.

import { type Diagnostic, diagnostic } from "../../base/diagnostic.ts";
import { isFloat } from "../../graph/dtype.ts";
import {
  type Graph,
  type Node,
  subgraphs,
  type ValueName,
  type ValueType,
} from "../../graph/graph.ts";
import { captures } from "../../graph/query.ts";
import { opOf } from "../../ops/index.ts";
import { roundsOf } from "./rounds.ts";

/** What is known of a value by its name. */
export type TypeOf = (name: ValueName) => ValueType | undefined;

/** What a node reads, what its bodies read from around them included. */
export function readBy(node: Node): readonly ValueName[] {
  const bodies = subgraphs(node);
  const inputs = node.inputs.filter((name) => name !== "");
  return bodies.length === 0
    ? inputs
    : [...inputs, ...bodies.flatMap((body) => [...captures(body)])];
}

/** Whether a node's gradient is that of the graphs inside it. */
export function hasBodies(node: Node): boolean {
  return opOf(node)?.gradient === "bodies";
}

/**
 * Float values on a differentiable path from the given ones; integer values carry no gradient, but for those
 * that quantization makes.
 */
export function dependingOn(
  nodes: readonly Node[],
  wrt: Iterable<ValueName>,
  typeOf: TypeOf,
): Set<ValueName> {
  const dependent = new Set(wrt);
  for (const node of nodes) {
    const op = opOf(node);
    if (op?.gradient === "zero") continue;
    if (!readBy(node).some((name) => dependent.has(name))) continue;
    for (const name of node.outputs) {
      const dtype = typeOf(name)?.dtype;
      const carries = dtype === undefined || isFloat(dtype) || op?.inSteps === true;
      if (name !== "" && carries) dependent.add(name);
    }
  }
  return dependent;
}

/** Float values that depend on the given ones inside a body; what a round hands on to the next one included. */
export function dependingInside(
  node: Node,
  body: Graph,
  dependent: Iterable<ValueName>,
  typeOf: TypeOf,
): Set<ValueName> {
  const wrt = new Set(dependent);
  const { states = [], slices = [] } = roundsOf(node) ?? {};
  for (const { outer, inside } of [...states, ...slices]) {
    if (wrt.has(outer)) wrt.add(inside.name);
  }
  for (;;) {
    const known = wrt.size;
    const found = dependingOn(body.nodes, wrt, (name) => body.values.get(name) ?? typeOf(name));
    for (const { inside, result } of states) if (found.has(result.name)) wrt.add(inside.name);
    if (wrt.size === known) return found;
  }
}

/** Values from which one of the ends can be reached. */
export function reaching(nodes: readonly Node[], ends: Iterable<ValueName>): Set<ValueName> {
  const found = new Set(ends);
  for (const node of nodes.toReversed()) {
    if (!node.outputs.some((name) => found.has(name))) continue;
    for (const name of readBy(node)) found.add(name);
  }
  return found;
}

/** The path of a gradient through the nodes of a graph or of a body. */
export interface Stretch {
  readonly nodes: readonly Node[];
  readonly wrt: Iterable<ValueName>;
  readonly ends: Iterable<ValueName>;
  readonly typeOf: TypeOf;
}

/** The node that the nodes of a body stand in, and which gradients pass it. */
interface Around {
  readonly node: Node;
  readonly attribute: string;
  readonly passing: () => readonly string[];
}

/** Names that a message lists. */
const NAMES_SHOWN = 5;

/** Findings that say more than their node: each costs a walk through the graph. */
const NOTED_MAX = 50;

/** A finding for each node on the path that has no gradient, those in branches included. */
export function unsupportedOn(stretch: Stretch, around?: Around): Diagnostic[] {
  const dependent = dependingOn(stretch.nodes, stretch.wrt, stretch.typeOf);
  const end = reaching(stretch.nodes, stretch.ends);
  let noted = 0;
  return stretch.nodes.flatMap((node) => {
    if (!node.outputs.some((name) => dependent.has(name) && end.has(name))) return [];
    const gradient = opOf(node)?.gradient ?? { because: "skipway does not know the op" };
    if (gradient === "bodies") return unsupportedIn(node, dependent, stretch, around);
    if (gradient === "zero" || typeof gradient === "function" || "decompose" in gradient) return [];
    const notes = noted++ < NOTED_MAX ? notesOf(node, stretch, around) : placeOf(around);
    return [unsupported(node, gradient.because, notes)];
  });
}

function notesOf(node: Node, stretch: Stretch, around: Around | undefined): string[] {
  const passed = around === undefined ? passing(node, stretch) : around.passing();
  return [...readersOf(node, stretch), ...placeOf(around), ...passed];
}

function unsupportedIn(
  node: Node,
  dependent: ReadonlySet<ValueName>,
  stretch: Stretch,
  around: Around | undefined,
): Diagnostic[] {
  const inside = around?.passing ?? (() => passing(node, stretch));
  return [...node.attributes].flatMap(([attribute, held]): Diagnostic[] => {
    if (held.kind !== "graph") return [];
    const body = held.value;
    const typeOf: TypeOf = (name) => body.values.get(name) ?? stretch.typeOf(name);
    const inner: Stretch = {
      nodes: body.nodes,
      wrt: dependingInside(node, body, dependent, typeOf),
      // Whether a Loop goes on is a truth value, through which nothing flows.
      ends: body.outputs.slice(node.op === "Loop" ? 1 : 0).map((value) => value.name),
      typeOf,
    };
    return unsupportedOn(inner, { node, attribute, passing: inside });
  });
}

/** Who reads what a node makes, the nodes of bodies as the one around them. */
function readersOf(node: Node, { nodes, ends }: Stretch): string[] {
  const made = new Set(node.outputs);
  const readers = nodes.filter((one) => readBy(one).some((name) => made.has(name)));
  if (readers.length > 0) {
    return [`its result is read by ${listed(readers.map((one) => `${one.name} (${one.op})`))}`];
  }
  return [...ends].some((name) => made.has(name)) ? ["its result is what is given in the end"] : [];
}

function placeOf(around: Around | undefined): string[] {
  if (around === undefined) return [];
  const { node, attribute } = around;
  return [`it stands in ${attribute} of node ${node.name} (${node.op})`];
}

/** Which of the gradients that were asked for pass a node; the others are the way round it. */
function passing(node: Node, { nodes, wrt }: Stretch): string[] {
  const asked = [...wrt];
  const behind = reaching(nodes.slice(0, nodes.indexOf(node)), readBy(node));
  const through = asked.filter((name) => behind.has(name));
  const others = asked.length - through.length;
  const rest = others === 1 ? "one other asked for does" : `${others} others asked for do`;
  return [
    `the gradients of ${listed(through.map((name) => `"${name}"`))} pass it`,
    ...(others === 0 ? [] : [`${rest} not`]),
  ];
}

function listed(names: readonly string[]): string {
  const more = names.length - NAMES_SHOWN;
  const shown = names.slice(0, NAMES_SHOWN).join(", ");
  return more > 0 ? `${shown} and ${more} more` : shown;
}

function unsupported(node: Node, because: string, notes: readonly string[]): Diagnostic {
  return diagnostic({
    id: "gradient/unsupported",
    severity: "error",
    where: `node ${node.name} (${node.domain === "" ? "" : `${node.domain}.`}${node.op})`,
    text: `the loss depends on this op, and no gradient flows through it because ${because}`,
    notes,
    fix: "Ask for the gradients of initializers behind it alone, or replace the op by one listed as differentiable.",
  });
}

/** Nodes on the way from the given values to an end that let no gradient through, such as ArgMax. */
function barriers({ nodes, wrt, ends, typeOf }: Stretch): Node[] {
  const dependent = dependingOn(nodes, wrt, typeOf);
  const end = reaching(nodes, ends);
  return nodes.filter(
    (node) =>
      node.outputs.some((name) => end.has(name)) &&
      readBy(node).some((name) => dependent.has(name)) &&
      !node.outputs.some((name) => dependent.has(name)),
  );
}

/** What stands between the given values and the loss, as a note; none where no way leads to it. */
export function barrierNotes(stretch: Stretch): string[] {
  const found = barriers(stretch).map(({ name, op }) => `${name} (${op})`);
  return found.length === 0 ? [] : [`the way to the loss ends at ${listed(found)}`];
}

/** The finding of a value that the loss does not depend on. */
export function unreached(name: ValueName, stretch: Stretch): Diagnostic {
  return diagnostic({
    id: "gradient/no-path",
    severity: "error",
    where: `value "${name}"`,
    text: "its gradient was asked for, but no differentiable path leads from it to the loss",
    notes: barrierNotes({ ...stretch, wrt: [name] }),
    fix: "Leave it out of the values to differentiate, or check that the model uses it.",
  });
}
