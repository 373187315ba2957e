// Whether the operands of every merge fit, and what would make them fit.

import { type Diagnostic, diagnostic } from "../base/diagnostic.ts";
import type { Graph } from "../graph/graph.ts";
import { intAttribute, type Node, type ValueName } from "../graph/graph.ts";
import { typeOf } from "../graph/query.ts";
import { broadcast, formatShape, normalizeAxis, type Shape } from "../graph/shape.ts";
import { largestReduction } from "./halvings.ts";
import { contradicts, planRepair, repairText } from "./merge-repair.ts";
import { everyScene, placeOf, type Scene } from "./standing.ts";
import { Ways } from "./ways.ts";

/** Ops that join their operands element by element. */
export const ELEMENTWISE: ReadonlySet<string> = new Set([
  "Add",
  "Sub",
  "Mul",
  "Div",
  "Sum",
  "Max",
  "Min",
  "Mean",
]);

/**
 * A finding for each merge whose operands contradict, with the repair; those of bodies are among them.
 * Functions must be unfolded and shapes inferred; unknown dims contradict nothing.
 */
export function mergeDiagnostics(graph: Graph): Diagnostic[] {
  return everyScene(graph).flatMap(findingsIn);
}

function findingsIn(scene: Scene): Diagnostic[] {
  const around: Around = { ...scene, multipleFor: multiples(scene.graph), ways: new Ways() };
  return scene.graph.nodes.flatMap((node) => {
    around.ways.visit(node);
    if (ELEMENTWISE.has(node.op)) return sumFindings(node, around);
    return node.op === "Concat" ? concatFindings(node, around) : [];
  });
}

interface Around extends Scene {
  readonly multipleFor: MultipleFor;
  readonly ways: Ways;
}

/** What the size along an axis of an input must be a multiple of, for these values to halve evenly. */
type MultipleFor = (axis: number, names: readonly ValueName[]) => number;

/** A larger one is no advice to anybody. */
const MULTIPLE_MAX = 4096;

/** Looks at the graph once for each axis that is asked for. */
function multiples(graph: Graph): MultipleFor {
  const known = new Map<number, ReadonlyMap<ValueName, number>>();
  return (axis, names) => {
    const reductions = known.get(axis) ?? largestReduction(graph, axis);
    known.set(axis, reductions);
    const multiple = Math.max(1, ...names.map((name) => reductions.get(name) ?? 1));
    return multiple <= MULTIPLE_MAX ? multiple : 1;
  };
}

interface Named {
  readonly name: ValueName;
  readonly shape: Shape;
}

function operandsOf(graph: Graph, node: Node): Named[] {
  return node.inputs.flatMap((name) => {
    const shape = typeOf(graph, name)?.shape;
    return shape === undefined ? [] : [{ name, shape }];
  });
}

/** Whether the operands of a merge can be joined as they are; unknown dims contradict nothing. */
export function operandsFit(node: Node, shapes: readonly Shape[]): boolean {
  const [first, ...others] = shapes;
  if (first === undefined) return true;
  if (node.op === "Concat") {
    const axis = normalizeAxis(intAttribute(node, "axis", 0), first.length);
    return others.every((shape) => concatFits(first, shape, axis));
  }
  let joined: Shape | undefined = first;
  for (const shape of others) joined = joined && broadcast(joined, shape);
  return joined !== undefined;
}

function concatFits(a: Shape, b: Shape, axis: number | undefined): boolean {
  return a.length === b.length && b.every((dim, i) => i === axis || !contradicts(dim, a[i]));
}

function sumFindings(node: Node, around: Around): Diagnostic[] {
  const operands = operandsOf(around.graph, node);
  const [first] = operands;
  if (first === undefined) return [];
  let joined: Named = first;
  for (const operand of operands.slice(1)) {
    const shape = broadcast(joined.shape, operand.shape);
    if (shape === undefined) return [mismatch(node, [joined, operand], around)];
    joined = { name: joined.name, shape };
  }
  return [];
}

function concatFindings(node: Node, around: Around): Diagnostic[] {
  const operands = operandsOf(around.graph, node);
  const [first] = operands;
  if (first === undefined) return [];
  const axis = normalizeAxis(intAttribute(node, "axis", 0), first.shape.length);
  const other = operands.find(({ shape }) => !concatFits(first.shape, shape, axis));
  return other === undefined ? [] : [mismatch(node, [first, other], around, axis)];
}

function mismatch(
  node: Node,
  [a, b]: readonly [Named, Named],
  { graph, within, multipleFor, ways }: Around,
  concatAxis?: number,
): Diagnostic {
  const constant = [a, b].find(({ name }) => graph.initializers.has(name));
  const repair = planRepair([a.shape, b.shape], {
    shortcut: ways.lengthTo(a.name) <= ways.lengthTo(b.name) ? 0 : 1,
    layout: ways.layoutOf(a.name) ?? ways.layoutOf(b.name),
    concatAxis,
  });
  const odd = repair.kind === "odd" ? repair.excess.map(({ axis }) => axis) : [];
  const multiple = Math.max(1, ...odd.map((axis) => multipleFor(axis, [a.name, b.name])));
  return diagnostic({
    id: "shape/mismatch",
    severity: "error",
    where: `${placeOf({ node, ...(within && { within }) })} (${node.op})`,
    text: `cannot join "${a.name}" ${formatShape(a.shape)} and "${b.name}" ${formatShape(b.shape)}`,
    fix:
      constant !== undefined && (repair.kind === "project" || repair.kind === "dense")
        ? `Give the weight "${constant.name}" a shape that the other operand can be joined with.`
        : repairText(repair, { multiple, names: [a.name, b.name] }),
  });
}

/**
 * What brings two operands together, in one sentence.
 *
 * @param concatAxis of a Concat: the axis whose dims need not agree
 */
export function repairOf(a: Shape, b: Shape, concatAxis?: number): string {
  return repairText(planRepair([a, b], { concatAxis }));
}
