// Whether the operands of every merge fit, and what would make them fit.

import { type Diagnostic, diagnostic } from "../base/diagnostic.ts";
import type { Graph } from "../graph/graph.ts";
import { intAttribute, type Node, type ValueName } from "../graph/graph.ts";
import { typeOf } from "../graph/query.ts";
import { broadcast, formatShape, normalizeAxis, type Shape } from "../graph/shape.ts";
import { largestReduction } from "./halvings.ts";

const ELEMENTWISE = new Set(["Add", "Sub", "Mul", "Div", "Sum", "Max", "Min", "Mean"]);

/**
 * A finding for each merge whose operands contradict, with the repair. Shapes must be inferred; unknown
 * dims contradict nothing.
 */
export function mergeDiagnostics(graph: Graph): Diagnostic[] {
  const multipleFor = multiples(graph);
  return graph.nodes.flatMap((node) => {
    if (ELEMENTWISE.has(node.op)) return sumFindings(graph, node, multipleFor);
    return node.op === "Concat" ? concatFindings(graph, node, multipleFor) : [];
  });
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

function sumFindings(graph: Graph, node: Node, multipleFor: MultipleFor): Diagnostic[] {
  const operands = operandsOf(graph, node);
  const [first] = operands;
  if (first === undefined) return [];
  let joined: Named = first;
  for (const operand of operands.slice(1)) {
    const shape = broadcast(joined.shape, operand.shape);
    if (shape === undefined) return [mismatch(node, [joined, operand], { multipleFor })];
    joined = { name: joined.name, shape };
  }
  return [];
}

function concatFindings(graph: Graph, node: Node, multipleFor: MultipleFor): Diagnostic[] {
  const operands = operandsOf(graph, node);
  const [first] = operands;
  if (first === undefined) return [];
  const axis = normalizeAxis(intAttribute(node, "axis", 0), first.shape.length);
  const other = operands.find(({ shape }) => {
    if (shape.length !== first.shape.length) return true;
    return shape.some((dim, i) => i !== axis && contradicts(dim, first.shape[i]));
  });
  return other === undefined
    ? []
    : [mismatch(node, [first, other], { multipleFor, concatAxis: axis })];
}

function contradicts(a: unknown, b: unknown): boolean {
  return typeof a === "number" && typeof b === "number" && a !== b;
}

function mismatch(
  node: Node,
  [a, b]: readonly [Named, Named],
  how: { multipleFor: MultipleFor; concatAxis?: number | undefined },
): Diagnostic {
  const odd = a.shape.findIndex((dim, i) => i >= 2 && contradicts(dim, b.shape[i]));
  const multiple = odd < 2 ? 1 : how.multipleFor(odd, [a.name, b.name]);
  return diagnostic({
    id: "shape/mismatch",
    severity: "error",
    where: `node ${node.name} (${node.op})`,
    text: `cannot join "${a.name}" ${formatShape(a.shape)} and "${b.name}" ${formatShape(b.shape)}`,
    fix: repairOf(a.shape, b.shape, { multiple, concatAxis: how.concatAxis }),
  });
}

/**
 * What brings two operands together.
 *
 * @param how.multiple the reduction on the way to them: sizes that it divides need no padding
 * @param how.concatAxis of a Concat: the axis whose dims need not agree
 */
export function repairOf(
  a: Shape,
  b: Shape,
  how: { multiple?: number; concatAxis?: number | undefined } = {},
): string {
  if (a.length !== b.length)
    return `Reshape one of them: they have ${a.length} and ${b.length} axes.`;
  const differs = (axis: number): boolean =>
    axis !== how.concatAxis && contradicts(a[axis], b[axis]);
  if (differs(0)) return "Give both the same batch: their first axes differ.";
  const [, channelsA, ...spaceA] = a;
  const [, channelsB, ...spaceB] = b;
  const ratios = spaceA.map((dim, i) => ratio(dim, spaceB[i]));
  const stride = ratios[0] ?? 1;
  const channels = differs(1);
  const even = ratios.every((one) => one === stride);
  const step = stride < 1 ? 1 / stride : stride;
  if (even && Number.isInteger(step) && (channels || step !== 1)) {
    const [from, to] = stride < 1 ? [channelsB, channelsA] : [channelsA, channelsB];
    if (how.concatAxis === 1)
      return `Pool the larger operand with stride ${step} before it is joined.`;
    return projection(from, to, step);
  }
  const odd = spaceA.findIndex((_, i) => differs(i + 2));
  const apart = Math.abs(Number(spaceA[odd]) - Number(spaceB[odd]));
  if (odd >= 0 && apart === 1) {
    const sizes =
      (how.multiple ?? 1) > 1 ? `use multiples of ${how.multiple}` : "use sizes that halve evenly";
    return `Odd input: pad or crop 1 on axis ${odd + 2}, or ${sizes}.`;
  }
  return "Resize one operand to the size of the other before they are joined.";
}

function projection(from: unknown, to: unknown, stride: number): string {
  const withStride = stride === 1 ? "" : ` with stride ${stride}`;
  return `Add a 1x1 projection ${from}→${to}${withStride} on the shortcut.`;
}

function ratio(a: unknown, b: unknown): number {
  return typeof a === "number" && typeof b === "number" && b > 0 ? a / b : 1;
}
