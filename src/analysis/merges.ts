// Whether the operands of every merge fit, and what would make them fit.

import { type Diagnostic, diagnostic } from "../base/diagnostic.ts";
import type { Graph } from "../graph/graph.ts";
import { intAttribute, type Node, type ValueName } from "../graph/graph.ts";
import { typeOf } from "../graph/query.ts";
import { broadcast, formatShape, normalizeAxis, type Shape } from "../graph/shape.ts";

const ELEMENTWISE = new Set(["Add", "Sub", "Mul", "Div", "Sum", "Max", "Min", "Mean"]);

/**
 * A finding for each merge whose operands contradict, with the repair. Shapes must be inferred; unknown
 * dims contradict nothing.
 */
export function mergeDiagnostics(graph: Graph): Diagnostic[] {
  return graph.nodes.flatMap((node) => {
    if (ELEMENTWISE.has(node.op)) return sumFindings(graph, node);
    return node.op === "Concat" ? concatFindings(graph, node) : [];
  });
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

function sumFindings(graph: Graph, node: Node): Diagnostic[] {
  const operands = operandsOf(graph, node);
  const [first] = operands;
  if (first === undefined) return [];
  let joined: Named = first;
  for (const operand of operands.slice(1)) {
    const shape = broadcast(joined.shape, operand.shape);
    if (shape === undefined) return [mismatch(node, joined, operand)];
    joined = { name: joined.name, shape };
  }
  return [];
}

function concatFindings(graph: Graph, node: Node): Diagnostic[] {
  const operands = operandsOf(graph, node);
  const [first] = operands;
  if (first === undefined) return [];
  const axis = normalizeAxis(intAttribute(node, "axis", 0), first.shape.length);
  const other = operands.find(({ shape }) => {
    if (shape.length !== first.shape.length) return true;
    return shape.some((dim, i) => i !== axis && contradicts(dim, first.shape[i]));
  });
  return other === undefined ? [] : [mismatch(node, first, other)];
}

function contradicts(a: unknown, b: unknown): boolean {
  return typeof a === "number" && typeof b === "number" && a !== b;
}

function mismatch(node: Node, a: Named, b: Named): Diagnostic {
  return diagnostic({
    id: "shape/mismatch",
    severity: "error",
    where: `node ${node.name} (${node.op})`,
    text: `cannot join "${a.name}" ${formatShape(a.shape)} and "${b.name}" ${formatShape(b.shape)}`,
    fix: repairOf(a.shape, b.shape),
  });
}

/** The layer that brings the larger picture, or the other channels, to the other operand. */
export function repairOf(a: Shape, b: Shape): string {
  if (a.length !== b.length)
    return `Reshape one of them: they have ${a.length} and ${b.length} axes.`;
  const [, channelsA, ...spaceA] = a;
  const [, channelsB, ...spaceB] = b;
  const ratios = spaceA.map((dim, i) => ratio(dim, spaceB[i]));
  const stride = ratios[0] ?? 1;
  const channels = contradicts(channelsA, channelsB);
  const even = ratios.every((one) => one === stride);
  if (even && Number.isInteger(stride) && (channels || stride !== 1)) {
    return projection(channelsA, channelsB, stride);
  }
  if (even && Number.isInteger(1 / stride)) return projection(channelsB, channelsA, 1 / stride);
  const odd = spaceA.findIndex((dim, i) => contradicts(dim, spaceB[i]));
  const difference = Math.abs(Number(spaceA[odd]) - Number(spaceB[odd]));
  if (odd >= 0 && difference === 1) {
    return `Odd input: pad or crop 1 on axis ${odd + 2}, or use input sizes that halve evenly.`;
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
